"""Netlink: requests are values, many go in one system call, each is answered. Source: netlink(7).

A socket acts in the namespace in which it was opened. (pyroute2 takes 17 MB and 0.33 s to import.)
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from weft.datapath.errors import DatapathError

REQUEST, ACK, DUMP, REPLACE, EXCL, CREATE = 1, 4, 0x300, 0x100, 0x200, 0x400
_ERROR, _DONE = 2, 3
_SOL_NETLINK, _CAP_ACK, _EXT_ACK, _STRICT = 270, 10, 11, 12


class Message(NamedTuple):
    """A request: message type, flags, body, and what it does in words (for the error)."""

    type: int
    flags: int
    body: bytes
    what: str


def attr(kind: int, data: bytes | int | str) -> bytes:
    """``struct rtattr``; an int is a u32, a str ends with a zero byte."""
    if isinstance(data, int):
        data = struct.pack("=I", data)
    elif isinstance(data, str):
        data = data.encode() + b"\0"
    return struct.pack("=HH", len(data) + 4, kind) + data + b"\0" * (-len(data) % 4)


def attrs(data: bytes, offset: int) -> dict[int, bytes]:
    """The attributes that follow a body of ``offset`` bytes."""
    found: dict[int, bytes] = {}
    while offset + 4 <= len(data):
        size, kind = struct.unpack_from("=HH", data, offset)
        found[kind & 0x3FFF] = data[offset + 4 : offset + size]
        offset += (max(size, 4) + 3) & ~3
    return found


class Netlink:
    """A socket of a netlink family, NETLINK_ROUTE if none is named."""

    def __init__(self, family: int = socket.NETLINK_ROUTE) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, family)
        for option in (_CAP_ACK, _EXT_ACK, _STRICT):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def request(self, *messages: Message, ignore: tuple[int, ...] = ()) -> None:
        """Send all in one call. The first failure whose errno is not in ``ignore`` is raised, after all were tried."""
        self._sequence += 1
        first, self._sequence = self._sequence, self._sequence + len(messages)
        parts = [
            struct.pack("=IHHII", 16 + len(m.body), m.type, m.flags | REQUEST | ACK, first + i, 0) + m.body
            for i, m in enumerate(messages)
        ]
        if parts:
            self._socket.send(b"".join(parts))
        failure: DatapathError | None = None
        answered = 0
        while answered < len(messages):
            for kind, sequence, payload in self._receive():
                if kind != _ERROR or not first <= sequence < first + len(messages):
                    continue
                answered += 1
                code = -struct.unpack_from("=i", payload)[0]
                if code and code not in ignore and failure is None:
                    detail = attrs(payload, 20).get(1, b"").rstrip(b"\0").decode()
                    failure = DatapathError(messages[sequence - first].what, code, detail)
        if failure:
            raise failure

    def ask(self, message: Message) -> bytes:
        """Send one request that is answered with one object: its body. Errors: DatapathError."""
        self._sequence += 1
        length = 16 + len(message.body)
        header = struct.pack("=IHHII", length, message.type, message.flags | REQUEST, self._sequence, 0)
        self._socket.send(header + message.body)
        while True:
            for kind, sequence, payload in self._receive():
                if sequence != self._sequence:
                    continue
                if kind == _ERROR:
                    raise DatapathError(message.what, -struct.unpack_from("=i", payload)[0])
                return payload

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """Bodies (attributes included) of everything of a kind."""
        self._sequence += 1
        self._socket.send(struct.pack("=IHHII", 16 + len(body), kind, REQUEST | DUMP, self._sequence, 0) + body)
        while True:
            for answer, sequence, payload in self._receive():
                if sequence != self._sequence:
                    continue
                if answer == _DONE:
                    return
                if answer == _ERROR:
                    raise DatapathError("list links, addresses or routes", -struct.unpack_from("=i", payload)[0])
                yield payload

    def _receive(self) -> Iterator[tuple[int, int, bytes]]:
        data, offset = self._socket.recv(1 << 17), 0
        while offset + 16 <= len(data):
            size, kind, _, sequence, _ = struct.unpack_from("=IHHII", data, offset)
            yield kind, sequence, data[offset + 16 : offset + size]
            offset += (size + 3) & ~3
