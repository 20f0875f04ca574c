"""Sockets in pods and on nodes, and questions: who reaches whom?"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.lab.waiting import SLOWNESS, until
from weft.datapath import netns
from weft.model.net import ICMP, ICMPV6, TCP, UDP, IPAddress

FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
GRACE = 0.3
"""How long what must not arrive is waited for, after all that must has."""


class Probe(NamedTuple):
    """One question. ``port``: destination port; none for ICMP echo. ``home``: the sender's namespace."""

    home: Path
    source: IPAddress
    target: IPAddress
    protocol: int
    port: int = 0


def make_socket(home: Path, version: int, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> socket.socket:
    """It stays in the namespace that it was made in."""
    with netns.entered(home):
        made = socket.socket(FAMILY[version], kind, protocol)
    if version == 6 and kind != socket.SOCK_RAW:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    return made


def tcp_server(home: Path, version: int, port: int, address: str = "") -> socket.socket:
    server = make_socket(home, version)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((address, port))
    server.listen(128)
    server.settimeout(20 * SLOWNESS)
    return server


def udp_server(home: Path, version: int, port: int) -> socket.socket:
    server = make_socket(home, version, socket.SOCK_DGRAM)
    server.bind(("", port))
    server.settimeout(20 * SLOWNESS)
    return server


@dataclass
class Servers:
    """TCP and UDP servers of both families in many namespaces; UDP ones echo when ``serve`` is called."""

    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    udp: list[socket.socket] = field(default_factory=list)

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def open(self, homes: Iterable[Path], ports: Iterable[int]) -> None:
        ports = list(ports)
        for home in homes:
            for version in (4, 6):
                for port in ports:
                    self.stack.enter_context(contextlib.closing(tcp_server(home, version, port)))
                    server = self.stack.enter_context(contextlib.closing(udp_server(home, version, port)))
                    server.setblocking(False)
                    self.udp.append(server)

    def serve(self) -> None:
        """Echo every datagram that is there."""
        for server in select.select(self.udp, [], [], 0)[0]:
            with contextlib.suppress(BlockingIOError):
                data, peer = server.recvfrom(2048)
                server.sendto(data, peer)


def answered(probes: list[Probe], expected: set[Probe], servers: Servers) -> set[Probe]:
    """Which of them got an answer, once all ``expected`` ones have, or a long time has passed."""
    with contextlib.ExitStack() as stack:
        opened = {probe: stack.enter_context(contextlib.closing(_ask(probe))) for probe in probes}
        found: set[Probe] = set()

        def all_expected() -> bool:
            servers.serve()
            found.update(_arrived(opened, found))
            return expected <= found

        with contextlib.suppress(AssertionError):
            until(all_expected, "answers", 20)
        with contextlib.suppress(AssertionError):
            until(lambda: all_expected() and found > expected, "answers that must not be", GRACE)
        return found


def _ask(probe: Probe) -> socket.socket:
    version = probe.target.version
    if probe.protocol in (ICMP, ICMPV6):
        client = make_socket(probe.home, version, socket.SOCK_RAW, probe.protocol)
        client.setblocking(False)
        client.bind((str(probe.source), 0))
        client.sendto(_echo(probe, client), (str(probe.target), 0))
        return client
    client = make_socket(probe.home, version, socket.SOCK_STREAM if probe.protocol == TCP else socket.SOCK_DGRAM)
    client.setblocking(False)
    client.bind((str(probe.source), 0))
    client.connect_ex((str(probe.target), probe.port))
    if probe.protocol == UDP:
        client.send(b"hello")
    return client


def _echo(probe: Probe, client: socket.socket) -> bytes:
    """An echo request whose id is the socket's number: the kernel of the target answers."""
    kind = 8 if probe.protocol == ICMP else 128
    body = struct.pack(">BBHHH", kind, 0, 0, client.fileno(), 1) + b"weft"
    if probe.protocol == ICMPV6:
        return body  # the kernel fills in the checksum
    total = sum(struct.unpack(">6H", body))
    total = (total & 0xFFFF) + (total >> 16)
    return body[:2] + struct.pack(">H", 0xFFFF - total) + body[4:]


def _arrived(opened: dict[Probe, socket.socket], found: set[Probe]) -> Iterator[Probe]:
    for probe, client in opened.items():
        if probe not in found and _is_answered(probe, client):
            yield probe


def _is_answered(probe: Probe, client: socket.socket) -> bool:
    if probe.protocol == TCP:
        with contextlib.suppress(OSError):
            client.getpeername()
            return client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        return False
    while True:
        try:
            data, peer = client.recvfrom(2048)
        except OSError:
            return False
        if probe.protocol == UDP:
            return True
        icmp = data[(data[0] & 15) * 4 :] if probe.protocol == ICMP else data
        reply = 0 if probe.protocol == ICMP else 129
        if icmp[0] == reply and icmp[4:6] == struct.pack(">H", client.fileno()) and peer[0] == str(probe.target):
            return True


def transfer(server: socket.socket, client: socket.socket, size: int) -> bool:
    """``size`` bytes each way over a connection that ``client`` opened to ``server``; whether they arrived intact."""
    accepted, _ = server.accept()
    with accepted:
        return _pour(client, accepted, os.urandom(size)) and _pour(accepted, client, os.urandom(size))


def _pour(sender: socket.socket, receiver: socket.socket, data: bytes) -> bool:
    sender.setblocking(False)
    receiver.setblocking(False)
    sent, got = 0, bytearray()

    def done() -> bool:
        nonlocal sent
        with contextlib.suppress(BlockingIOError):
            sent += sender.send(data[sent : sent + 65536]) if sent < len(data) else 0
        with contextlib.suppress(BlockingIOError):
            while chunk := receiver.recv(65536):
                got.extend(chunk)
        return len(got) == len(data)

    until(done, f"{len(data)} bytes", 60)
    return bytes(got) == data
