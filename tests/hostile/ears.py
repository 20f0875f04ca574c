"""Ears in every namespace, the attacker's mouth, and a connection that must not break."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tests.bpf.packets import ACK, tcp
from weft.datapath import netns

ETH_P_ALL = 3
PACKET_OUTGOING = 4
MARK = b"hostile:" + os.urandom(8)
"""In the payload of every hostile packet that has room for it."""
NODE_PROTOCOLS = (socket.IPPROTO_ICMP, socket.IPPROTO_TCP, socket.IPPROTO_UDP, 47, 50, 51, 132)


class Heard(NamedTuple):
    """What came in at one place."""

    frames: list[bytes]

    def marked(self) -> list[bytes]:
        return [frame for frame in self.frames if MARK in frame]


class Connection:
    """From the friend to the victim's echo server; silent but when it is asked whether it lives."""

    def __init__(self, namespace: Path, address: str) -> None:
        with netns.entered(namespace):
            self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        self._socket.settimeout(5)
        self._socket.connect((address, 8080))
        self.port: int = self._socket.getsockname()[1]

    def alive(self) -> bool:
        self._socket.sendall(b"alive?")
        return self._socket.recv(64) == b"alive?"

    def quoted(self) -> bytes:
        """The TCP header of a packet from the victim, as an ICMP error would quote it."""
        return tcp(8080, self.port, ACK)

    def close(self) -> None:
        self._socket.close()


class Ear:
    """A packet socket in a namespace that hears every frame which comes in by a device."""

    def __init__(self, namespace: Path, device: str) -> None:
        with netns.entered(namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.bind((device, ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self._socket.setblocking(False)
        self.mac: bytes = self._socket.getsockname()[4]

    def drain(self) -> Heard:
        frames = []
        with suppress(BlockingIOError):
            while True:
                frame, address = self._socket.recvfrom(65536)
                if address[2] != PACKET_OUTGOING:
                    frames.append(frame)
        return Heard(frames)

    def send(self, frame: bytes) -> None:
        self._socket.send(frame)

    def close(self) -> None:
        self._socket.close()


class NodeEars:
    """Raw IP sockets in the node's namespace: they hear what its stack takes in for one of its own addresses."""

    def __init__(self, namespace: Path) -> None:
        with netns.entered(namespace):
            self._sockets = [
                socket.socket(family, socket.SOCK_RAW, protocol)
                for family in (socket.AF_INET, socket.AF_INET6)
                for protocol in (*NODE_PROTOCOLS, *((socket.IPPROTO_ICMPV6,) if family == socket.AF_INET6 else ()))
            ]
        for each in self._sockets:
            each.setblocking(False)

    def drain(self) -> Heard:
        packets = []
        for each in self._sockets:
            with suppress(BlockingIOError):
                while True:
                    packets.append(each.recv(65536))
        return Heard(packets)

    def close(self) -> None:
        for each in self._sockets:
            each.close()
