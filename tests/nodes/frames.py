"""Packets by hand: what a liar would send."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from tests.bpf.packets import UDP, checksum, ip
from tests.nodes.talk import make_socket
from weft.datapath import netns
from weft.datapath.layouts import TUNNEL_ID, TUNNEL_PORT
from weft.model.net import IPAddress

_IPV6_HDRINCL = 36
MARK = b"not me"


def datagram(source: IPAddress, target: IPAddress, port: int, source_port: int = 40000) -> bytes:
    """A whole UDP packet from anybody to anybody, its checksum right."""
    length = 8 + len(MARK)
    pseudo = source.packed + target.packed + struct.pack(">II", length, UDP)
    body = struct.pack(">HHHH", source_port, port, length, 0) + MARK
    total = checksum(pseudo + body)
    return ip(str(source), str(target), UDP, body[:6] + struct.pack(">H", total) + body[8:])


def send_plain(home: Path, packet: bytes, target: IPAddress) -> None:
    """A packet as it is, routed by the namespace that sends it."""
    with make_socket(home, target.version, socket.SOCK_RAW, socket.IPPROTO_RAW) as sender:
        if target.version == 6:
            sender.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
        sender.sendto(packet, (str(target), 0))


def send_in_tunnel(home: Path, sender: IPAddress, receiver: IPAddress, packet: bytes, network: int = TUNNEL_ID) -> None:
    """In VXLAN (RFC 7348), from one node's address to another's."""
    ethertype = b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd"
    frame = bytes.fromhex("025555555555 026666666666") + ethertype + packet
    with make_socket(home, sender.version, socket.SOCK_DGRAM) as carrier:
        carrier.bind((str(sender), 0))
        carrier.sendto(struct.pack(">II", 1 << 27, network << 8) + frame, (str(receiver), TUNNEL_PORT))


def send_from_pod(home: Path, packet: bytes, gateway_mac: bytes) -> None:
    """Past the pod's own stack, which would have a say about the source."""
    with netns.entered(home):
        device = socket.if_nametoindex("eth0")
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    with sender:
        sender.bind(("eth0", 0))
        mac = sender.getsockname()[4]
        ethertype = b"\x08\0" if packet[0] >> 4 == 4 else b"\x86\xdd"
        assert device and sender.send(gateway_mac + mac + ethertype + packet)
