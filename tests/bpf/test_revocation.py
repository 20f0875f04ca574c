"""A policy or a pod that changes while conversations are open."""

from __future__ import annotations

import pytest

from tests.bpf.conftest import INGRESS, OPEN, POOR, SERVER
from tests.bpf.machine import Machine, listening
from tests.bpf.packets import (
    ACK,
    GATEWAY,
    PSH,
    RST,
    SYN,
    TCP,
    UDP,
    eth,
    ip4,
    mac_of,
    tcp,
    udp,
    with_checksum,
)  # fmt: skip
from tests.bpf.talk import VERSIONS, Talk, reset_in, segment
from weft.datapath.layouts import (
    EVENT_F_AGAIN,
    EVENT_F_REPLY,
    EVENT_POLICY_VERDICT,
    FLOW_CUT,
    POLICY_NONE,
)  # fmt: skip
from weft.model.verdicts import Verdict

V = Verdict


def closed(machine: Machine) -> None:
    """The server's policy no longer allows anything."""
    machine.rule(50, POLICY_NONE)
    machine.pod(SERVER, ingress=50)
    machine.revision(2)


@pytest.fixture
def changing(scenery: Machine) -> Machine:
    yield scenery
    scenery.pod(SERVER, ingress=INGRESS)


@VERSIONS
def test_a_new_revision_that_still_allows(changing: Machine, version: int) -> None:
    talk = Talk(changing, version)
    talk.open()
    changing.revision(2)
    assert talk.answer(ACK, b"data") is V.FORWARDED and talk.flow.revision == 2
    assert len(changing.events()) == 1, "the same verdict is no news"


@VERSIONS
def test_a_revoked_connection_is_reset_at_both_ends(changing: Machine, version: int) -> None:
    talk = Talk(changing, version)
    talk.open()
    changing.events()
    closed(changing)
    assert talk.answer(ACK, b"data") is V.POLICY_REVOKED and talk.flow.state == FLOW_CUT
    (event,) = changing.events()
    assert (event.type, event.reason) == (EVENT_POLICY_VERDICT, V.POLICY_REVOKED)
    assert event.flags & (EVENT_F_AGAIN | EVENT_F_REPLY) == EVENT_F_AGAIN | EVENT_F_REPLY
    with listening("in1") as heard:
        outcome = changing.from_pod(talk.client, talk.asks(ACK, seq=1234, ack=5678))
        answer = reset_in(heard, talk.client)
    assert outcome.verdict is V.POLICY_REVOKED
    assert answer[:12] == talk.client.mac + GATEWAY
    assert segment(answer) == (80, 40000, 5678, RST) and answer == with_checksum(answer)
    assert outcome.goes == "pod" and outcome.packet[:12] == talk.server.mac + GATEWAY
    assert segment(outcome.packet) == (40000, 80, 1234, RST | ACK)
    assert outcome.packet == with_checksum(outcome.packet)


@VERSIONS
def test_the_world_is_told_too(changing: Machine, version: int) -> None:
    """Refused on its way to the pod: a reset into the stack, towards the world, and one on to the pod."""
    talk = Talk(changing, version, client=OPEN, server=None)
    talk.open()
    changing.rule(51, POLICY_NONE)
    changing.pod(OPEN, egress=51)
    changing.revision(2)
    try:
        with listening("weft_host") as heard:
            outcome = changing.to_pod(talk.answers(ACK, seq=77, ack=88), received=True)
            back = heard.recv(2000)
        assert outcome.verdict is V.POLICY_REVOKED and outcome.goes == "pod"
        assert segment(back) == (40000, 80, 88, RST) and segment(outcome.packet) == (80, 40000, 77, RST | ACK)
        assert changing.from_pod(talk.client, talk.asks(ACK)).goes == "stack", "and from the pod, on to the world"
    finally:
        changing.pod(OPEN)


def test_what_is_not_answered_with_a_reset(changing: Machine) -> None:
    talk = Talk(changing, 4)
    talk.open()
    closed(changing)
    for packet in (talk.asks(ACK | PSH, b"data"), talk.asks(RST), talk.asks(RST | ACK), talk.asks(SYN)):
        assert changing.from_pod(talk.client, packet).goes == "nowhere"
    with listening("in1") as heard:
        heard.settimeout(0)
        changing.from_pod(talk.client, talk.asks(ACK, b"data"))
        with pytest.raises(BlockingIOError):
            reset_in(heard, talk.client)


def test_a_stray_segment_is_reset_at_its_sender_only(scenery: Machine) -> None:
    client = scenery.pods[OPEN]
    packet = eth(ip4(client.v4, scenery.pods[SERVER].v4, TCP, tcp(40000, 81, ACK, seq=5, ack=6)), client.mac)
    with listening("in1") as heard:
        outcome = scenery.from_pod(client, packet)
        assert segment(reset_in(heard, client)) == (81, 40000, 6, RST)
    assert (outcome.verdict, outcome.goes) == (V.POLICY_DENIED, "nowhere")


def test_udp_opens_again_when_policy_allows_again(changing: Machine) -> None:
    a, b = changing.pods[OPEN], changing.pods[SERVER]
    packet = eth(ip4(a.v4, b.v4, UDP, udp(5000, 53)), a.mac)
    assert changing.from_pod(a, packet).verdict is V.FORWARDED
    closed(changing)
    assert [changing.from_pod(a, packet).verdict for _ in range(2)] == [V.POLICY_REVOKED] * 2
    changing.pod(SERVER, ingress=INGRESS)
    changing.revision(3)
    assert changing.from_pod(a, packet).verdict is V.FORWARDED
    assert [event.reason for event in changing.events()] == [0, V.POLICY_REVOKED, V.POLICY_REVOKED, 0]


@VERSIONS
def test_a_pod_that_went_and_one_that_came(scenery: Machine, version: int) -> None:
    """Another pod's device cannot go on with a flow of the address that it got."""
    talk = Talk(scenery, version, client=POOR, server=OPEN)
    talk.open()
    stolen = scenery.from_pod(scenery.pods[SERVER], talk.asks(ACK))
    assert (stolen.verdict, stolen.goes) == (V.INVALID_SOURCE_IP, "nowhere")
    wrong_mac = talk.asks(ACK)[:6] + mac_of("10.0.0.9") + talk.asks(ACK)[12:]
    assert scenery.from_pod(talk.client, wrong_mac).verdict is V.INVALID_SOURCE_MAC
    forged = scenery.to_pod(talk.asks(ACK), received=True)
    assert forged.verdict is V.FORGED_HOST_SOURCE
    scenery.remove(talk.client)
    scenery.revision(2)
    try:
        assert talk.answer(ACK) is V.UNKNOWN_TARGET
        assert talk.ask(ACK) is V.INVALID_SOURCE_IP
    finally:
        scenery.pod(POOR, quota=1)


def test_the_nodes_address_from_outside_cannot_go_on_with_the_nodes_flow(scenery: Machine) -> None:
    packet = eth(ip4("10.0.0.254", "10.0.0.2", TCP, tcp(50000, 9, SYN)), bytes(6), bytes(6))
    assert scenery.to_pod(packet).verdict is V.FORWARDED
    more = eth(ip4("10.0.0.254", "10.0.0.2", TCP, tcp(50000, 9, ACK)), bytes(6), bytes(6))
    assert scenery.to_pod(more).verdict is V.FORWARDED
    assert scenery.to_pod(more, received=True).verdict is V.FORGED_HOST_SOURCE
