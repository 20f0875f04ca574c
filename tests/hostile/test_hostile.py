"""A pod that sends what it should not: nothing of it arrives, each is counted once, and the flow log says why."""

from __future__ import annotations

import time

import pytest

from tests.bpf.packets import (
    ACK,
    FRAGMENT,
    ICMP,
    ICMPV6,
    MORE,
    RST,
    SYN,
    TCP,
    UDP,
    eth,
    fragment6,
    icmp,
    ip,
    ip4,
    ip6,
    mac_of,
    tcp,
    udp,
    with_checksum,
)
from tests.hostile import identity_cases, shape_cases, target_cases
from tests.hostile.ears import MARK
from tests.hostile.frames import Case, segment
from tests.hostile.scene import Scene
from tests.lab import until
from tests.lab.netns import NODE_V6, OUTSIDE_V4, OUTSIDE_V6
from weft.model.verdicts import Verdict

ALL = [*identity_cases.CASES, *shape_cases.CASES, *target_cases.CASES]
COPIES = 3
"""How often each is sent."""


def changed(before: dict[tuple[int, Verdict], int], after: dict[tuple[int, Verdict], int]) -> dict[str, int]:
    rose = {key: count - before.get(key, 0) for key, count in after.items() if count != before.get(key, 0)}
    return {f"{verdict.name} {'in' if direction else 'out'}": count for (direction, verdict), count in rose.items()}


@pytest.mark.parametrize("case", ALL, ids=[case.what for case in ALL])
def test_refused_counted_and_explained(scene: Scene, case: Case) -> None:
    scene.listen()
    before, began, number = scene.counts(), time.time_ns(), 0
    key = (case.direction, case.verdict)

    def explained() -> bool:
        """Equal refusals are folded within a second, so one more may have to be sent until there is a record."""
        nonlocal number
        scene.hostile.send(case.frame(scene))
        number += 1
        return any(
            flow["extensions"]["value"].get("reason") == case.verdict.name
            for flow in scene.flows(began, source_pod=["default/attacker"], verdict=["DROPPED"])
        )

    for _ in range(COPIES - 1):
        scene.hostile.send(case.frame(scene))
        number += 1
    until(explained, f"the flow log says {case.verdict.name}", 5)
    until(lambda: scene.counts().get(key, 0) - before.get(key, 0) >= number, "all are counted", 2)
    assert changed(before, scene.counts()) == {f"{case.verdict.name} {'in' if case.direction else 'out'}": number}
    assert not scene.at_the_victim()
    assert not [place for place, heard in scene.drain().items() if heard.marked()]


def test_the_ears_hear(scene: Scene) -> None:
    """What a rule allows, sent from the same kind of socket, is heard: at the victim, in the node, outside."""
    for source, target in ((scene.a4, scene.v4), (scene.a6, scene.v6)):
        scene.listen()
        before = scene.counts()
        scene.hostile.send(with_checksum(eth(ip(source, target, TCP, segment()), scene.mac)))
        heard = until(scene.at_the_victim, "the SYN is at the victim")
        assert MARK in heard[0] and heard[0][:6] == scene.victim_mac
        assert changed(before, scene.counts()) == {}
    for place, target in (("node", scene.router4), ("node", NODE_V6), ("outside", OUTSIDE_V4), ("outside", OUTSIDE_V6)):
        scene.listen()
        source = scene.friend.v6 if ":" in target else scene.friend.v4
        scene.at_friend.send(eth(ip(source, target, UDP, udp(40000, 9999, MARK)), mac_of(scene.friend.v4)))
        until(lambda place=place: scene.drain()[place].marked(), f"{target} is heard in {place}")


def pieces(scene: Scene, version: int, *parts: tuple[int, bytes]) -> list[bytes]:
    """Fragments of one packet to the victim, none of them the last: (offset in bytes, content)."""
    if version == 4:
        packets = [ip4(scene.a4, scene.v4, TCP, part, fragment=MORE | offset // 8, ident=77) for offset, part in parts]
    else:
        packets = [ip6(scene.a6, scene.v6, FRAGMENT, fragment6(TCP, offset, True, 77) + part) for offset, part in parts]
    return [eth(packet, scene.mac) for packet in packets]


@pytest.mark.parametrize("version", [4, 6])
def test_pieces_that_overwrite_the_header_of_an_allowed_one(scene: Scene, version: int) -> None:
    """The first piece may pass; those that would rewrite its port (RFC 1858, 5722) may not, nor a second first one."""
    scene.listen()
    before = scene.counts()
    whole = segment(data=MARK.ljust(20, b"."))
    forged = tcp(40000, 9999, SYN, MARK.ljust(20, b"."))
    first, *later = pieces(scene, version, (0, whole), (8, forged[8:16]), (16, forged[16:32]), (32, forged[32:40]))
    for frame in (first, *later, pieces(scene, version, (0, forged))[0]):
        scene.hostile.send(frame)
    until(lambda: sum(changed(before, scene.counts()).values()) >= 4, "all four are counted", 2)
    assert changed(before, scene.counts()) == {"INVALID_FRAGMENT out": 3, "POLICY_DENIED in": 1}
    assert len(scene.at_the_victim()) == 1


def test_a_reset_for_a_connection_that_is_not_the_attackers(scene: Scene) -> None:
    """It has the wrong source, or it names another pair of ports; either way the friend's connection goes on."""
    scene.listen()
    before = scene.counts()
    for source in (scene.friend.v4, scene.a4):
        reset = tcp(scene.held_port, 8080, RST | ACK, b"", seq=0)
        scene.hostile.send(with_checksum(eth(ip4(source, scene.v4, TCP, reset), scene.mac)))
    until(lambda: sum(changed(before, scene.counts()).values()) >= 2, "both are counted", 2)
    assert changed(before, scene.counts()) == {"INVALID_SOURCE_IP out": 1, "POLICY_DENIED in": 1}
    assert not scene.at_the_victim()
    assert scene.held_alive()


@pytest.mark.parametrize("version", [4, 6])
def test_an_error_about_an_own_connection_goes_to_its_other_end_only(scene: Scene, version: int) -> None:
    """The attacker may tell the victim that a packet did not arrive; nobody else, whom no rule lets it reach."""
    scene.listen()
    own, victim, friend = ((pod.v4 if version == 4 else pod.v6) for pod in (scene.attacker, scene.victim, scene.friend))
    scene.hostile.send(with_checksum(eth(ip(own, victim, TCP, segment()), scene.mac)))
    until(scene.at_the_victim, "the connection's first packet is at the victim")
    before = scene.counts()
    quoted = ip(victim, own, TCP, tcp(8081, 40000, ACK)) + MARK
    protocol, error = (
        (ICMP, icmp(3, 4, b"\0\0\5\0" + quoted)) if version == 4 else (ICMPV6, icmp(2, 0, b"\0\0\5\0" + quoted))
    )
    for target in (friend, victim):
        scene.hostile.send(eth(ip(own, target, protocol, error), scene.mac))
    until(lambda: any(MARK in frame for frame in scene.at_the_victim()), "the victim's is at the victim")
    assert changed(before, scene.counts()) == {"UNKNOWN_FLOW_ERROR out": 1}
    assert not scene.at_friend.drain().marked()


def test_the_nodes_neighbours_are_as_before(scene: Scene) -> None:
    """After everything above nobody's table of addresses knows the attacker's lies."""
    table = scene.neighbours()
    assert scene.mac.hex(":") not in table
    assert scene.held_alive()


def test_from_outside_with_a_pods_address(scene: Scene) -> None:
    """The world claims to be the friend, or the node: the door before all pods does not believe it."""
    scene.listen()
    before, began = scene.counts(), time.time_ns()
    for source in (scene.friend.v6, scene.router6, scene.cluster6):
        packet = ip(source, scene.v6, UDP, udp(40000, 8080, MARK))
        scene.outside.send(eth(packet, scene.outside.mac, scene.uplink_mac))
    refused = (1, Verdict.FORGED_HOST_SOURCE)
    until(lambda: scene.counts().get(refused, 0) > before.get(refused, 0), "the forged sources are counted", 2)
    found = until(lambda: scene.flows(began, drop_reason_desc=["FORGED_HOST_SOURCE"]), "and explained", 2)
    assert found[0]["traffic_direction"] == "INGRESS"
    assert found[0]["destination"]["pod_name"] == "victim"
    assert not scene.at_the_victim()
