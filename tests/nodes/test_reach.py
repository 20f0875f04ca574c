"""Pods of different nodes: who reaches whom, under which address, and what policy makes of it."""

from __future__ import annotations

import contextlib

import pytest

from tests.nodes.scene import Cluster
from tests.nodes.talk import Probe, Servers, answered, make_socket, tcp_server
from weft.model.net import ICMP, ICMPV6, TCP, UDP

PORT = 8080
ALLOW_CLIENT = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: only-client, namespace: default}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress: [{fromEndpoints: [{matchLabels: {app: client}}]}]
"""


def probes(cluster: Cluster, source: str, target: str) -> list[Probe]:
    one, other = cluster.pods[source], cluster.pods[target]
    return [
        Probe(
            one.netns, one.address(version), other.address(version), protocol, 0 if protocol in (ICMP, ICMPV6) else PORT
        )
        for version in (4, 6)
        for protocol in (TCP, UDP, ICMP if version == 4 else ICMPV6)
    ]


def test_policy_knows_a_pod_of_another_node_by_its_own_identity(cluster: Cluster) -> None:
    cluster.apply(ALLOW_CLIENT)
    allowed = probes(cluster, "default/client", "default/server")
    refused = probes(cluster, "default/stranger", "default/server")
    with Servers() as servers:
        servers.open([cluster.pods["default/server"].netns], [PORT])
        assert answered([*allowed, *refused], set(allowed), servers) == set(allowed)
    cluster.apply("")


@pytest.mark.parametrize("version", [4, 6])
def test_a_server_on_another_node_sees_the_clients_own_address(cluster: Cluster, version: int) -> None:
    one, other = cluster.pods["default/client"], cluster.pods["default/server"]
    with (
        contextlib.closing(tcp_server(other.netns, version, PORT)) as server,
        contextlib.closing(make_socket(one.netns, version)) as client,
    ):
        client.settimeout(20)
        client.connect((str(other.address(version)), PORT))
        accepted, peer = server.accept()
        accepted.close()
        assert peer[0] == str(one.address(version))
