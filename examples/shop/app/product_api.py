"""The shop's product API: says which replica answered. Usage: product_api.py VERSION"""

import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = sys.argv[1]


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6  # dual stack
    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else the body waits up to 40 ms for the head's ACK, which a busy peer delays

    def do_GET(self) -> None:
        body = f"product-api {VERSION} on {socket.gethostname()}\n".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        print(f"{self.client_address[0]} {format % args}", flush=True)


Server(("::", 8080), Handler).serve_forever()
