"""Truth tables with pods on two nodes: what the sockets see is what ``weft.policy.decide`` says, whatever the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubernetes.mesh import Mesh
from tests.kubernetes.table import KubernetesTable
from weft.sources.yaml import parse

CASES = sorted((Path(__file__).parents[1] / "conformance" / "cases").glob("*.yaml"))


@pytest.fixture(scope="module", params=[(), ("--tunnel", "vxlan")], ids=["direct", "vxlan"])
def table(mesh: Mesh, request: pytest.FixtureRequest) -> Iterator[KubernetesTable]:
    before = mesh.options
    mesh.restart(*request.param)
    made = KubernetesTable(mesh)
    yield made
    made.close()
    mesh.restart(*before)


def test_without_policies_everything_is_open(table: KubernetesTable) -> None:
    assert not table.differences("")


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_outcomes_are_what_decide_says(table: KubernetesTable, case: Path) -> None:
    text = case.read_text()
    table.apply(text)
    try:
        table.mesh.settle(len(list(parse(text, str(case)))))
        wrong = table.differences(text)
    finally:
        table.delete(text)
        table.mesh.settle(0)
    assert not wrong, f"{len(wrong)} of the truth table's rows differ:\n" + "\n".join(map(str, wrong[:20]))
