"""What the layer-7 tests' clients do, inside a pod, the outside or the node; imported by nobody.

``client.py ask``     a JSON list of questions on stdin; the outcomes, in their order.
``client.py load``    a JSON load on stdin; asks until its standard input has a further line, then says what it got.
``client.py hold``    a JSON list of (address, port) on stdin; connections with one request each, then one further
                      request on each connection for every line of stdin: a path.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections import Counter
from typing import Any, TextIO

SO_MARK = 36
OUTCOMES = {
    ConnectionRefusedError: "refused",
    ConnectionResetError: "reset",
    BrokenPipeError: "reset",
    TimeoutError: "timeout",
}


def say(value: Any) -> None:
    print(json.dumps(value), flush=True)


def outcome(error: OSError) -> str:
    return OUTCOMES.get(type(error), str(error))


def dial(address: str, port: int, timeout: float, mark: int = 0, source_port: int = 0) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.settimeout(timeout)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        if mark:
            made.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
        if source_port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(("", source_port))
        made.connect((address, port))
    except BaseException:
        made.close()
        raise
    return made


def exchange(
    connection: socket.socket, path: str, method: str = "GET", headers: str = "", content: bool = False
) -> str:
    """One request; the status (``content``: the answer's body), or how the connection ended. Closes it where the server
    says so."""
    try:
        connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: server\r\n{headers}\r\n".encode())
        head = b""
        while b"\r\n\r\n" not in head:
            more = connection.recv(65536)
            if not more:
                return "closed"
            head += more
        head, _, body = head.partition(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        while len(body) < length:
            more = connection.recv(65536)
            if not more:
                return "closed"
            body += more
        if b"\r\nconnection: close" in head.lower():
            connection.close()
        return body.decode() if content else head.split()[1].decode()
    except OSError as error:
        return outcome(error)


def one(address: str, port: int, path: str, timeout: float = 5.0, more: dict[str, Any] | None = None) -> str:
    """One request on a connection of its own."""
    more = dict(more or {})
    how = {name: more.pop(name) for name in ("method", "headers", "content") if name in more}
    try:
        with dial(address, port, timeout, **more) as connection:
            return exchange(connection, path, **how)
    except OSError as error:
        return outcome(error)


def ask(questions: list[list[Any]]) -> None:
    outcomes = [""] * len(questions)

    def run(number: int) -> None:
        outcomes[number] = one(*questions[number])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(questions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say(outcomes)


class Load:
    """``targets``, ``paths``, ``keep`` (the connection, while it lives), ``threads``, ``timeout`` and ``pause`` in
    seconds. Outcomes are counted by path; ``longest``: seconds of the longest request, whatever its outcome."""

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.ended = threading.Event()
        self.lock = threading.Lock()
        self.counts: dict[str, Counter[str]] = {path: Counter() for path in options["paths"]}
        self.longest = 0.0

    def run(self, number: int) -> None:
        targets, paths, timeout = self.options["targets"], self.options["paths"], self.options["timeout"]
        connection: socket.socket | None = None
        while not self.ended.is_set():
            number += 1
            path = paths[number % len(paths)]
            started = time.monotonic()
            try:
                if connection is None:
                    connection = dial(*targets[number // len(paths) % len(targets)], timeout)
                result = exchange(connection, path)
            except OSError as error:
                result = outcome(error)
            took = time.monotonic() - started
            if connection is not None and (not self.options["keep"] or not result.isdigit() or connection.fileno() < 0):
                connection.close()
                connection = None
            with self.lock:
                self.counts[path][result] += 1
                self.longest = max(self.longest, took)
            self.ended.wait(self.options["pause"])

    def report(self) -> None:
        with self.lock:
            say({"counts": self.counts, "longest": round(self.longest, 3)})
            self.longest = 0.0


def load(options: dict[str, Any], stdin: TextIO) -> None:
    made = Load(options)
    threads = [threading.Thread(target=made.run, args=(number,)) for number in range(options["threads"])]
    for thread in threads:
        thread.start()
    for _ in stdin:  # a line: what it got so far
        made.report()
    made.ended.set()
    for thread in threads:
        thread.join()
    made.report()


def hold(targets: list[tuple[str, int]], stdin: TextIO) -> None:
    connections = [dial(*target, 5.0) for target in targets]
    say([exchange(connection, "/public") for connection in connections])
    for line in stdin:
        say([exchange(connection, line.strip()) for connection in connections])


if __name__ == "__main__":
    given = json.loads(sys.stdin.readline())
    if sys.argv[1] == "ask":
        ask(given)
    elif sys.argv[1] == "load":
        load(given, sys.stdin)
    else:
        hold(given, sys.stdin)
