"""Frames, byte by byte: well-formed ones by default, and every field open to be spoiled."""

from __future__ import annotations

import struct
from ipaddress import ip_address

GATEWAY = bytes.fromhex("027765667401")
ETH_IP, ETH_IPV6, ETH_ARP, ETH_VLAN = 0x0800, 0x86DD, 0x0806, 0x8100
TCP, UDP, SCTP, ICMP, ICMPV6 = 6, 17, 132, 1, 58
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
MORE = 0x2000
"""IPv4's "more fragments" in the flags and offset field."""


def mac_of(v4: str) -> bytes:
    """The MAC of a pod: 02:77 and its IPv4 address."""
    return b"\x02\x77" + ip_address(v4).packed


def checksum(data: bytes) -> int:
    """RFC 1071."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def eth(payload: bytes, source: bytes, destination: bytes = GATEWAY, ethertype: int | None = None) -> bytes:
    """The ethertype follows the payload's version unless given."""
    if ethertype is None:
        ethertype = ETH_IPV6 if payload[0] >> 4 == 6 else ETH_IP
    return destination + source + struct.pack(">H", ethertype) + payload


def ip(source: str, destination: str, protocol: int, payload: bytes, **fields: int) -> bytes:
    """IPv4 or IPv6 by the addresses' version. ``fields`` as in ``ip4`` and ``ip6``."""
    make = ip6 if ":" in source else ip4
    return make(source, destination, protocol, payload, **fields)


def ip4(
    source: str, destination: str, protocol: int, payload: bytes,
    *, version: int = 4, ihl: int = 5, length: int | None = None, ident: int = 1, fragment: int = 0,
) -> bytes:  # fmt: skip
    total = ihl * 4 + len(payload) if length is None else length
    header = struct.pack(">BBHHHBBH", version << 4 | ihl, 0, total, ident, fragment, 64, protocol, 0)
    header += ip_address(source).packed + ip_address(destination).packed + b"\1" * (ihl * 4 - 20)
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + payload


def ip6(
    source: str, destination: str, protocol: int, payload: bytes, *, version: int = 6, length: int | None = None
) -> bytes:
    size = len(payload) if length is None else length
    addresses = ip_address(source).packed + ip_address(destination).packed
    return struct.pack(">IHBB", version << 28, size, protocol, 64) + addresses + payload


def extension(following: int, body: bytes = bytes(6)) -> bytes:
    """A hop-by-hop, destination or routing header; ``body`` fills up to a multiple of 8."""
    return struct.pack(">BB", following, (len(body) + 2) // 8 - 1) + body


def fragment6(following: int, offset: int, more: bool, ident: int) -> bytes:
    """``offset`` in bytes."""
    return struct.pack(">BBHI", following, 0, offset | more, ident)


def tcp(source: int, destination: int, flags: int, data: bytes = b"", seq: int = 1000, ack: int = 2000) -> bytes:
    """Checksum 0: see ``with_checksum``."""
    return struct.pack(">HHIIBBHHH", source, destination, seq, ack, 5 << 4, flags, 512, 0, 0) + data


def udp(source: int, destination: int, data: bytes = b"data") -> bytes:
    return struct.pack(">HHHH", source, destination, 8 + len(data), 0) + data


def sctp(source: int, destination: int) -> bytes:
    return struct.pack(">HHII", source, destination, 0, 0)


def icmp(kind: int, code: int = 0, rest: bytes = b"\0\7\0\1") -> bytes:
    """ICMP and ICMPv6; of an echo, ``rest`` begins with the id."""
    return struct.pack(">BBH", kind, code, 0) + rest


def with_checksum(frame: bytes) -> bytes:
    """The frame with the checksum that its TCP segment should have."""
    v6 = frame[12:14] == b"\x86\xdd"
    start, addresses = (54, frame[22:54]) if v6 else (34, frame[26:34])
    segment = frame[start:]
    segment = segment[:16] + b"\0\0" + segment[18:]
    value = checksum(addresses + struct.pack(">II", len(segment), TCP) + segment)
    return frame[:start] + segment[:16] + struct.pack(">H", value) + segment[18:]
