"""Runs inside a pod: an HTTP server that answers with what it got. ``echo.py NAME SECONDS PORT...``"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME, FAREWELL_SECONDS = sys.argv[1], float(sys.argv[2])
"""So long it goes on after SIGTERM, as a server that drains does."""
SEEN: list[str] = []
TIMES: dict[str, int] = {}


class Handler(BaseHTTPRequestHandler):
    """``?status=503&times=2&key=K``: the first two requests with this key get that status. ``?sleep=1&times=2&key=K``:
    they take so long. ``/seen``: the paths of all requests before, one after the other."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self) -> None:
        path, _, query = self.path.partition("?")
        order = dict(urllib.parse.parse_qsl(query))
        status, key = 200, order.get("key", self.path)
        TIMES[key] = TIMES.get(key, 0) + 1
        if TIMES[key] <= int(order.get("times", 10**9)):
            status = int(order.get("status", 200))
            time.sleep(float(order.get("sleep", 0)))
        said = {"server": NAME, "path": self.path, "method": self.command, "port": self.server.server_port}  # type: ignore[attr-defined]
        said |= {"headers": {name.lower(): ",".join(self.headers.get_all(name) or ()) for name in self.headers}}
        said |= {"seen": list(SEEN)} if path == "/seen" else {}
        SEEN.append(self.path)
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Server", NAME)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_OPTIONS = answer  # noqa: N815

    def log_message(self, *_: object) -> None:
        return


class Server(ThreadingHTTPServer):
    address_family = socket.AF_INET6
    """Of both families."""


signal.signal(signal.SIGTERM, lambda *_: threading.Timer(FAREWELL_SECONDS, os._exit, (0,)).start())
for port in sys.argv[3:]:
    threading.Thread(target=Server(("::", int(port)), Handler).serve_forever).start()
