"""ICMP errors and fragments: packets that only make sense together with another one."""

from __future__ import annotations

import pytest

from tests.bpf.conftest import CLIENT, OPEN, SERVER
from tests.bpf.machine import Machine
from tests.bpf.packets import (
    DESTINATION,
    FRAGMENT,
    ICMP,
    ICMPV6,
    MORE,
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
    tcp,
    udp,
)  # fmt: skip
from tests.bpf.talk import OUTSIDE, VERSIONS
from weft.model.verdicts import Verdict

V = Verdict


def about(version: int, packet: bytes, type4: int, type6: int, source: str, destination: str) -> bytes:
    """An ICMP error without its Ethernet header."""
    protocol, kind = (ICMP, type4) if version == 4 else (ICMPV6, type6)
    return ip(source, destination, protocol, icmp(kind, 0, b"\0\0\5\0") + packet)


@VERSIONS
def test_errors_that_belong_to_a_flow(scenery: Machine, version: int) -> None:
    a, b, router = scenery.pods[OPEN], scenery.pods[SERVER], {4: "203.0.113.1", 6: "2001:db8:1::1"}[version]
    question = ip(a.at(version), b.at(version), UDP, udp(5000, 53))
    assert scenery.from_pod(a, eth(question, a.mac)).verdict is V.FORWARDED
    unreachable = eth(about(version, question, 3, 1, b.at(version), a.at(version)), b.mac)
    outcome = scenery.from_pod(b, unreachable)
    assert (outcome.verdict, outcome.goes, outcome.packet[:6]) == (V.FORWARDED, "pod", a.mac)
    third = scenery.pods[CLIENT]
    from_third = eth(about(version, question, 3, 1, third.at(version), a.at(version)), third.mac)
    assert scenery.from_pod(third, from_third).verdict is V.UNKNOWN_FLOW_ERROR, "not the one it was sent to"
    to_third = eth(about(version, question, 3, 1, b.at(version), third.at(version)), b.mac)
    assert scenery.from_pod(b, to_third).verdict is V.UNKNOWN_FLOW_ERROR, "not the one who sent it"
    outside = ip(a.at(version), OUTSIDE[version], TCP, tcp(40000, 80, SYN))
    assert scenery.from_pod(a, eth(outside, a.mac)).verdict is V.FORWARDED
    too_big = eth(about(version, outside, 3, 2, router, a.at(version)), bytes(6), bytes(6))
    assert scenery.to_pod(too_big, received=True).verdict is V.FORWARDED, "path MTU discovery"
    other = ip(a.at(version), OUTSIDE[version], TCP, tcp(40001, 80, SYN))
    forged = eth(about(version, other, 3, 2, router, a.at(version)), bytes(6), bytes(6))
    assert scenery.to_pod(forged, received=True).verdict is V.UNKNOWN_FLOW_ERROR
    scenery.revision(2)
    assert scenery.from_pod(b, unreachable).verdict is V.UNKNOWN_FLOW_ERROR, "the flow is to be decided again"


def pieces(version: int, source: str, destination: str, ident: int, port: int) -> list[bytes]:
    """A UDP packet in three pieces of 16, 16 and 8 bytes, without Ethernet headers."""
    whole = udp(5000, port, b"x" * 32)
    cuts = [(0, whole[:16], True), (16, whole[16:32], True), (32, whole[32:], False)]
    if version == 4:
        return [ip4(source, destination, UDP, data, ident=ident, fragment=at // 8 | (MORE if more else 0))
                for at, data, more in cuts]  # fmt: skip
    return [ip6(source, destination, FRAGMENT, fragment6(UDP, at, more, ident) + data) for at, data, more in cuts]


@VERSIONS
@pytest.mark.parametrize("ident", [0, 7])
def test_pieces_follow_their_first(scenery: Machine, version: int, ident: int) -> None:
    a, b = scenery.pods[OPEN], scenery.pods[SERVER]
    first, second, third = (eth(p, a.mac) for p in pieces(version, a.at(version), b.at(version), ident, 53))
    assert scenery.from_pod(a, second).verdict is V.FRAGMENT_NOT_FOUND
    assert [scenery.from_pod(a, p).verdict for p in (first, second, third)] == [V.FORWARDED] * 3
    assert len(scenery.flows()) == 1, "all of one flow"
    again = [eth(p, a.mac) for p in pieces(version, a.at(version), b.at(version), ident + 1, 53)]
    assert [scenery.from_pod(a, p).verdict for p in again] == [V.FORWARDED] * 3, "an established flow's pieces too"


@VERSIONS
def test_pieces_of_a_refused_packet(scenery: Machine, version: int) -> None:
    a, b = scenery.pods[OPEN], scenery.pods[SERVER]
    said = [scenery.from_pod(a, eth(p, a.mac)).verdict for p in pieces(version, a.at(version), b.at(version), 8, 54)]
    assert said == [V.POLICY_DENIED, V.FRAGMENT_NOT_FOUND, V.FRAGMENT_NOT_FOUND]


@VERSIONS
def test_a_piece_that_would_overwrite_the_first(scenery: Machine, version: int) -> None:
    a, b = scenery.pods[OPEN], scenery.pods[SERVER]
    assert scenery.from_pod(a, eth(pieces(version, a.at(version), b.at(version), 9, 53)[0], a.mac)).goes == "pod"
    evil = udp(5000, 22)[:8]
    over = (ip4(a.v4, b.v4, UDP, evil, ident=9, fragment=1) if version == 4
            else ip6(a.v6, b.v6, FRAGMENT, fragment6(UDP, 8, False, 9) + evil))  # fmt: skip
    assert scenery.from_pod(a, eth(over, a.mac)).verdict is V.INVALID_FRAGMENT


def test_ipv6_pieces_behind_extension_headers(scenery: Machine) -> None:
    a, b = scenery.pods[OPEN], scenery.pods[SERVER]
    first = ip6(a.v6, b.v6, FRAGMENT, fragment6(DESTINATION, 0, True, 3) + extension(UDP) + udp(5000, 53, b"x" * 8))
    later = ip6(a.v6, b.v6, FRAGMENT, fragment6(DESTINATION, 24, False, 3) + b"x" * 8)
    assert [scenery.from_pod(a, eth(p, a.mac)).verdict for p in (first, later)] == [V.FORWARDED] * 2
