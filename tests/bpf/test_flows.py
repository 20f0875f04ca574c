"""Conversations: what the flow table makes of a sequence of packets, and of time."""

from __future__ import annotations

import time

import pytest

from tests.bpf.conftest import CLIENT, INGRESS, OPEN, RULE_HTTP, SERVER
from tests.bpf.machine import Machine
from tests.bpf.packets import (
    ACK,
    FIN,
    ICMP,
    ICMPV6,
    RST,
    SYN,
    TCP,
    eth,
    icmp,
    ip,
    ip4,
    tcp,
)  # fmt: skip
from tests.bpf.talk import OUTSIDE, VERSIONS, Talk
from weft.datapath import bpf
from weft.datapath.layouts import (
    EVENT_F_REPLY,
    EVENT_POLICY_VERDICT,
    EVENT_TRACE,
    FLOW_CLOSING,
    FLOW_NEW,
    FLOW_OPEN,
)  # fmt: skip
from weft.model.verdicts import Verdict

V = Verdict


@VERSIONS
def test_the_life_of_a_connection(scenery: Machine, version: int) -> None:
    talk = Talk(scenery, version)
    assert talk.ask(SYN) is V.FORWARDED and talk.flow.state == FLOW_NEW
    assert talk.answer(SYN | ACK) is V.FORWARDED and talk.flow.state == FLOW_OPEN
    assert talk.ask(FIN | ACK) is V.FORWARDED and talk.flow.state == FLOW_OPEN
    assert talk.answer(FIN | ACK) is V.FORWARDED and talk.flow.state == FLOW_CLOSING
    assert talk.ask(ACK) is V.FORWARDED, "the last word"
    begin, end = scenery.events()
    assert (begin.type, begin.reason, begin.ingress_rule) == (EVENT_POLICY_VERDICT, V.FORWARDED, RULE_HTTP)
    assert (begin.source_endpoint, begin.destination_endpoint) == (OPEN, SERVER)
    assert (end.type, end.flags & EVENT_F_REPLY) == (EVENT_TRACE, EVENT_F_REPLY)
    assert talk.ask(SYN) is V.FORWARDED and talk.flow.state == FLOW_NEW, "the port is used again"
    assert len(scenery.events()) == 1 and scenery.live(talk.client) == 1


@VERSIONS
def test_a_refused_port_answers_and_ends(scenery: Machine, version: int) -> None:
    talk = Talk(scenery, version, server=None)
    assert talk.ask(SYN) is V.FORWARDED
    assert talk.answer(RST | ACK) is V.FORWARDED and talk.flow.state == FLOW_CLOSING
    assert [event.type for event in scenery.events()] == [EVENT_POLICY_VERDICT, EVENT_TRACE]


@VERSIONS
def test_the_answering_end_may_not_begin(scenery: Machine, version: int) -> None:
    """A server's SYN from its own port to the client's is a flow of its own, under the server's and client's policy."""
    talk = Talk(scenery, version, client=CLIENT)
    talk.open()
    scenery.pod(SERVER, ingress=INGRESS, egress=INGRESS)  # lists no class that it may reach on this port
    try:
        assert talk.answer(SYN) is V.POLICY_DENIED
        assert talk.answer(ACK, b"data") is V.FORWARDED, "the conversation itself goes on"
    finally:
        scenery.pod(SERVER, ingress=INGRESS)


@pytest.mark.parametrize(
    ("version", "protocol", "request_type", "reply_type"), [(4, ICMP, 8, 0), (6, ICMPV6, 128, 129)]
)
def test_ping_and_its_answer(scenery: Machine, version: int, protocol: int, request_type: int, reply_type: int) -> None:
    a, b = scenery.pods[OPEN], scenery.pods[SERVER]
    there = eth(ip(a.at(version), b.at(version), protocol, icmp(request_type)), a.mac)
    back = eth(ip(b.at(version), a.at(version), protocol, icmp(reply_type)), b.mac)
    assert scenery.from_pod(a, there).verdict is V.FORWARDED
    assert scenery.from_pod(b, back).verdict is V.FORWARDED
    assert len(scenery.flows()) == 1
    other_id = eth(ip(b.at(version), a.at(version), protocol, icmp(reply_type, rest=b"\0\x08\0\1")), b.mac)
    scenery.pod(SERVER, ingress=INGRESS, egress=INGRESS)
    try:
        assert scenery.from_pod(b, other_id).verdict is V.POLICY_DENIED, "nobody asked with this id"
    finally:
        scenery.pod(SERVER, ingress=INGRESS)
    (event,) = [event for event in scenery.events() if not event.reason]
    assert (event.source_port, event.destination_port) == (0, request_type << 8)


def test_the_table_ages_without_anybody(scenery: Machine) -> None:
    """Entries of each kind, made old: only those past their time go, and their owners get the place back."""
    a = scenery.pods[OPEN]
    for port in range(4):
        assert scenery.from_pod(a, eth(ip4(a.v4, OUTSIDE[4], TCP, tcp(40000, 80 + port, SYN)), a.mac)).goes == "stack"
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    ages = {80: (FLOW_NEW, 61), 81: (FLOW_OPEN, 61), 82: (FLOW_CLOSING, 11), 83: (FLOW_CLOSING, 1)}
    for key, flow in scenery.flows():
        state, seconds = ages[min(key.port_0, key.port_1)]
        aged = flow._replace(state=state, last_seen_ns=now - seconds * 10**9)
        scenery.maps["flows"].update(key.pack(), aged.pack())
    for _ in range(2):  # arming it again is no error
        assert bpf.prog_test_run(scenery.programs["start_expiry"], bytes(64)).retval == 0
    deadline = time.monotonic() + 10
    while len(scenery.flows()) > 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert {min(key.port_0, key.port_1) for key, _ in scenery.flows()} == {81, 83}
    assert scenery.live(a) == 2
