"""A TCP server that greets and then echoes lines; stands in for postgres. Usage: line_server.py PORT"""

import socket
import socketserver
import sys


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        peer = self.client_address[0]
        print(f"{peer} connected", flush=True)
        try:
            self.wfile.write(f"{socket.gethostname()} ready\n".encode())
            for line in self.rfile:
                self.wfile.write(line)
            print(f"{peer} closed", flush=True)
        except OSError as error:
            print(f"{peer}: {error.strerror}", flush=True)


class Server(socketserver.ThreadingTCPServer):
    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True


Server(("::", int(sys.argv[1])), Handler).serve_forever()
