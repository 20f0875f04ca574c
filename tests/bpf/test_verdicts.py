"""Tables: a packet, and what the programs say of it. Every verdict that a tc program can give is in one of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from tests.bpf.conftest import CLIENT, OPEN, POOR, SERVER, UNREADY
from tests.bpf.machine import Machine
from tests.bpf.packets import (
    ACK,
    DESTINATION,
    ETH_ARP,
    ETH_VLAN,
    FRAGMENT,
    GATEWAY,
    HOP_BY_HOP,
    ICMP,
    ICMPV6,
    MORE,
    ROUTING,
    SCTP,
    SYN,
    TCP,
    UDP,
    eth,
    extension,
    fragment6,
    icmp,
    ip,
    ip4,
    ip6,
    mac_of,
    sctp,
    tcp,
    udp,
)  # fmt: skip
from weft.model.verdicts import Verdict

V = Verdict
A4, B4, C4, D4, E4 = (f"10.0.0.{n}" for n in (OPEN, SERVER, CLIENT, UNREADY, POOR))
A6, B6, C6, D6, E6 = (f"fd00::{n}" for n in (OPEN, SERVER, CLIENT, UNREADY, POOR))
FAR4, FAR6 = "10.0.1.9", "fd00:0:0:1::9"
"""A pod of another node; to policy it is like CLIENT."""
OUT4, OUT6, HOST4, HOST6 = "198.51.100.7", "2001:db8::7", "10.0.0.254", "fd00::fe"
MA, MB, MC = (mac_of(address) for address in (A4, B4, C4))


class Case(NamedTuple):
    what: str
    packet: bytes
    verdict: V
    goes: str = "nowhere"
    pod: int = OPEN
    """Who sends it (from_pod only)."""


def opens(source: str, destination: str, port: int = 80) -> bytes:
    """A SYN, as a pod sends it."""
    v4 = source if ":" not in source else f"10.0.0.{int(source.rsplit(':', 1)[1], 16)}"
    return eth(ip(source, destination, TCP, tcp(40000, port, SYN)), mac_of(v4))


BINDING = [
    Case("another pod's IPv4 address", opens(B4, OUT4), V.INVALID_SOURCE_IP),
    Case("another pod's IPv6 address", opens(B6, OUT6), V.INVALID_SOURCE_IP),
    Case("an address of the pod range that nobody has", opens("10.0.0.77", OUT4), V.INVALID_SOURCE_IP),
    Case("the node's address", opens(HOST4, OUT4), V.INVALID_SOURCE_IP),
    Case("an outside address", opens(OUT4, B4), V.INVALID_SOURCE_IP),
    Case("no address", eth(ip4("0.0.0.0", OUT4, UDP, udp(68, 67)), MA), V.INVALID_SOURCE_IP),
    Case("loopback as the source", eth(ip4("127.0.0.1", OUT4, UDP, udp(1, 2)), MA), V.INVALID_SOURCE_IP),
    Case("another pod's MAC", eth(ip4(A4, OUT4, TCP, tcp(1, 80, SYN)), MB), V.INVALID_SOURCE_MAC),
    Case("a frame to another pod's MAC", eth(ip4(A4, B4, TCP, tcp(1, 80, SYN)), MA, MB), V.INVALID_DESTINATION_MAC),
    Case("a broadcast frame with a unicast packet", eth(ip4(A4, B4, TCP, tcp(1, 80, SYN)), MA, b"\xff" * 6),
         V.INVALID_DESTINATION_MAC),
    Case("a mapped IPv4 source in IPv6", eth(ip6("::ffff:10.0.0.1", B6, TCP, tcp(1, 80, SYN)), MA), V.INVALID_PACKET),
    Case("a mapped IPv4 destination in IPv6", eth(ip6(A6, "::ffff:10.0.0.2", TCP, tcp(1, 80, SYN)), MA),
         V.INVALID_PACKET),
]  # fmt: skip

LAYER2 = [
    Case("ARP for another's address", eth(bytes(46), MA, b"\xff" * 6, ETH_ARP), V.ARP_FILTERED),
    Case("a VLAN tag", eth(b"\0\5\x08\0" + ip4(A4, B4, UDP, udp(1, 53)), MA, ethertype=ETH_VLAN), V.VLAN_FILTERED),
    Case("two VLAN tags", eth(bytes(60), MA, ethertype=0x88A8), V.VLAN_FILTERED),
    Case("MPLS", eth(bytes(60), MA, ethertype=0x8847), V.UNSUPPORTED_L2),
    Case("PPPoE", eth(bytes(60), MA, ethertype=0x8864), V.UNSUPPORTED_L2),
    Case("IEEE 802.3 length instead of a type", eth(bytes(60), MA, ethertype=60), V.UNSUPPORTED_L2),
    Case("IPv6 under IPv4's ethertype", eth(ip6(A6, B6, TCP, tcp(1, 80, SYN)), MA, ethertype=0x0800), V.INVALID_PACKET),
    Case("IPv4 under IPv6's ethertype", eth(ip4(A4, B4, TCP, tcp(1, 80, SYN)) + bytes(20), MA, ethertype=0x86DD),
         V.INVALID_PACKET),
]  # fmt: skip

IPV4 = [
    Case("an option", eth(ip4(A4, B4, TCP, tcp(1, 80, SYN), ihl=6), MA), V.IP_OPTIONS),
    Case("a header length of 4 words", eth(ip4(A4, B4, TCP, tcp(1, 80, SYN))[:14] + bytes(6), MA), V.TRUNCATED_HEADER),
    Case("ihl below 5", eth(b"\x44" + ip4(A4, B4, TCP, tcp(1, 80, SYN))[1:], MA), V.INVALID_PACKET),
    Case("a total length beyond the frame", eth(ip4(A4, B4, TCP, tcp(1, 80, SYN), length=200), MA), V.TRUNCATED_HEADER),
    Case("a total length below the header", eth(ip4(A4, B4, TCP, tcp(1, 80, SYN), length=10), MA), V.INVALID_PACKET),
    Case("a TCP header that the total length cuts", eth(ip4(A4, B4, TCP, tcp(1, 80, SYN), length=39), MA),
         V.TRUNCATED_HEADER),
    Case("a TCP data offset below 5", eth(ip4(A4, B4, TCP, tcp(1, 80, SYN)[:12] + b"\x40\2" + bytes(6)), MA),
         V.INVALID_PACKET),
    Case("a TCP data offset beyond the packet", eth(ip4(A4, B4, TCP, tcp(1, 80, SYN)[:12] + b"\xf0\2" + bytes(6)), MA),
         V.TRUNCATED_HEADER),
    Case("ICMPv6 in IPv4", eth(ip4(A4, B4, ICMPV6, icmp(128)), MA), V.UNKNOWN_L4),
    Case("ICMP in IPv6", eth(ip6(A6, B6, ICMP, icmp(8)), MA), V.UNKNOWN_L4),
    Case("frame padding after the packet", eth(ip4(A4, B4, UDP, udp(1, 53)), MA) + bytes(20), V.FORWARDED, "pod"),
]  # fmt: skip

FRAGMENTS = [
    Case("a first piece that cuts the TCP header (tiny)", eth(ip4(A4, B4, TCP, tcp(1, 80, SYN)[:8], fragment=MORE), MA),
         V.INVALID_FRAGMENT),
    Case("a first piece that is no multiple of 8", eth(ip4(A4, B4, UDP, udp(1, 53, b"odd"), fragment=MORE), MA),
         V.INVALID_FRAGMENT),
    Case("a later piece without its first", eth(ip4(A4, B4, UDP, bytes(16), ident=9, fragment=2), MA),
         V.FRAGMENT_NOT_FOUND),
    Case("an empty later piece", eth(ip4(A4, B4, UDP, b"", ident=9, fragment=2), MA), V.INVALID_FRAGMENT),
    Case("a piece that ends beyond 65535", eth(ip4(A4, B4, UDP, bytes(64), ident=9, fragment=0x1FFF), MA),
         V.INVALID_FRAGMENT),
    Case("IPv6: a tiny first piece", eth(ip6(A6, B6, FRAGMENT, fragment6(TCP, 0, True, 9) + tcp(1, 80, SYN)[:8]), MA),
         V.INVALID_FRAGMENT),
    Case("IPv6: a later piece without its first",
         eth(ip6(A6, B6, FRAGMENT, fragment6(UDP, 16, False, 9) + b"x" * 8), MA), V.FRAGMENT_NOT_FOUND),
    Case("IPv6: a first piece that ends within an extension header",
         eth(ip6(A6, B6, FRAGMENT, fragment6(DESTINATION, 0, True, 9) + extension(UDP, bytes(14))[:8]), MA),
         V.INVALID_FRAGMENT),
    Case("IPv6: two fragment headers",
         eth(ip6(A6, B6, FRAGMENT, fragment6(FRAGMENT, 0, False, 9) + fragment6(UDP, 0, False, 9) + udp(1, 53)), MA),
         V.INVALID_IPV6_EXTENSION),
    Case("IPv6: an atomic fragment is a whole packet",
         eth(ip6(A6, B6, FRAGMENT, fragment6(UDP, 0, False, 9) + udp(1, 53)), MA), V.FORWARDED, "pod"),
]  # fmt: skip

IPV6 = [
    Case("hop-by-hop and destination options before UDP",
         eth(ip6(A6, B6, HOP_BY_HOP, extension(DESTINATION) + extension(UDP) + udp(1, 53)), MA), V.FORWARDED, "pod"),
    Case("the policy behind extension headers is the same",
         eth(ip6(A6, B6, DESTINATION, extension(UDP) + udp(1, 54)), MA), V.POLICY_DENIED),
    Case("hop-by-hop options that are not first",
         eth(ip6(A6, B6, DESTINATION, extension(HOP_BY_HOP) + extension(UDP) + udp(1, 53)), MA),
         V.INVALID_IPV6_EXTENSION),
    Case("a routing header", eth(ip6(A6, B6, ROUTING, extension(UDP) + udp(1, 53)), MA), V.INVALID_IPV6_EXTENSION),
    Case("a chain without end", eth(ip6(A6, B6, DESTINATION, extension(DESTINATION) * 12), MA),
         V.INVALID_IPV6_EXTENSION),
    Case("an extension header beyond the packet",
         eth(ip6(A6, B6, DESTINATION, bytes([UDP, 200]) + bytes(14)), MA), V.TRUNCATED_HEADER),
    Case("a payload length beyond the frame", eth(ip6(A6, B6, UDP, udp(1, 53), length=500), MA), V.TRUNCATED_HEADER),
    Case("a payload length of 0", eth(ip6(A6, B6, UDP, udp(1, 53), length=0), MA), V.TRUNCATED_HEADER),
    Case("a wrong version", eth(ip6(A6, B6, UDP, udp(1, 53), version=5), MA, ethertype=0x86DD), V.INVALID_PACKET),
    Case("no next header (59)", eth(ip6(A6, B6, 59, b""), MA), V.POLICY_DENIED),
    Case("a router advertisement", eth(ip6(A6, "ff02::1", ICMPV6, icmp(134)), MA), V.FORBIDDEN_ICMPV6),
    Case("a neighbour advertisement", eth(ip6(A6, B6, ICMPV6, icmp(136)), MA), V.FORBIDDEN_ICMPV6),
    Case("a redirect", eth(ip6(A6, B6, ICMPV6, icmp(137)), MA), V.FORBIDDEN_ICMPV6),
    Case("the kernel's own MLD report",
         eth(ip6(A6, "ff02::16", HOP_BY_HOP, extension(ICMPV6) + icmp(143)), MA, b"\x33\x33\0\0\0\x16"),
         V.FORBIDDEN_ICMPV6),
    Case("multicast", eth(ip6(A6, "ff02::fb", UDP, udp(5353, 5353)), MA, b"\x33\x33\0\0\0\xfb"), V.MULTICAST),
    Case("loopback as the destination", eth(ip6(A6, "::1", UDP, udp(1, 53)), MA), V.INVALID_PACKET),
]  # fmt: skip

TARGETS = [
    Case("IPv4 multicast", eth(ip4(A4, "224.0.0.251", UDP, udp(5353, 5353)), MA, b"\1\0\x5e\0\0\xfb"), V.MULTICAST),
    Case("IPv4 broadcast", eth(ip4(A4, "255.255.255.255", UDP, udp(68, 67)), MA, b"\xff" * 6), V.MULTICAST),
    Case("the node's loopback", opens(A4, "127.0.0.1"), V.INVALID_PACKET),
    Case("a ClusterIP, TCP", opens(A4, "10.96.0.10"), V.IS_A_CLUSTERIP),
    Case("a ClusterIP, IPv6", opens(A6, "fd00:96::a"), V.IS_A_CLUSTERIP),
    Case("a ClusterIP, ping", eth(ip4(A4, "10.96.0.10", ICMP, icmp(8)), MA), V.IS_A_CLUSTERIP),
    Case("an address of the pod range without a pod", opens(A4, "10.0.0.77"), V.UNKNOWN_TARGET),
    Case("the world, from an open pod", opens(A4, OUT4, 25), V.FORWARDED, "stack"),
    Case("the node, from an open pod", opens(A6, HOST6, 22), V.FORWARDED, "stack"),
]

POLICY = [
    Case("TCP by a rule", opens(A4, B4, 80), V.FORWARDED, "pod"),
    Case("TCP by a rule, IPv6", opens(A6, B6, 80), V.FORWARDED, "pod"),
    Case("TCP without a rule", opens(A4, B4, 81), V.POLICY_DENIED),
    Case("TCP by a deny rule", opens(A4, B4, 22), V.POLICY_DENY),
    Case("UDP by a rule", eth(ip4(A4, B4, UDP, udp(1, 53)), MA), V.FORWARDED, "pod"),
    Case("UDP on TCP's port", eth(ip4(A4, B4, UDP, udp(1, 80)), MA), V.POLICY_DENIED),
    Case("SCTP without a rule", eth(ip4(A4, B4, SCTP, sctp(1, 80)), MA), V.POLICY_DENIED),
    Case("SCTP between open pods", eth(ip4(A4, E4, SCTP, sctp(1, 80)), MA), V.FORWARDED, "pod"),
    Case("ping by a rule", eth(ip4(A4, B4, ICMP, icmp(8)), MA), V.FORWARDED, "pod"),
    Case("ping by a rule, IPv6", eth(ip6(A6, B6, ICMPV6, icmp(128)), MA), V.FORWARDED, "pod"),
    Case("a timestamp request without a rule", eth(ip4(A4, B4, ICMP, icmp(13)), MA), V.POLICY_DENIED),
    Case("an echo reply that nobody asked for", eth(ip4(A4, B4, ICMP, icmp(0)), MA), V.POLICY_DENIED),
    Case("GRE without a rule", eth(ip4(A4, B4, 47, bytes(20)), MA), V.POLICY_DENIED),
    Case("GRE between open pods", eth(ip4(A4, E4, 47, bytes(20)), MA), V.FORWARDED, "pod"),
    Case("ESP without a rule", eth(ip6(A6, B6, 50, bytes(20)), MA), V.POLICY_DENIED),
    Case("a class that the table does not list", eth(ip4(E4, B4, TCP, tcp(1, 443, SYN)), mac_of(E4)), V.FORWARDED,
         "pod", POOR),
    Case("... and no rule for it", eth(ip4(E4, B4, TCP, tcp(1, 80, SYN)), mac_of(E4)), V.POLICY_DENIED, pod=POOR),
    Case("egress by a rule", opens(C4, OUT4, 443), V.FORWARDED, "stack", CLIENT),
    Case("egress without a rule", opens(C4, OUT4, 80), V.POLICY_DENIED, pod=CLIENT),
    Case("the node without a rule for it", opens(C4, HOST4, 443), V.POLICY_DENIED, pod=CLIENT),
    Case("egress allows, ingress does not", opens(C4, B4, 81), V.POLICY_DENIED, pod=CLIENT),
    Case("both allow", opens(C4, B4, 80), V.FORWARDED, "pod", CLIENT),
    Case("a table that is not written yet", opens(A4, D4, 80), V.ENDPOINT_NOT_READY),
]  # fmt: skip

INNER = ip4(A4, B4, UDP, udp(5000, 53))
ERRORS = [
    Case("an error about nothing", eth(ip4(A4, B4, ICMP, icmp(3, 3, bytes(4)) + ip4(B4, A4, UDP, udp(1, 53))), MA),
         V.UNKNOWN_FLOW_ERROR),
    Case("a source quench", eth(ip4(A4, B4, ICMP, icmp(4, 0, bytes(4)) + INNER), MA), V.UNKNOWN_FLOW_ERROR),
    Case("a redirect", eth(ip4(A4, B4, ICMP, icmp(5, 1, bytes(4)) + INNER), MA), V.UNKNOWN_FLOW_ERROR),
    Case("an error that carries nothing", eth(ip4(A4, B4, ICMP, icmp(3, 3, bytes(4))), MA), V.TRUNCATED_HEADER),
    Case("an error about a later piece",
         eth(ip4(A4, B4, ICMP, icmp(3, 3, bytes(4)) + ip4(B4, A4, UDP, udp(1, 53), fragment=9)), MA),
         V.UNKNOWN_FLOW_ERROR),
    Case("packet too big about nothing",
         eth(ip6(A6, B6, ICMPV6, icmp(2, 0, bytes(4)) + ip6(B6, A6, UDP, udp(1, 53))), MA), V.UNKNOWN_FLOW_ERROR),
]  # fmt: skip

TABLES = {
    "binding": BINDING, "layer2": LAYER2, "ipv4": IPV4, "fragments": FRAGMENTS, "ipv6": IPV6, "targets": TARGETS,
    "policy": POLICY, "errors": ERRORS,
}  # fmt: skip
NAMED = [pytest.param(case, id=f"{name}: {case.what}") for name, cases in TABLES.items() for case in cases]


@pytest.mark.parametrize("case", NAMED)
def test_from_pod(scenery: Machine, case: Case) -> None:
    outcome = scenery.from_pod(scenery.pods[case.pod], case.packet)
    assert (outcome.verdict, outcome.goes) == (case.verdict, case.goes)
    expected = case.packet
    if case.goes == "pod":
        v4 = case.packet[12:14] == b"\x08\0"
        expected = mac_of(f"10.0.0.{case.packet[33 if v4 else 53]}") + GATEWAY + case.packet[12:]
    assert outcome.packet == expected
    if case.verdict is not V.FORWARDED:
        assert not scenery.flows(), "a refused packet leaves nothing behind"


def received(source: str, destination: str, port: int = 80) -> bytes:
    """A SYN as weft_host sends it."""
    return eth(ip(source, destination, TCP, tcp(40000, port, SYN)), bytes(6), bytes(6))


TO_POD = [
    (False, Case("the node to its pod, whatever policy says", received(HOST4, B4, 9), V.FORWARDED, "pod")),
    (False, Case("the node to its pod, IPv6", received(HOST6, B6, 9), V.FORWARDED, "pod")),
    (True, Case("the node's address from outside", received(HOST4, B4, 80), V.FORGED_HOST_SOURCE)),
    (True, Case("a pod's address from outside", received(A4, B4, 80), V.FORGED_HOST_SOURCE)),
    (False, Case("a pod's address from the node", received(A4, B4, 80), V.FORGED_HOST_SOURCE)),
    (True, Case("the pod range from outside", received("10.0.0.77", B4, 80), V.FORGED_HOST_SOURCE)),
    (True, Case("the service range from outside", received("10.96.0.10", B4, 80), V.FORGED_HOST_SOURCE)),
    (True, Case("the world to an open pod", received(OUT4, A4, 9), V.FORWARDED, "pod")),
    (True, Case("the world without a rule", received(OUT4, B4, 80), V.POLICY_DENIED)),
    (True, Case("the world by a rule for all others", received(OUT6, B6, 443), V.FORWARDED, "pod")),
    (True, Case("another node's pod by its identity", received(FAR4, B4, 80), V.FORWARDED, "pod")),
    (True, Case("another node's pod by its identity, IPv6", received(FAR6, B6, 80), V.FORWARDED, "pod")),
    (True, Case("another node's pod without a rule", received(FAR4, B4, 81), V.POLICY_DENIED)),
    (True, Case("another node's pod that nobody knows", received("10.0.1.77", A4, 80), V.UNKNOWN_SENDER)),
    (True, Case("another node's pod that nobody knows, IPv6", received("fd00:0:0:1::4d", A6, 80), V.UNKNOWN_SENDER)),
    (True, Case("nobody has the address", received(OUT4, "10.0.0.77"), V.UNKNOWN_TARGET)),
    (False, Case("an option", eth(ip4(HOST4, B4, TCP, tcp(1, 80, SYN), ihl=6), bytes(6)), V.IP_OPTIONS)),
    (False, Case("neighbour solicitation", eth(ip6(HOST6, B6, ICMPV6, icmp(135)), bytes(6)), V.FORBIDDEN_ICMPV6)),
    (True, Case("a table that is not written yet", received(OUT4, D4), V.ENDPOINT_NOT_READY)),
]


@pytest.mark.parametrize(("from_outside", "case"), [pytest.param(*case, id=case[1].what) for case in TO_POD])
def test_to_pod(scenery: Machine, from_outside: bool, case: Case) -> None:
    outcome = scenery.to_pod(case.packet, received=from_outside)
    assert (outcome.verdict, outcome.goes) == (case.verdict, case.goes)
    if case.goes == "pod":
        assert outcome.packet[6:12] == GATEWAY and outcome.packet[12:] == case.packet[12:]


@pytest.mark.parametrize("source", [FAR4, FAR6])
def test_with_a_tunnel_another_nodes_pod_sends_through_it_only(scenery: Machine, source: str) -> None:
    packet = received(source, A4 if source == FAR4 else A6, 80)
    device = scenery.pods[OPEN].ifindex
    scenery.tunnel(device + 1)
    assert scenery.to_pod(packet, received=True).verdict is V.FORGED_HOST_SOURCE
    assert scenery.to_pod(packet).verdict is V.FORGED_HOST_SOURCE, "nor does the node itself"
    scenery.tunnel(device)
    assert scenery.to_pod(packet, received=True).verdict is V.FORWARDED
    scenery.tunnel(device + 1)
    assert scenery.to_pod(packet, received=True).verdict is V.FORGED_HOST_SOURCE, "nor as part of a flow"


def test_what_does_not_come_out_of_a_tunnel_is_refused_there(scenery: Machine) -> None:
    assert scenery.from_tunnel(received(FAR4, A4, 80)).verdict is V.FORGED_HOST_SOURCE


def full(machine: Machine) -> bytes:
    """The packet that does not fit any more."""
    packet: Callable[[int], bytes] = lambda port: eth(ip4(A4, OUT4, UDP, udp(port, 53)), MA)  # noqa: E731
    for port in range(1, 2000):
        if machine.from_pod(machine.pods[OPEN], packet(port)).verdict is not V.FORWARDED:
            return packet(port)
    raise AssertionError("the flow table never filled")


def test_a_full_table_refuses_new_flows_and_keeps_the_old(scenery: Machine) -> None:
    packet = full(scenery)
    before = scenery.live(scenery.pods[OPEN])
    assert scenery.from_pod(scenery.pods[OPEN], packet).verdict is V.FLOW_TABLE_FULL
    assert scenery.live(scenery.pods[OPEN]) == before == len(scenery.flows())
    old = eth(ip4(A4, OUT4, UDP, udp(1, 53)), MA)
    assert scenery.from_pod(scenery.pods[OPEN], old).verdict is V.FORWARDED


def test_a_pod_cannot_take_more_than_its_share(scenery: Machine) -> None:
    poor = scenery.pods[POOR]
    said = [scenery.from_pod(poor, eth(ip4(E4, A4, UDP, udp(port, 1)), poor.mac)).verdict for port in (1, 2, 1)]
    assert said == [V.FORWARDED, V.FLOW_QUOTA, V.FORWARDED]
    assert scenery.from_pod(scenery.pods[OPEN], opens(A4, E4)).verdict is V.FORWARDED, "who asks pays"


def test_every_verdict_is_covered() -> None:
    """What tc programs can say is in a table above, or in a test with its name here."""
    covered = {case.verdict for cases in TABLES.values() for case in cases} | {case.verdict for _, case in TO_POD}
    covered |= {V.FLOW_TABLE_FULL, V.FLOW_QUOTA, V.POLICY_REVOKED}
    covered |= {V.PROXY_GONE, V.PROXY_PORT_TAKEN, V.PROXY_STRAY}  # tests/bpf/test_proxy.py
    by_socket_hooks, never = {V.NO_BACKEND}, {V.UNSUPPORTED_L3, V.WRITE_ERROR}
    assert covered | by_socket_hooks | never == set(V)


def test_ack_without_a_flow_is_decided_as_its_senders_flow(scenery: Machine) -> None:
    packet = eth(ip4(A4, B4, TCP, tcp(40000, 80, ACK, b"more")), MA)
    assert scenery.from_pod(scenery.pods[OPEN], packet).verdict is V.FORWARDED
