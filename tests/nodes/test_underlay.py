"""Nodes that have IPv6 addresses only: a tunnel carries both families of their pods."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.nodes.scene import Cluster
from tests.nodes.talk import Servers, answered
from tests.nodes.test_life import mtus
from tests.nodes.test_reach import PODS, POLICIES, PORT, allowed, questions, spell
from tests.nodes.test_sizes import bulk


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Cluster(tmp_path_factory.mktemp("nodes"), 2, "vxlan", underlay=(6,)) as made:
        for name, where in zip(PODS, ("n1", "n1", "n2", "n2"), strict=True):
            made.pod(name, where, {"app": name.partition("/")[2]})
        yield made


@pytest.mark.parametrize("policy", ["none", "a pod's label, one port", "other nodes"])
def test_traffic_across_nodes_is_what_decide_says(cluster: Cluster, policy: str) -> None:
    cluster.apply(POLICIES[policy])
    assert not any(node.problems for node in cluster.nodes.values())
    asked = questions(cluster)
    expected = {probe for probe in asked if allowed(cluster, probe)}
    with Servers() as servers:
        servers.open([cluster.pods[name].netns for name in PODS], [PORT])
        got = answered(asked, expected, servers)
    assert got == expected, "\n".join(sorted(spell(cluster, probe, expected) for probe in got ^ expected))


@pytest.mark.parametrize("version", [4, 6])
def test_packets_of_every_size(cluster: Cluster, version: int) -> None:
    cluster.apply("")
    assert mtus(cluster) == {1430}
    bulk(cluster, version)
