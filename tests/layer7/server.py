"""An HTTP server of Python's standard library: answers with path and headers (JSON), logs what it served.

Runs inside a pod: ``server.py PORT LOG``. LOG gets a line for each request: its method, and its path as a server of
files would read it (unescaped, without dot segments).
"""

from __future__ import annotations

import json
import os
import posixpath
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    log = -1

    def answer(self) -> None:
        path = posixpath.normpath(unquote(self.path.partition("?")[0].partition("#")[0], "latin-1"))
        os.write(self.log, f"{self.command} {path!a}\n".encode())
        if self.headers.get("upgrade", "").lower() == "websocket":
            self.upgrade()
            return
        # As most servers of the standard library, it knows nothing of chunks.
        self.rfile.read(int(self.headers.get("content-length") or 0))
        body = json.dumps([self.path, [(name.lower(), value) for name, value in self.headers.items()]]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_HEAD = do_PUT = answer  # noqa: N815

    def upgrade(self) -> None:
        """Refuses on /public/refuse, else switches and answers every byte by itself."""
        if "refuse" in self.path:
            self.send_response(400)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        while data := self.connection.recv(4096):
            self.connection.sendall(data)

    def log_message(self, format: str, *args: object) -> None:
        return


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    request_queue_size = 128
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that reset their connections are what the tests are about."""


if __name__ == "__main__":
    Handler.log = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    Server(("::", int(sys.argv[1])), Handler).serve_forever()
