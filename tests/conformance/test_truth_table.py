"""Truth tables with real sockets: for each policy, every probe's outcome is what ``weft.policy.decide`` says.

In the manner of network-policy conformance suites: nine pods ask nine pods, the node and the world, over TCP, UDP and
ICMP, IPv4 and IPv6; the node and the world ask the pods.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.cluster import Cluster
from tests.lab import Lab
from weft.sources.decode import decode
from weft.sources.yaml import parse

CASES = sorted(Path(__file__).with_name("cases").glob("*.yaml"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Lab() as lab:
        made = Cluster(lab)
        yield made
        made.close()


def test_there_are_enough_policies() -> None:
    assert len(CASES) >= 30


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_outcomes_are_what_decide_says(cluster: Cluster, case: Path) -> None:
    text = case.read_text()
    cluster.lab.apply(text, str(case))
    try:
        wrong = cluster.differences(text)
    finally:
        for document in parse(text, str(case)):
            resource, _ = decode(document)
            cluster.lab.delete(resource.kind, resource.name, namespace=resource.namespace)
    assert not wrong, f"{len(wrong)} of the truth table's rows differ:\n" + "\n".join(map(str, wrong[:20]))


def test_without_policies_everything_is_open(cluster: Cluster) -> None:
    assert not cluster.differences("")
