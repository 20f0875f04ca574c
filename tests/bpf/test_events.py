"""Records: what is written, what is folded, what is lost; nothing of it uncounted."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.bpf.conftest import CLIENT, OPEN, RULE_DENY, SERVER, set_scene
from tests.bpf.machine import SIZES, Machine, machine
from tests.bpf.packets import HOP_BY_HOP, ICMPV6, SYN, TCP, UDP, eth, extension, icmp, ip4, ip6, tcp, udp
from weft.datapath.layouts import EVENT_DROP, EVENT_F_INGRESS, EVENT_F_INGRESS_ENFORCED, EVENT_POLICY_VERDICT
from weft.model.verdicts import Verdict

V = Verdict


def refused(machine: Machine, port: int = 22) -> bytes:
    a, b = machine.pods[OPEN], machine.pods[SERVER]
    return eth(ip4(a.v4, b.v4, TCP, tcp(40000, port, SYN)), a.mac)


def test_what_a_record_says(scenery: Machine) -> None:
    a = scenery.pods[OPEN]
    scenery.from_pod(a, refused(scenery))
    (event,) = scenery.events()
    assert (event.type, event.reason, event.ingress_rule) == (EVENT_POLICY_VERDICT, V.POLICY_DENY, RULE_DENY)
    assert event.flags == EVENT_F_INGRESS | EVENT_F_INGRESS_ENFORCED
    assert (event.source_identity, event.destination_identity) == (65536 + OPEN, 65536 + SERVER)
    assert (event.source_port, event.destination_port, event.tcp_flags) == (40000, 22, SYN)
    assert (event.ifindex, event.source_mac, event.revision) == (a.ifindex, a.mac, 1)
    assert event.length == len(refused(scenery)) and event.time_ns


def test_a_flood_is_folded_and_counted(scenery: Machine) -> None:
    a = scenery.pods[OPEN]
    before = scenery.counted()
    scenery.flood(a, [refused(scenery)] * 1000)
    assert scenery.counted()[V.POLICY_DENY] - before.get(V.POLICY_DENY, 0) == 1000
    events = scenery.events()
    left = sum(struct.unpack("=QII", value)[2] for _, value in scenery.maps["folds"].items())
    assert len(events) + sum(event.folded for event in events) + left == 1000, "each is a record or in a number"
    assert len(events) < 100


def test_one_pods_flood_hides_no_other_pods_drop(scenery: Machine) -> None:
    a, c = scenery.pods[OPEN], scenery.pods[CLIENT]
    scenery.flood(a, [refused(scenery, 1000 + port) for port in range(2000)])
    flood = scenery.events()
    assert len(flood) <= 64 * 8 * 10, "bounded by slots and seconds"
    scenery.from_pod(c, eth(ip4(c.v4, "198.51.100.7", UDP, udp(1, 2)), c.mac))
    (event,) = scenery.events()
    assert (event.source_endpoint, event.reason) == (CLIENT, V.POLICY_DENIED)


def test_a_kernels_chatter_is_counted_only(scenery: Machine) -> None:
    a = scenery.pods[OPEN]
    report = ip6(a.v6, "ff02::16", HOP_BY_HOP, extension(ICMPV6) + icmp(143))
    for message in (report, ip6(a.v6, "ff02::2", ICMPV6, icmp(133)), ip6(a.v6, "ff02::1:ff00:1", ICMPV6, icmp(135))):
        assert scenery.from_pod(a, eth(message, a.mac)).verdict is V.FORBIDDEN_ICMPV6
    assert scenery.events() == []
    scenery.from_pod(a, eth(ip6(a.v6, "ff02::1", ICMPV6, icmp(134)), a.mac))
    (event,) = scenery.events()
    assert (event.type, event.reason) == (EVENT_DROP, V.FORBIDDEN_ICMPV6), "a router advertisement is no chatter"


def test_a_full_ring_loses_records_but_no_packets(tmp_path: Path) -> None:
    with machine(tmp_path, SIZES | {"events": 4096, "flows": 4096}) as small:
        set_scene(small)
        a = small.pods[OPEN]
        for port in range(100):
            packet = eth(ip4(a.v4, "198.51.100.7", UDP, udp(1000 + port, 53)), a.mac)
            assert small.from_pod(a, packet).verdict is V.FORWARDED
        value = small.maps["events_lost"].lookup(bytes(4)) or b""
        assert len(small.events()) + sum(struct.unpack(f"={len(value) // 8}Q", value)) == 100
