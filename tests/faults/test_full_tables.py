"""Full tables: established flows live, new ones are refused and counted, one pod's greed is its own affair."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.scene import PORT, scene
from tests.lab import Lab, Pod, until
from tests.lab.tools import tool
from tests.lab.waiting import volume

FLOWS = volume(131_072)
"""The table is filled before the first of its flows expires, on any machine."""
GREEDY = 4
"""Pods that each use up their quota: a quarter of the table."""
SPRAY = FLOWS // GREEDY * 5 // 4


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(agent_options=("--map-size", f"flows={FLOWS}")) as made:
        yield made


def _spray(pod: Pod, target: str, first: int, last: int) -> None:
    done = pod.exec(tool("spray"), target, str(first), str(last), timeout=60)
    assert done.returncode == 0, done.stderr


def _reasons(lab: Lab, pod: str) -> set[str]:
    return {flow["drop_reason_desc"] for flow in lab.observe(verdict=["DROPPED"], source_pod=[f"default/{pod}"])}


def test_one_pod_uses_up_its_own_share_only(lab: Lab) -> None:
    pods = scene(lab)
    greedy = lab.run("greedy", labels={"app": "friend"})
    held = greedy.hold(pods.server.v4, PORT, 5)
    _spray(greedy, "203.0.113.1", 1, SPRAY)
    assert greedy.probe("tcp", pods.server.v4, PORT).outcome == "timeout"
    until(lambda: "DROP_RATE_LIMITED" in _reasons(lab, "greedy"), "the drop is explained")
    assert pods.friend.probe("tcp", pods.server.v4, PORT).outcome == "open"
    assert held.stop().outcome == "held"


def test_a_full_flow_table_refuses_new_flows_and_keeps_the_old(lab: Lab) -> None:
    pods = scene(lab)
    held = pods.friend.hold(pods.server.v4, PORT, 5)
    greedy = [lab.run(f"greedy-{number}") for number in range(GREEDY)]

    def is_full() -> bool:
        """Flows that ended before make room now and then: the stranger takes it."""
        for pod in greedy:
            _spray(pod, "203.0.113.1", 1, SPRAY)
        _spray(pods.stranger, "203.0.113.1", 1, 2000)
        return pods.friend.probe("tcp", pods.server.v4, PORT).outcome == "timeout"

    until(is_full, "a new flow is refused")
    until(lambda: "CT_MAP_INSERTION_FAILED" in _reasons(lab, "stranger"), "the drop is explained")
    assert held.stop().outcome == "held"
