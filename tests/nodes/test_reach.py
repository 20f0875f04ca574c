"""Pods of different nodes: who reaches whom, under which address, and what policy makes of it."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.nodes.scene import WORLD, Cluster, TestNode
from tests.nodes.talk import Probe, Servers, answered, make_socket, tcp_server
from weft.model.net import ICMP, ICMPV6, TCP, UDP, IPAddress
from weft.model.objects import EndpointSlice, NamespacedName, SliceEndpoint
from weft.model.verdicts import Verdict
from weft.policy.decide import decide
from weft.policy.parties import Parties

PORT = 8080
PODS = ("default/client", "default/stranger", "default/server", "default/neighbour")


def cnp(subject: str, rules: str) -> str:
    return f"""
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: p-{subject}, namespace: default}}
spec:
  endpointSelector: {{matchLabels: {{app: {subject}}}}}
  {rules}
"""


POLICIES = {
    "none": "",
    "a pod's label, one port": cnp(
        "server", "ingress: [{fromEndpoints: [{matchLabels: {app: client}}], toPorts: [{ports: [{port: '8080'}]}]}]"
    ),
    "egress by label": cnp("client", "egress: [{toEndpoints: [{matchLabels: {app: server}}]}]"),
    "nobody in": cnp("server", "ingress: [{}]") + "---" + cnp("neighbour", "ingressDeny: [{fromEntities: [all]}]"),
    "other nodes": cnp("server", "ingress: [{fromEntities: [remote-node]}]"),
    "no other nodes": cnp(
        "server", "ingress: [{fromEntities: [cluster]}]\n  ingressDeny: [{fromEntities: [remote-node]}]"
    ),
    "the API server, which is on n1": cnp("server", "ingress: [{fromEntities: [kube-apiserver]}]"),
    "to the node that has the API server": cnp("neighbour", "egress: [{toEntities: [kube-apiserver]}]"),
    "a node's address": """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: by-address, namespace: default}
spec:
  podSelector: {matchLabels: {app: server}}
  ingress: [{from: [{ipBlock: {cidr: 198.51.100.10/32}}, {ipBlock: {cidr: 10.66.1.1/32}}]}]
""",
}


@pytest.mark.parametrize("policy", POLICIES)
def test_traffic_across_nodes_is_what_decide_says(cluster: Cluster, policy: str) -> None:
    """Every pod and both nodes to every pod; TCP, UDP and ICMP echo, IPv4 and IPv6."""
    key = NamespacedName("default", "kubernetes")
    api = SliceEndpoint((cluster.nodes["n1"].addresses[0],))
    cluster.world = replace(cluster.world, slices={key: EndpointSlice(key, "kubernetes", (), (api,))})
    cluster.apply(POLICIES[policy])
    asked = list(questions(cluster))
    expected = {probe for probe in asked if allowed(cluster, probe)}
    with Servers() as servers:
        servers.open([cluster.pods[name].netns for name in PODS], [PORT])
        got = answered(asked, expected, servers)
    assert got == expected, "\n".join(sorted(spell(cluster, probe, expected) for probe in got ^ expected))


def questions(cluster: Cluster) -> list[Probe]:
    found = []
    for version in (4, 6):
        senders = [(cluster.pods[name].netns, cluster.pods[name].address(version)) for name in PODS]
        senders += [(node.home, own_address(node, version)) for node in cluster.nodes.values()]
        for home, source in senders:
            for name in PODS:
                target = cluster.pods[name].address(version)
                if source != target:
                    echo = Probe(home, source, target, ICMP if version == 4 else ICMPV6)
                    found += [echo, *(Probe(home, source, target, protocol, PORT) for protocol in (TCP, UDP))]
    return found


def own_address(node: TestNode, version: int) -> IPAddress:
    """What a node's own packets to other nodes' pods have as their source."""
    return node.spec.pod_cidrs[version == 6][1] if node.config.tunnel else node.addresses[version == 6]


def allowed(cluster: Cluster, probe: Probe) -> bool:
    seen = replace(cluster.world, node=cluster.nodes["n1"].config)
    parties = Parties(seen)
    port = {ICMP: 8 << 8, ICMPV6: 128 << 8}.get(probe.protocol, probe.port)
    return decide(parties.specs, parties.at(probe.source), parties.at(probe.target), probe.protocol, port).forwarded


def spell(cluster: Cluster, probe: Probe, expected: set[Probe]) -> str:
    said = "should pass, and does not" if probe in expected else "passes, and should not"
    return f"{probe.source} -> {probe.target} {probe.protocol}/{probe.port} {said}"


# ---- addresses ------------------------------------------------------------------------------------------------------


def peer_seen(home: Path, server: Path, target: IPAddress) -> IPAddress:
    """Who a server believes to have connected, when ``home`` connects to it."""
    with (
        contextlib.closing(tcp_server(server, target.version, PORT)) as listening,
        contextlib.closing(make_socket(home, target.version)) as client,
    ):
        client.settimeout(20)
        client.connect((str(target), PORT))
        accepted, peer = listening.accept()
        accepted.close()
        return ip_address(peer[0])


@pytest.mark.parametrize("version", [4, 6])
def test_a_server_on_another_node_sees_the_clients_own_address(cluster: Cluster, version: int) -> None:
    client, server = cluster.pods["default/client"], cluster.pods["default/server"]
    assert peer_seen(client.netns, server.netns, server.address(version)) == client.address(version)


@pytest.mark.parametrize("version", [4, 6])
def test_another_node_sees_the_pod_itself_where_it_has_a_route_back(cluster: Cluster, version: int) -> None:
    """With direct routing. Through a tunnel pods are reached, nodes are not: they see the pod's node."""
    client, sender, receiver = cluster.pods["default/client"], cluster.nodes["n1"], cluster.nodes["n2"]
    wanted = sender.addresses[version == 6] if sender.config.tunnel else client.address(version)
    assert peer_seen(client.netns, receiver.home, receiver.addresses[version == 6]) == wanted


@pytest.mark.parametrize("version", [4, 6])
def test_the_world_sees_the_pods_node(cluster: Cluster, version: int) -> None:
    client, sender = cluster.pods["default/client"], cluster.nodes["n1"]
    assert peer_seen(client.netns, cluster.switch, WORLD[version == 6]) == sender.addresses[version == 6]


# ---- pods that nobody knows yet -----------------------------------------------------------------------------------


def test_a_pod_that_the_receiving_node_does_not_know_is_refused_until_it_does(cluster: Cluster) -> None:
    world = cluster.world
    late = cluster.pod("default/late", "n1", {"app": "late"}, known=False)
    server, receiver = cluster.pods["default/server"], cluster.nodes["n2"]
    before = receiver.counted(Verdict.UNKNOWN_SENDER)
    with (
        contextlib.closing(tcp_server(server.netns, 4, PORT)) as listening,
        contextlib.closing(make_socket(late.netns, 4)) as client,
    ):
        client.setblocking(False)
        client.connect_ex((str(server.address(4)), PORT))
        cluster.wait(lambda: receiver.counted(Verdict.UNKNOWN_SENDER) > before, "the refusal is counted")
        client.settimeout(20)
        cluster.commit(cluster.complete)
        listening.accept()[0].close()  # the client's kernel asks again
    cluster.commit(world)
