"""Lies about who sends and who receives: addresses, MACs, ARP, neighbour discovery, tags and ethertypes."""

from __future__ import annotations

from tests.bpf.packets import GATEWAY, ICMPV6, TCP, UDP, eth, icmp, ip4, ip6
from tests.hostile.ears import MARK
from tests.hostile.frames import Case, arp, claiming, datagram, own, raw, segment, tagged, v4, v6
from tests.lab.netns import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6
from weft.model.verdicts import Verdict

V = Verdict

EVERYONE = b"\xff" * 6
STRANGER = bytes.fromhex("02aabbccddee")
BRIDGES = bytes.fromhex("0180c2000000")
"""Where bridges listen (LLDP, EAPOL, spanning tree)."""

SOURCES = [
    Case(f"source: {what}", claiming(address, UDP, datagram()), V.INVALID_SOURCE_IP)
    for what, address in (
        ("the victim's IPv4", lambda s: s.v4),
        ("the victim's IPv6", lambda s: s.v6),
        ("the friend's IPv4", lambda s: s.friend.v4),
        ("the friend's IPv6", lambda s: s.friend.v6),
        ("a free IPv4 of the pod range", lambda s: "10.244.0.250"),
        ("a free IPv6 of the pod range", lambda s: "fd00:244::fa"),
        ("the node's router IPv4", lambda s: s.router4),
        ("the node's router IPv6", lambda s: s.router6),
        ("the node's uplink IPv4", lambda s: NODE_V4),
        ("the node's uplink IPv6", lambda s: NODE_V6),
        ("an outside IPv4", lambda s: OUTSIDE_V4),
        ("an outside IPv6", lambda s: OUTSIDE_V6),
        ("a service's IPv4", lambda s: s.cluster4),
        ("a service's IPv6", lambda s: s.cluster6),
        ("0.0.0.0", lambda s: "0.0.0.0"),
        ("::", lambda s: "::"),
        ("loopback", lambda s: "127.0.0.1"),
        ("IPv6 loopback", lambda s: "::1"),
        ("link-local", lambda s: "fe80::3"),
        ("the gateway's link-local", lambda s: "fe80::1"),
        ("broadcast", lambda s: "255.255.255.255"),
        ("multicast", lambda s: "224.0.0.1"),
        ("IPv6 multicast", lambda s: "ff02::1"),
    )
]

MACS = [
    Case(f"source MAC: {what}", lambda s, mac=mac: eth(ip4(s.a4, s.v4, UDP, datagram()), mac(s)), V.INVALID_SOURCE_MAC)
    for what, mac in (
        ("the victim's", lambda s: s.victim_mac),
        ("the gateway's", lambda s: GATEWAY),
        ("a stranger's", lambda s: STRANGER),
        ("a group's", lambda s: b"\3" + s.mac[1:]),
        ("zero", lambda s: bytes(6)),
    )
] + [
    Case(f"to {what}", lambda s, mac=mac: own(s, ip6(s.a6, s.v6, TCP, segment()), mac(s)), V.INVALID_DESTINATION_MAC)
    for what, mac in (
        ("the victim's MAC", lambda s: s.victim_mac),
        ("a stranger's MAC", lambda s: STRANGER),
        ("everyone's MAC", lambda s: EVERYONE),
        ("a group's MAC", lambda s: bytes.fromhex("333300000001")),
    )
]

ARP = [
    Case("ARP: who has the victim", arp(1, lambda s: s.a4, lambda s: s.v4, lambda s: EVERYONE), V.ARP_FILTERED),
    Case("ARP: the victim is here", arp(2, lambda s: s.v4, lambda s: s.router4, lambda s: GATEWAY), V.ARP_FILTERED),
    Case("ARP: the gateway is here", arp(2, lambda s: "169.254.1.1", lambda s: s.v4, lambda s: s.victim_mac),
         V.ARP_FILTERED),
    Case("ARP: the node is here, gratuitous", arp(1, lambda s: NODE_V4, lambda s: NODE_V4, lambda s: EVERYONE),
         V.ARP_FILTERED),
]  # fmt: skip

TAGS = [
    Case("VLAN tag", tagged(b"\0\5\x08\0", v4(TCP, segment())), V.VLAN_FILTERED),
    Case("VLAN tag 0 (priority only)", tagged(b"\xe0\0\x86\xdd", v6(UDP, datagram())), V.VLAN_FILTERED),
    Case("two VLAN tags", tagged(b"\0\5\x81\0\0\6\x08\0", v4(UDP, datagram()), 0x88A8), V.VLAN_FILTERED),
    Case("a VLAN tag around ARP", raw(0x8100, b"\0\5\x08\6" + bytes(46)), V.VLAN_FILTERED),
]

ETHERTYPES = [
    Case(f"ethertype 0x{number:04x} ({name})", raw(number, MARK.ljust(60, b"\0"), to), V.UNSUPPORTED_L2)
    for number, name, to in (
        (0x88CC, "LLDP", BRIDGES),
        (0x888E, "EAPOL", BRIDGES),
        (0x0026, "a length: spanning tree", BRIDGES),
        (0x0101, "a length, not a type", GATEWAY),
        (0x07FF, "just below IPv4", GATEWAY),
        (0x8035, "reverse ARP", EVERYONE),
        (0x8847, "MPLS", GATEWAY),
        (0x8848, "MPLS multicast", GATEWAY),
        (0x8863, "PPPoE discovery", EVERYONE),
        (0x88E5, "MACsec", GATEWAY),
        (0xFFFF, "reserved", GATEWAY),
    )
] + [
    Case("IPv6 under IPv4's ethertype", lambda s: eth(ip6(s.a6, s.v6, TCP, segment()), s.mac, ethertype=0x0800),
         V.INVALID_PACKET),
    Case("IPv4 under IPv6's ethertype", lambda s: eth(ip4(s.a4, s.v4, TCP, segment()), s.mac, ethertype=0x86DD),
         V.INVALID_PACKET),
]  # fmt: skip

NEIGHBOURS = [
    Case("router advertisement", v6(ICMPV6, icmp(134, 0, b"\x40\0\7\x08" + bytes(8) + MARK)), V.FORBIDDEN_ICMPV6),
    Case("neighbour advertisement", v6(ICMPV6, icmp(136, 0, bytes(20) + MARK)), V.FORBIDDEN_ICMPV6),
    Case("redirect, IPv6", v6(ICMPV6, icmp(137, 0, bytes(36) + MARK)), V.FORBIDDEN_ICMPV6),
    Case("certificate path advertisement", v6(ICMPV6, icmp(149, 0, bytes(20) + MARK)), V.FORBIDDEN_ICMPV6),
    Case("router advertisement to all nodes",
         lambda s: own(s, ip6(s.a6, "ff02::1", ICMPV6, icmp(134, 0, bytes(12) + MARK)), bytes.fromhex("333300000001")),
         V.FORBIDDEN_ICMPV6),
    Case("router advertisement as the gateway", claiming(lambda s: "fe80::1", ICMPV6, icmp(134, 0, bytes(12) + MARK)),
         V.FORBIDDEN_ICMPV6),
]  # fmt: skip

CASES = [*SOURCES, *MACS, *ARP, *TAGS, *ETHERTYPES, *NEIGHBOURS]
