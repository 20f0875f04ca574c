"""Every way a packet can take: pod, node, outside, back to itself; both families, TCP, UDP and ICMP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Lab, Outcome, Pod, Prober, Question
from tests.lab.netns import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6, WORLD_V4, WORLD_V6
from tests.services.manifests import apply, cluster_ips, service

DENY_ALL = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny-all}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
"""
DENY_INGRESS = DENY_ALL.replace(", Egress", "")
ONLY_HOST = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: only-host}
spec:
  endpointSelector: {}
  egress: [{toEntities: [host]}]
"""
BOTH = ("tcp", "udp")
OF_THE_NODE = (NODE_V4, NODE_V6, "169.254.1.1", "10.244.0.1", "fd00:244::1")


@pytest.fixture
def server(lab: Lab) -> Pod:
    return lab.serve("server", "tcp:8080", "udp:8080", labels={"app": "server"}, capabilities=["NET_RAW"])


@pytest.fixture
def host(lab: Lab) -> Iterator[Prober]:
    prober = lab.host_prober()
    yield prober
    prober.close()


def everywhere(*addresses: str) -> list[Question]:
    return [Question(protocol, address, 8080) for protocol in BOTH for address in addresses]


def test_the_outside_sees_the_node(lab: Lab, server: Pod) -> None:
    """Masquerade, to neighbours and beyond them."""
    for v4, v6 in ((OUTSIDE_V4, OUTSIDE_V6), (WORLD_V4[0], WORLD_V6[0])):
        for answer in server.prober().ask(everywhere(v4)):
            assert answer == Outcome("open", "outside", NODE_V4)
        for answer in server.prober().ask(everywhere(v6)):
            assert answer == Outcome("open", "outside", NODE_V6)


def test_the_outside_reaches_pods_at_their_own_address(lab: Lab, server: Pod) -> None:
    answers = lab.outside_prober().ask(everywhere(server.v4, server.v6))
    sources = [answer.seen_as for answer in answers]
    assert [answer.server for answer in answers] == ["server"] * 4
    assert sources == [OUTSIDE_V4, OUTSIDE_V6] * 2
    lab.apply(DENY_INGRESS)
    assert {a.outcome for a in lab.outside_prober().ask(everywhere(server.v4, server.v6))} == {"timeout"}


def test_the_node_reaches_its_pods_whatever_policy_says(lab: Lab, server: Pod, host: Prober) -> None:
    questions = everywhere(server.v4, server.v6)
    for _ in range(2):
        assert [answer.server for answer in host.ask(questions)] == ["server"] * 4
        lab.apply(DENY_ALL)
    # ... and what the pod sends by itself is its policy's matter.
    assert {a.outcome for a in server.prober().ask(everywhere(NODE_V4, NODE_V6))} == {"timeout"}


def test_pods_reach_the_node(lab: Lab, server: Pod) -> None:
    """Nothing listens there: the node's own refusal (RST, port unreachable) comes back, at each of its addresses."""
    assert {a.outcome for a in server.prober().ask(everywhere(*OF_THE_NODE))} == {"refused"}


def test_each_of_the_nodes_addresses_is_the_host_to_policy(lab: Lab, server: Pod) -> None:
    lab.apply(ONLY_HOST)
    assert {a.outcome for a in server.prober().ask(everywhere(*OF_THE_NODE))} == {"refused"}
    assert {a.outcome for a in server.prober().ask(everywhere(OUTSIDE_V4, WORLD_V6[0]))} == {"timeout"}


def test_a_pod_reaches_itself(lab: Lab, server: Pod) -> None:
    """By its address and through its own service, also when no policy allows it anything but itself."""
    apply(lab, service("web"))
    v4, v6 = cluster_ips(lab, "web")
    own = everywhere(server.v4, server.v6)
    services = [Question(*each) for a in (v4, v6) for each in (("tcp", a, 80), ("udp", a, 53))]
    for _ in range(2):
        answers = server.prober().ask(own + services)
        assert [answer.server for answer in answers] == ["server"] * 8, answers
        lab.apply(DENY_ALL)


def test_echo(lab: Lab, server: Pod, host: Prober) -> None:
    """ICMP and ICMPv6, between pods, from and to the node, from and to the outside."""
    other = lab.run("other", capabilities=["NET_RAW"])
    asked = [other.v4, other.v6, NODE_V4, NODE_V6, "169.254.1.1", OUTSIDE_V4, OUTSIDE_V6, WORLD_V4[0], WORLD_V6[0]]
    echoes = [Question("icmp", address, 0) for address in asked]
    assert {answer.outcome for answer in server.prober().ask(echoes)} == {"open"}
    for prober in (lab.outside_prober(), host):
        both = [Question("icmp", address, 0) for address in (other.v4, other.v6)]
        assert {answer.outcome for answer in prober.ask(both)} == {"open"}
    lab.apply(DENY_ALL)
    assert {answer.outcome for answer in server.prober().ask(echoes)} == {"timeout"}
    assert {answer.outcome for answer in host.ask(both)} == {"open"}
