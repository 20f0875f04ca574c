"""A TCP conversation as frames, and what is read out of frames."""

from __future__ import annotations

import struct

import pytest

from tests.bpf.conftest import OPEN, SERVER
from tests.bpf.machine import Machine, Pod
from tests.bpf.packets import (
    ACK,
    GATEWAY,
    RST,
    SYN,
    TCP,
    eth,
    ip,
    tcp,
    with_checksum,
)  # fmt: skip
from weft.datapath import layouts
from weft.model.verdicts import Verdict

V = Verdict

VERSIONS = pytest.mark.parametrize("version", [4, 6])
OUTSIDE = {4: "198.51.100.7", 6: "2001:db8::7"}


class Talk:
    """A TCP conversation from a pod's port 40000 to port 80 of a pod, or of the world (None)."""

    def __init__(self, machine: Machine, version: int, client: int = OPEN, server: int | None = SERVER) -> None:
        self.machine, self.client = machine, machine.pods[client]
        self.server = None if server is None else machine.pods[server]
        self.addresses = self.client.at(version), self.server.at(version) if self.server else OUTSIDE[version]

    def asks(self, flags: int, data: bytes = b"", seq: int = 1000, ack: int = 2000) -> bytes:
        return with_checksum(eth(ip(*self.addresses, TCP, tcp(40000, 80, flags, data, seq, ack)), self.client.mac))

    def answers(self, flags: int, data: bytes = b"", seq: int = 2000, ack: int = 1000) -> bytes:
        back = ip(*self.addresses[::-1], TCP, tcp(80, 40000, flags, data, seq, ack))
        source, destination = (self.server.mac, GATEWAY) if self.server else (b"\2w\0\0\0\1",) * 2
        return with_checksum(eth(back, source, destination))

    def ask(self, flags: int, data: bytes = b"") -> V:
        return self.machine.from_pod(self.client, self.asks(flags, data)).verdict

    def answer(self, flags: int, data: bytes = b"") -> V:
        if self.server:
            return self.machine.from_pod(self.server, self.answers(flags, data)).verdict
        return self.machine.to_pod(self.answers(flags, data), received=True).verdict

    def open(self) -> None:
        assert [self.ask(SYN), self.answer(SYN | ACK), self.ask(ACK)] == [V.FORWARDED] * 3

    @property
    def flow(self) -> layouts.Flow:
        (entry,) = self.machine.flows()
        return entry[1]


def reset_in(heard: object, pod: Pod) -> bytes:
    """The next frame to a pod that carries an RST."""
    while True:
        frame: bytes = heard.recv(2000)  # type: ignore[attr-defined]
        if frame[:6] == pod.mac and segment(frame)[3] & RST:
            return frame


def segment(frame: bytes) -> tuple[int, int, int, int]:
    """Source port, destination port, sequence number, flags."""
    start = 34 if frame[12:14] == b"\x08\0" else 54
    source, destination, seq, _, _, flags = struct.unpack_from(">HHIIBB", frame, start)
    return source, destination, seq, flags
