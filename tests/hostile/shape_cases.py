"""Malformed and odd shapes: options, lengths, extension headers, fragments, protocols, TCP flags."""

from __future__ import annotations

from tests.bpf.packets import (
    ACK,
    DESTINATION,
    FIN,
    FRAGMENT,
    HOP_BY_HOP,
    ICMP,
    ICMPV6,
    MORE,
    ROUTING,
    RST,
    SCTP,
    SYN,
    TCP,
    UDP,
    extension,
    fragment6,
    icmp,
    ip4,
    ip6,
    sctp,
)
from tests.hostile.ears import MARK
from tests.hostile.frames import IN, Case, claiming, cut, datagram, raw, segment, v4, v6
from weft.model.verdicts import Verdict

V = Verdict

IPV4 = [
    Case("an IPv4 option", v4(UDP, datagram(), ihl=6), V.IP_OPTIONS),
    Case("IPv4 options up to the limit", v4(TCP, segment(), ihl=15), V.IP_OPTIONS),
    Case("IP version 5", v4(UDP, datagram(), version=5), V.INVALID_PACKET),
    Case("an IPv4 header of 16 bytes", raw(0x0800, b"\x44" + ip4("1.1.1.1", "2.2.2.2", UDP, datagram())[1:]),
         V.INVALID_PACKET),
    Case("an IPv4 packet longer than its frame", v4(UDP, datagram(), length=1400), V.TRUNCATED_HEADER),
    Case("an IPv4 packet shorter than its header", v4(UDP, datagram(), length=8), V.INVALID_PACKET),
    Case("no IPv4 header at all", raw(0x0800, b""), V.TRUNCATED_HEADER),
    Case("half an IPv4 header", cut(v4(UDP, b""), 10), V.TRUNCATED_HEADER),
    Case("half a TCP header", v4(TCP, segment()[:10]), V.TRUNCATED_HEADER),
    Case("half a UDP header", v4(UDP, datagram()[:4]), V.TRUNCATED_HEADER),
    Case("half an ICMP header", v4(ICMP, icmp(8)[:4]), V.TRUNCATED_HEADER),
    Case("a TCP header beyond the packet", v4(TCP, segment()[:12] + b"\xf0\2" + bytes(6)), V.TRUNCATED_HEADER),
    Case("a TCP header of 16 bytes", v4(TCP, segment()[:12] + b"\x40\2" + bytes(6)), V.INVALID_PACKET),
    Case("ICMPv6 in IPv4", v4(ICMPV6, icmp(128) + MARK), V.UNKNOWN_L4),
]  # fmt: skip

IPV6 = [
    Case("half an IPv6 header", cut(v6(UDP, b""), 20), V.TRUNCATED_HEADER),
    Case("an IPv6 packet longer than its frame", v6(UDP, datagram(), length=999), V.TRUNCATED_HEADER),
    Case("a mapped IPv4 source", claiming(lambda s: "::ffff:" + s.v4, UDP, datagram()), V.INVALID_PACKET),
    Case("ICMP in IPv6", v6(ICMP, icmp(8) + MARK), V.UNKNOWN_L4),
    Case("a denied port behind two extension headers",
         v6(HOP_BY_HOP, extension(DESTINATION) + extension(UDP) + datagram()), V.POLICY_DENIED, IN),
    Case("ten extension headers", v6(DESTINATION, extension(DESTINATION) * 9 + extension(TCP) + segment()),
         V.INVALID_IPV6_EXTENSION),
    Case("hop-by-hop options that are not first", v6(DESTINATION, extension(HOP_BY_HOP) + extension(UDP) + datagram()),
         V.INVALID_IPV6_EXTENSION),
    Case("routing header type 0", v6(ROUTING, extension(TCP, b"\0\1" + bytes(20)) + segment()),
         V.INVALID_IPV6_EXTENSION),
    Case("segment routing header", v6(ROUTING, extension(TCP, b"\4\1" + bytes(20)) + segment()),
         V.INVALID_IPV6_EXTENSION),
    Case("an extension header beyond the packet", v6(DESTINATION, b"\x06\xff" + bytes(6)), V.TRUNCATED_HEADER),
    Case("two fragment headers",
         v6(FRAGMENT, fragment6(FRAGMENT, 0, False, 7) + fragment6(TCP, 0, False, 7) + segment()),
         V.INVALID_IPV6_EXTENSION),
    Case("authentication header", v6(51, extension(TCP, bytes(22)) + segment()), V.POLICY_DENIED, IN),
    Case("no next header", v6(59, MARK), V.POLICY_DENIED, IN),
]  # fmt: skip

FRAGMENTS = [
    Case("a tiny first piece", v4(TCP, segment()[:8], fragment=MORE, ident=7), V.INVALID_FRAGMENT),
    Case("a first piece that cuts the TCP header", v4(TCP, segment()[:16], fragment=MORE, ident=7), V.INVALID_FRAGMENT),
    Case("a later piece without its first", v4(TCP, MARK, fragment=3, ident=7), V.FRAGMENT_NOT_FOUND),
    Case("a later piece that begins within the header", v4(TCP, MARK, fragment=1, ident=8), V.FRAGMENT_NOT_FOUND),
    Case("a piece that ends beyond 65535", v4(UDP, MARK * 4, fragment=0x1FFF, ident=7), V.INVALID_FRAGMENT),
    Case("a first piece of an odd length", v4(UDP, datagram()[:-1], fragment=MORE, ident=7), V.INVALID_FRAGMENT),
    Case("an empty piece", v4(UDP, b"", fragment=2, ident=7), V.INVALID_FRAGMENT),
    Case("a first piece to a denied port", v4(UDP, datagram(), fragment=MORE, ident=9), V.POLICY_DENIED, IN),
    Case("and its later piece", v4(UDP, MARK, fragment=3, ident=9), V.FRAGMENT_NOT_FOUND),
    Case("a tiny first piece, IPv6", v6(FRAGMENT, fragment6(TCP, 0, True, 7) + segment()[:8]), V.INVALID_FRAGMENT),
    Case("a tiny first piece behind options, IPv6",
         v6(HOP_BY_HOP, extension(FRAGMENT) + fragment6(TCP, 0, True, 7) + segment()[:8]), V.INVALID_FRAGMENT),
    Case("a later piece without its first, IPv6", v6(FRAGMENT, fragment6(TCP, 24, False, 7) + MARK),
         V.FRAGMENT_NOT_FOUND),
    Case("a first piece that ends within its options, IPv6",
         v6(FRAGMENT, fragment6(DESTINATION, 0, True, 7) + extension(TCP, bytes(14))[:8]), V.INVALID_FRAGMENT),
]  # fmt: skip

TCP_FLAGS = [
    Case(f"TCP {what} to a denied port", v4(TCP, segment(9999, flags)), V.POLICY_DENIED, IN)
    for what, flags in (
        ("SYN", SYN),
        ("without SYN", ACK),
        ("without any flag", 0),
        ("SYN and FIN", SYN | FIN),
        ("SYN and ACK", SYN | ACK),
        ("RST", RST),
        ("FIN, PSH and URG", FIN | 8 | 32),
        ("with every flag", 0xFF),
    )
]

PROTOCOLS = [
    Case(f"IP protocol {number} ({name})", v4(number, body), V.POLICY_DENIED, IN)
    for number, name, body in (
        (2, "IGMP", b"\x16\0\0\0" + MARK),
        (4, "IPv4 in IPv4", ip4("10.244.0.9", "10.244.0.8", UDP, MARK)),
        (41, "IPv6 in IPv4", ip6("fd00::9", "fd00::8", UDP, MARK)),
        (47, "GRE", MARK),
        (50, "ESP", MARK),
        (51, "AH", MARK),
        (SCTP, "SCTP", sctp(1, 8081) + MARK),
        (136, "UDP-Lite", MARK),
        (253, "for experiments", MARK),
        (255, "reserved", MARK),
    )
]

CASES = [*IPV4, *IPV6, *FRAGMENTS, *TCP_FLAGS, *PROTOCOLS]
