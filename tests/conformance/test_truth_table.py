"""Truth tables with real sockets: for each policy, every probe's outcome is what ``weft.policy.decide`` says.

In the manner of network-policy conformance suites: nine pods ask nine pods, the node and the world, over TCP, UDP and
ICMP, IPv4 and IPv6; the node and the world ask the pods.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.cluster import Cluster, Row
from tests.lab import Lab
from tests.lab.probes import TIMEOUT_MS
from weft.policy.parties import Parties
from weft.sources.decode import decode
from weft.sources.yaml import parse

CASES = sorted(Path(__file__).with_name("cases").glob("*.yaml"))
PATIENCE = 5
"""A probe that should have been answered is given this many times the usual wait before it counts as refused."""


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
        wrong = differences(cluster, text)
    finally:
        for document in parse(text, str(case)):
            resource, _ = decode(document)
            cluster.lab.delete(resource.kind, resource.name, namespace=resource.namespace)
    assert not wrong, f"{len(wrong)} of the truth table's rows differ:\n" + "\n".join(map(str, wrong[:20]))


def test_without_policies_everything_is_open(cluster: Cluster) -> None:
    assert not differences(cluster, "")


def differences(cluster: Cluster, text: str) -> list[Row]:
    """The rows in which reality and the model differ.

    What should have been answered but was not is asked again, patiently, because a busy machine may be slow. What
    should be refused and was answered even once is wrong.
    """
    parties = Parties(cluster.world(text))
    got = cluster.ask(cluster.questions, TIMEOUT_MS)
    rows = [
        Row(asker, question, cluster.expected(parties, asker, question), outcome)
        for asker, questions in cluster.questions.items()
        for question, outcome in zip(questions, got[asker], strict=True)
    ]
    wrong = [row for row in rows if not cluster.fits(row)]
    slow = {row for row in wrong if row.expected != "timeout" and row.got.outcome == "timeout"}
    return [row for row in wrong if row not in slow or not cluster.fits(_again(cluster, row))]


def _again(cluster: Cluster, row: Row) -> Row:
    outcome = cluster.ask({row.asker: [row.question]}, PATIENCE * TIMEOUT_MS)[row.asker][0]
    return row._replace(got=outcome)
