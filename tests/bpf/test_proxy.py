"""Both doors, packet by packet, where a listener has to see a connection."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

from tests.bpf.conftest import CLIENT, EGRESS, INGRESS, OPEN, SERVER
from tests.bpf.machine import Machine, Outcome
from tests.bpf.packets import ACK, GATEWAY, RST, SYN, TCP, UDP, eth, ip, tcp, udp, with_checksum
from tests.bpf.talk import OUTSIDE, VERSIONS, Talk, segment
from tests.bpf.test_pieces import about
from tests.bpf.test_query import ask
from weft.datapath import layouts
from weft.datapath.layouts import (
    EVENT_F_FROM_PROXY,
    EVENT_F_PROXIED,
    FLOW_CUT,
    MARK_PROXY_EGRESS,
    MARK_PROXY_INGRESS,
    MARK_PROXY_ROUTED,
    PHASE_EGRESS,
    PHASE_INGRESS,
    POLICY_ALLOW,
)  # fmt: skip
from weft.datapath.node import PROXY_MAC
from weft.datapath.pod import GATEWAY as POD_GATEWAY
from weft.model.verdicts import Verdict

V = Verdict
GATEWAY_ADDRESS = {version: str(address) for version, address in POD_GATEWAY.items()}
LISTENER, OTHER_LISTENER = 10_001, 10_002
HTTP, OTHER_HTTP = 60, 61
HOST_MACS = b"\2w\0\0\0\1"
UPSTREAM = 61000


@pytest.fixture
def http(scenery: Machine) -> Iterator[Machine]:
    """Whatever comes to the server's port 80 has to pass LISTENER."""
    scenery.rule(HTTP, POLICY_ALLOW, l7=LISTENER, rule=9)
    scenery.rule(OTHER_HTTP, POLICY_ALLOW, l7=OTHER_LISTENER, rule=9)
    scenery.pod(SERVER, ingress=HTTP)
    yield scenery
    scenery.pod(SERVER, ingress=INGRESS)
    scenery.pod(OPEN)
    for key in list(scenery.maps["proxy_sockets"].keys()):
        scenery.maps["proxy_sockets"].delete(key)


@pytest.fixture
def envoy(http: Machine) -> Iterator[Machine]:
    """The same, and somebody listens."""
    with socket.socket() as v4, socket.socket(socket.AF_INET6) as v6:
        for each in (v4, v6):
            each.listen()
            http.proxy_listens(LISTENER, each)
        yield http


def host(source: str, target: str, payload: bytes) -> bytes:
    """A frame that the node's stack sends out of weft_host."""
    return with_checksum(eth(ip(source, target, TCP, payload), HOST_MACS, HOST_MACS))


def envoys(source: str, target: str, payload: bytes) -> bytes:
    """A frame of Envoy's."""
    return with_checksum(eth(ip(source, target, TCP, payload), PROXY_MAC, GATEWAY))


class Leg(Talk):
    """Port 40000 of the client → Envoy in the server's name."""

    def envoy_answers(self, flags: int) -> V:
        return self.machine.from_proxy(envoys(self.addresses[1], self.addresses[0], tcp(80, 40000, flags))).verdict

    def node_answers(self, flags: int, *, received: bool = False) -> V:
        packet = host(self.addresses[1], self.addresses[0], tcp(80, 40000, flags))
        return self.machine.to_pod(packet, received=received).verdict


def ends(machine: Machine, version: int) -> tuple[str, str]:
    return machine.pods[OPEN].at(version), machine.pods[SERVER].at(version)


def upstream(machine: Machine, version: int, flags: int = SYN, seq: int = 1000) -> bytes:
    """Port 61000 of Envoy in the client's name → the server."""
    return envoys(*ends(machine, version), tcp(UPSTREAM, 80, flags, seq=seq))


def dials(machine: Machine, version: int, mark: int) -> AbstractContextManager[None]:
    """Envoy has the socket for that."""
    client, server = ends(machine, version)
    return machine.proxy_dials((client, UPSTREAM), (server, 80), mark)


@VERSIONS
def test_without_envoy_a_syn_is_refused_and_leaves_nothing(http: Machine, version: int) -> None:
    talk = Talk(http, version)
    outcome = http.from_pod(talk.client, talk.asks(SYN, seq=1000, ack=0))
    assert (outcome.verdict, outcome.goes) == (V.PROXY_GONE, "pod")
    assert outcome.packet[:12] == talk.client.mac + GATEWAY
    assert segment(outcome.packet) == (80, 40000, 0, RST | ACK)
    assert struct.unpack_from(">I", outcome.packet, 42 if version == 4 else 62) == (1001,)
    assert outcome.packet == with_checksum(outcome.packet)
    assert not http.flows()
    (event,) = http.events()
    assert (event.reason, event.ingress_rule) == (V.PROXY_GONE, 9)


@VERSIONS
def test_the_clients_leg(envoy: Machine, version: int) -> None:
    leg = Leg(envoy, version)
    for flags in (SYN, ACK):  # the slow way and the fast one
        outcome = envoy.from_pod(leg.client, leg.asks(flags))
        assert (outcome.verdict, outcome.goes) == (V.FORWARDED, "envoy")
    flow = leg.flow
    client, server = flow.initiator, 1 - flow.initiator
    assert (flow.l7, flow.proxy, flow.phase, flow.next) == (LISTENER, 1 << server, 0, PHASE_INGRESS)
    assert ((flow.ifindex_0, flow.ifindex_1)[client], (flow.ifindex_0, flow.ifindex_1)[server]) == (
        leg.client.ifindex,
        envoy.proxy.ifindex,
    )
    (event,) = envoy.events()
    assert event.flags & (EVENT_F_PROXIED | EVENT_F_FROM_PROXY) == EVENT_F_PROXIED
    assert leg.envoy_answers(SYN | ACK) is V.FORWARDED
    assert leg.envoy_answers(ACK) is V.FORWARDED
    assert leg.node_answers(ACK) is V.FORGED_HOST_SOURCE, "made by the node, but not by Envoy"
    assert leg.node_answers(ACK, received=True) is V.FORGED_HOST_SOURCE, "from outside"
    assert leg.answer(ACK) is V.PROXY_PORT_TAKEN, "the server itself"
    assert leg.envoy_answers(RST) is V.FORWARDED, "for a socket that Envoy has no more"


@VERSIONS
def test_envoys_leg(envoy: Machine, version: int) -> None:
    client, server = envoy.pods[OPEN], envoy.pods[SERVER]
    with dials(envoy, version, MARK_PROXY_INGRESS):
        outcome = envoy.from_proxy(upstream(envoy, version))
    assert (outcome.verdict, outcome.goes, outcome.packet[:12]) == (V.FORWARDED, "pod", server.mac + GATEWAY)
    ((_, flow),) = envoy.flows()
    assert (flow.l7, flow.proxy, flow.phase, flow.next) == (0, 1 << flow.initiator, PHASE_INGRESS, 0)
    (event,) = envoy.events()
    assert event.flags & (EVENT_F_PROXIED | EVENT_F_FROM_PROXY) == EVENT_F_FROM_PROXY
    back = with_checksum(eth(ip(server.at(version), client.at(version), TCP, tcp(80, 61000, SYN | ACK)), server.mac))
    outcome = envoy.from_pod(server, back)
    assert (outcome.verdict, outcome.goes) == (V.FORWARDED, "envoy")
    assert envoy.from_proxy(upstream(envoy, version, ACK)).verdict is V.FORWARDED
    for flags in (SYN, ACK):
        mine = with_checksum(eth(ip(client.at(version), server.at(version), TCP, tcp(61000, 80, flags)), client.mac))
        assert envoy.from_pod(client, mine).verdict is V.PROXY_PORT_TAKEN, "the pod itself"
        for received in (True, False):
            forged = envoy.to_pod(host(*ends(envoy, version), tcp(61000, 80, flags)), received=received)
            assert forged.verdict is V.FORGED_HOST_SOURCE
    envoy.revision(2)
    assert envoy.from_pod(server, back).goes == "envoy", "decided again"


@VERSIONS
def test_between_two_phases(envoy: Machine, version: int) -> None:
    """Envoy's connection after the client's rules goes to Envoy for the server's, and the answers come back so."""
    with dials(envoy, version, MARK_PROXY_EGRESS):
        for flags in (SYN, ACK):
            outcome = envoy.from_proxy(upstream(envoy, version, flags))
            assert (outcome.verdict, outcome.goes) == (V.FORWARDED, "envoy")
    ((_, flow),) = envoy.flows()
    assert (flow.l7, flow.proxy, flow.phase, flow.next) == (LISTENER, 3, PHASE_EGRESS, PHASE_INGRESS)
    back = (*ends(envoy, version)[::-1], tcp(80, 61000, SYN | ACK))
    assert envoy.from_proxy(envoys(*back)).goes == "envoy"
    assert envoy.to_pod(host(*back)).verdict is V.FORGED_HOST_SOURCE


@VERSIONS
def test_to_the_world(envoy: Machine, version: int) -> None:
    ends = envoy.pods[OPEN].at(version), OUTSIDE[version]
    with envoy.proxy_dials((ends[0], UPSTREAM), (ends[1], 443), MARK_PROXY_EGRESS):
        outcome = envoy.from_proxy(envoys(*ends, tcp(61000, 443, SYN)))
    assert (outcome.verdict, outcome.goes) == (V.FORWARDED, "stack")
    back = (*ends[::-1], tcp(443, 61000, SYN | ACK))
    assert envoy.to_pod(host(*back), received=True).goes == "envoy"
    assert envoy.from_proxy(envoys(*back)).verdict is V.PROXY_PORT_TAKEN


@VERSIONS
def test_what_envoy_may_not(envoy: Machine, version: int) -> None:
    """Policy refuses its connection: answered at once."""
    envoy.pod(OPEN, egress=EGRESS)  # which does not allow this class's SYN to itself, nor UDP
    envoy.rule(62, layouts.POLICY_DENY, rule=8)
    envoy.pod(SERVER, ingress=62)
    with dials(envoy, version, MARK_PROXY_ROUTED):
        outcome = envoy.from_proxy(upstream(envoy, version, seq=1000))
    assert (outcome.verdict, outcome.goes) == (V.POLICY_DENY, "envoy")
    assert segment(outcome.packet) == (80, 61000, 0, RST | ACK) and outcome.packet == with_checksum(outcome.packet)
    assert not envoy.flows()


@VERSIONS
def test_a_pod_that_dialled_itself(envoy: Machine, version: int) -> None:
    """To that pod Envoy is the gateway; the flow knows the pod's address on both sides. Other packets to the gateway
    are as they were."""
    pod, gateway = envoy.pods[SERVER], GATEWAY_ADDRESS[version]
    own = pod.at(version)
    envoy.rule(62, layouts.POLICY_DENY, rule=8)
    envoy.pod(SERVER, ingress=62)  # not asked

    def answer(port: int, flags: int) -> Outcome:
        return envoy.from_pod(pod, with_checksum(eth(ip(own, gateway, TCP, tcp(80, port, flags)), pod.mac)))

    with envoy.proxy_dials((own, UPSTREAM), (own, 80), MARK_PROXY_ROUTED):
        outcome = envoy.from_proxy(envoys(own, own, tcp(UPSTREAM, 80, SYN)))
    assert (outcome.verdict, outcome.goes) == (V.FORWARDED, "pod")
    assert outcome.packet[14:] == with_checksum(eth(ip(gateway, own, TCP, tcp(UPSTREAM, 80, SYN)), pod.mac))[14:]
    outcome = answer(UPSTREAM, SYN | ACK)
    assert (outcome.verdict, outcome.goes) == (V.FORWARDED, "envoy")
    assert outcome.packet[14:] == envoys(own, own, tcp(80, UPSTREAM, SYN | ACK))[14:]
    assert (
        envoy.from_proxy(envoys(own, own, tcp(UPSTREAM, 80, ACK))).packet[14:]
        == (with_checksum(eth(ip(gateway, own, TCP, tcp(UPSTREAM, 80, ACK)), pod.mac))[14:])
    )
    assert answer(UPSTREAM + 1, ACK).goes == "stack"


@VERSIONS
def test_envoys_answer_to_nobody(envoy: Machine, version: int) -> None:
    leg = Leg(envoy, version)
    for flags in (ACK, SYN | ACK, SYN, RST):
        assert leg.envoy_answers(flags) is V.PROXY_STRAY
    assert not envoy.flows()


@VERSIONS
def test_errors_go_to_whose_packet_it_was(envoy: Machine, version: int) -> None:
    client, server = envoy.pods[OPEN], envoy.pods[SERVER]
    leg = Leg(envoy, version)
    assert leg.ask(SYN) is V.FORWARDED
    with dials(envoy, version, MARK_PROXY_INGRESS):
        assert envoy.from_proxy(upstream(envoy, version)).verdict is V.FORWARDED
    sent = upstream(envoy, version)[14:]
    error = eth(about(version, sent, 3, 1, server.at(version), client.at(version)), server.mac)
    outcome = envoy.from_pod(server, error)
    assert (outcome.verdict, outcome.goes) == (V.FORWARDED, "envoy")
    forged = eth(about(version, leg.asks(SYN)[14:], 3, 1, server.at(version), client.at(version)), server.mac)
    assert envoy.from_pod(server, forged).verdict is V.UNKNOWN_FLOW_ERROR, "the server never got that packet"
    answer = host(server.at(version), client.at(version), tcp(80, 40000, SYN | ACK))[14:]
    about_answer = eth(about(version, answer, 3, 1, client.at(version), server.at(version)), client.mac)
    outcome = envoy.from_pod(client, about_answer)
    assert (outcome.verdict, outcome.goes) == (V.FORWARDED, "envoy")


@VERSIONS
def test_decided_again(envoy: Machine, version: int) -> None:
    """Through the listener that it needs, or through one that it needs no more: goes on. Through another: cut."""
    leg = Leg(envoy, version)
    assert leg.ask(SYN) is V.FORWARDED
    for revision, table, verdict in ((2, HTTP, V.FORWARDED), (3, 0, V.FORWARDED), (4, OTHER_HTTP, V.POLICY_REVOKED)):
        envoy.pod(SERVER, ingress=table)
        envoy.revision(revision)
        outcome = envoy.from_pod(leg.client, leg.asks(ACK))
        assert outcome.verdict is verdict
        assert outcome.goes == "envoy", "the reset too"
    assert leg.flow.state == FLOW_CUT


@VERSIONS
def test_envoys_reset_of_what_is_cut_reaches_its_client(envoy: Machine, version: int) -> None:
    """Envoy had closed the listener while the connection waited to be accepted: it has no socket to be told by."""
    for before in (V.FORWARDED, V.POLICY_REVOKED):  # first to come under the new policy, or after the flow was cut
        leg = Leg(envoy, version)
        envoy.pod(SERVER, ingress=HTTP)
        assert leg.ask(SYN) is V.FORWARDED
        envoy.pod(SERVER, ingress=OTHER_HTTP)
        envoy.revision(leg.flow.revision + 1)
        if before is V.POLICY_REVOKED:
            assert leg.ask(ACK) is before
        source, target = leg.addresses[::-1]
        outcome = envoy.from_proxy(envoys(source, target, tcp(80, 40000, RST | ACK)))
        assert (outcome.verdict, outcome.packet[:6]) == (V.FORWARDED, leg.client.mac)
        assert leg.ask(ACK) is not V.FORWARDED and leg.answer(RST) is not V.FORWARDED


@VERSIONS
def test_opened_before_the_rule(http: Machine, version: int) -> None:
    """Also one that the table has forgotten: its next segment is reset, not sent where nobody knows it."""
    talk = Talk(http, version)
    assert talk.ask(ACK) is V.POLICY_REVOKED
    http.pod(SERVER)
    assert talk.ask(ACK) is V.FORWARDED
    http.pod(SERVER, ingress=HTTP)
    http.revision(2)
    assert talk.ask(ACK) is V.POLICY_REVOKED


@VERSIONS
def test_cut_because_envoy_went_is_cut_for_good(envoy: Machine, version: int) -> None:
    leg = Leg(envoy, version)
    assert leg.ask(SYN) is V.FORWARDED
    ((key, flow),) = envoy.flows()
    gone = flow._replace(state=FLOW_CUT, cut_why=int(V.PROXY_GONE))
    envoy.maps["flows"].update(key.pack(), gone.pack())
    for revision in (1, 2, 2):
        envoy.revision(revision)
        assert leg.ask(ACK) is V.PROXY_GONE
    assert leg.ask(SYN) is V.FORWARDED, "a new connection from the same port"


@VERSIONS
def test_udp_is_not_what_an_http_rule_allows(envoy: Machine, version: int) -> None:
    a, b = envoy.pods[OPEN], envoy.pods[SERVER]
    assert (
        envoy.from_pod(a, eth(ip(a.at(version), b.at(version), UDP, udp(5000, 80)), a.mac)).verdict is V.POLICY_DENIED
    )


@VERSIONS
def test_asked(http: Machine, version: int) -> None:
    http.pod(OPEN, egress=OTHER_HTTP)
    a, b, c = (http.pods[number].at(version) for number in (OPEN, SERVER, CLIENT))
    answers = ask(
        http, (a, b, TCP, 80), (a, c, TCP, 80), (c, b, TCP, 80), (OUTSIDE[version], b, TCP, 80), (a, b, UDP, 80)
    )
    assert [(x.reason, x.egress_l7, x.ingress_l7, x.route_l7) for x in answers] == [
        (0, OTHER_LISTENER, LISTENER, 0),
        (0, OTHER_LISTENER, 0, 0),
        (0, 0, LISTENER, 0),
        (0, 0, LISTENER, 0),
        (V.POLICY_DENIED, 0, 0, 0),
    ]
