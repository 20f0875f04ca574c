"""What the agent asks of its Envoy, and when: a stand-in notes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from weft.agent import layer7
from weft.agent.layer7 import FIRST_TRIAL, RETRY_SECONDS, TRIALS, Layer7
from weft.datapath.node import NodePaths
from weft.model.desired import Desired, Listener
from weft.model.http import HttpMatch, HttpPermission, HttpRuleSet
from weft.model.net import RuleId
from weft.model.objects import NamespacedName
from weft.model.route import ClusterRef, MatchKind, RouteMatch, RouteRef, RouteRule, RouteTable, ValueMatch
from weft.plan import Compiled
from weft.proxy.said import Rejection
from weft.proxy.spawn import ProxyError
from weft.sources.errors import ManifestErrors

RULES = HttpRuleSet(False, (HttpPermission(RuleId(70_000), HttpMatch(path="/a")),))
RULE = RouteRule(RouteRef("HTTPRoute", "shop", "r"), 0, "", RouteMatch(ValueMatch(MatchKind.PREFIX, "/")))
ROUTES = RouteTable(ClusterRef(NamespacedName("shop", "web"), 80), (RULE,))
OTHER_ROUTES = replace(ROUTES, rules=(replace(RULE, rule=1),))


class Process(NamedTuple):
    def pid(self) -> int:
        return 0

    @contextmanager
    def cgroup(self) -> Iterator[Path]:
        yield Path("/nowhere")


@dataclass
class StandIn:
    """A ``weft.proxy.proxy.Proxy``: what Envoy would hold, and what was asked of it."""

    process: Process = field(default_factory=Process)
    holds: dict[int, Listener] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    refuses: Listener | None = None
    fails: bool = False

    def ensure(self, listeners: Mapping[int, Listener], *_: Any) -> list[Rejection]:
        self.asked.append("ensure")
        if self.fails:
            raise ProxyError("no Envoy")
        self.holds |= {number: each for number, each in listeners.items() if each != self.refuses}
        return [Rejection(number, "no") for number, each in listeners.items() if each == self.refuses]

    def update_clusters(self, _: Any) -> None:
        self.asked.append("update_clusters")

    def keep_only(self, numbers: Any) -> None:
        self.asked.append("keep_only")
        self.holds = {number: each for number, each in self.holds.items() if number in numbers}

    def stop_if_idle(self, _: float) -> None:
        self.asked.append("stop_if_idle")


class Scene:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.envoy, self.now, self.problem = StandIn(), 0.0, ""
        monkeypatch.setattr(layer7, "Proxy", lambda *_, **__: self.envoy)
        monkeypatch.setattr("weft.datapath.ways.open_proxy_way", lambda *_: None)
        paths = NodePaths("test", folder, folder, folder, folder)
        self.layer7 = Layer7(paths, _Datapath(), list, self.note, list, clock=lambda: self.now)  # type: ignore[arg-type]

    def note(self, problem: str) -> None:
        self.problem = problem

    def commit(self, listeners: Mapping[int, Listener]) -> None:
        """As the engine does it for a plan that nobody checked."""
        plan = plan_of(listeners)
        self.layer7.prepare_or_report(plan)
        self.layer7.settle(plan)


class _Datapath:
    def watch_proxy(self, _: Path) -> None:
        return


def plan_of(listeners: Mapping[int, Listener]) -> Compiled:
    return Compiled(Desired(listeners=listeners))


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Scene:
    return Scene(monkeypatch, tmp_path)


def test_without_a_listener_nothing_is_asked_of_envoy(scene: Scene) -> None:
    scene.layer7.prepare(plan_of({}))
    scene.commit({})
    assert scene.envoy.asked == [] and not scene.layer7.is_due


def test_a_plan_that_found_no_envoy_is_tried_again_after_a_while(scene: Scene) -> None:
    scene.envoy.fails = True
    scene.commit({10_000: RULES})
    assert "no Envoy" in scene.problem and not scene.layer7.is_due
    scene.now = RETRY_SECONDS - 0.1
    assert not scene.layer7.is_due
    scene.now = RETRY_SECONDS
    assert scene.layer7.is_due
    scene.envoy.fails = False
    scene.commit({10_000: RULES})
    assert scene.envoy.holds == {10_000: RULES}
    assert scene.problem == ""
    scene.now *= 10
    assert not scene.layer7.is_due


def test_what_envoy_refuses_is_not_tried_again(scene: Scene) -> None:
    scene.envoy.refuses = ROUTES
    scene.commit({10_000: ROUTES})
    scene.now = RETRY_SECONDS
    assert "no" in scene.problem and not scene.layer7.is_due


def test_routes_change_when_the_kernel_has_the_plan(scene: Scene) -> None:
    scene.commit({10_000: ROUTES})
    changed = plan_of({10_000: OTHER_ROUTES})
    scene.layer7.prepare(changed)
    assert scene.envoy.holds == {10_000: ROUTES, FIRST_TRIAL: OTHER_ROUTES}
    asked = list(scene.envoy.asked)
    scene.layer7.prepare(changed)  # as a commit does after the check
    assert scene.envoy.asked == asked
    scene.layer7.settle(changed)
    assert scene.envoy.holds == {10_000: OTHER_ROUTES} and scene.problem == ""


def test_many_routes_change_at_once(scene: Scene) -> None:
    numbers = range(10_000, 10_000 + 2 * TRIALS + 1)
    scene.commit(dict.fromkeys(numbers, ROUTES))
    changed = plan_of(dict.fromkeys(numbers, OTHER_ROUTES))
    scene.layer7.prepare(changed)
    assert set(scene.envoy.holds) == {*numbers, *range(FIRST_TRIAL, FIRST_TRIAL + TRIALS)}
    scene.layer7.settle(changed)
    assert scene.envoy.holds == dict.fromkeys(numbers, OTHER_ROUTES)


def test_routes_that_envoy_refuses_change_nothing(scene: Scene) -> None:
    scene.commit({10_000: ROUTES})
    scene.envoy.refuses = OTHER_ROUTES
    with pytest.raises(ManifestErrors, match="Envoy refuses what this comes to: no"):
        scene.layer7.prepare(plan_of({10_000: OTHER_ROUTES}))
    assert scene.envoy.holds == {10_000: ROUTES}
    scene.commit({10_000: OTHER_ROUTES})
    assert scene.envoy.holds == {10_000: ROUTES} and "Envoy refuses" in scene.problem
    scene.commit({10_000: ROUTES})
    assert scene.problem == ""


def test_routes_that_envoy_did_not_take_are_tried_again(scene: Scene) -> None:
    scene.commit({10_000: ROUTES})
    changed = plan_of({10_000: OTHER_ROUTES})
    scene.layer7.prepare(changed)
    scene.envoy.fails = True
    scene.layer7.settle(changed)
    assert "does not follow" in scene.problem
    scene.now = RETRY_SECONDS
    assert scene.layer7.is_due
    scene.envoy.fails = False
    scene.commit({10_000: OTHER_ROUTES})
    assert scene.envoy.holds == {10_000: OTHER_ROUTES} and scene.problem == ""
