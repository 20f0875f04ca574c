"""A compiler that has seen other worlds comes to the same routes as one that has not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.routes.scene import PODS, grant, route, service, world
from weft.model.world import World
from weft.plan import Compiled, Compiler

PIECES = (
    service("api"),
    service("api", "sessionAffinity: ClientIP"),
    service("v1"),
    service("v1", namespace="web"),
    grant("web"),
    grant("web", kind="GRPCRoute"),
    route("a", "[{backendRefs: [{name: v1, port: 80}]}]"),
    route("a", "[{backendRefs: [{name: v1, namespace: web, port: 80}]}]"),
    route("b", "[{matches: [{path: {value: /b}}], backendRefs: [{name: api, port: 80}]}]", "{name: api, port: 80}"),
    route("c", "[{backendRefs: [{name: v1, port: 80}]}]", "{name: api, namespace: shop}", namespace="web"),
    route("g", "[{backendRefs: [{name: v1, port: 80}]}]", "{name: api, port: 9090}", kind="GRPCRoute"),
    route("h", "[{backendRefs: [{name: v1, port: 80}]}]", "{name: api, port: 80}", kind="GRPCRoute"),
)
"""The pieces with the same name replace each other."""


def merged(before: World, chosen: set[int], ready: bool = True) -> World:
    """A world of these pieces that shares with ``before`` whatever is equal, as ``sources.world.updated`` does."""
    texts: dict[tuple[str, str], str] = {}
    for index in sorted(chosen):
        lines = PIECES[index].splitlines()
        kind, name = (next(line for line in lines if word in line) for word in ("kind:", "name:"))
        texts[kind, name] = PIECES[index]
    pods = tuple(pod._replace(ready=ready) if pod.app == "v1" else pod for pod in PODS)
    after = world("".join(texts.values()), pods)
    after = replace(after, routes={key: replace(each, created=0) for key, each in after.routes.items()})
    fields: dict[str, Any] = {}
    for name in ("namespaces", "workloads", "services", "slices", "routes", "grants"):
        old, new = getattr(before, name), getattr(after, name)
        shared = {key: old[key] if old.get(key) == value else value for key, value in new.items()}
        unchanged = shared.keys() == old.keys() and all(old[key] is value for key, value in shared.items())
        fields[name] = old if unchanged else shared
    return replace(after, **fields)


def meaning(plan: Compiled) -> tuple[Any, ...]:
    desired = plan.desired
    return (desired.services, desired.routes, desired.listeners, desired.clusters, plan.outcomes)


STEP = st.tuples(st.sets(st.integers(0, len(PIECES) - 1)), st.booleans())


@given(st.lists(STEP, min_size=2, max_size=5))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_the_way_to_a_world_does_not_matter(sequence: list[tuple[set[int], bool]]) -> None:
    compiler, current = Compiler(), world("")
    for chosen, ready in sequence:
        current = merged(current, chosen, ready)
        plan = compiler.compile(current)
    fresh = Compiler().compile(current)
    assert meaning(plan) == meaning(fresh)
    assert set(plan.desired.listeners) == set(plan.desired.routes.values()), "nobody's listener is kept"


def test_what_did_not_change_is_the_same_object() -> None:
    compiler = Compiler()
    first = world("".join(PIECES[index] for index in (0, 2, 6)))
    before = compiler.compile(first).desired
    after = compiler.compile(replace(first, workloads=dict(first.workloads))).desired
    assert after.routes is before.routes
    assert after.listeners is before.listeners
    assert after.clusters is before.clusters


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (({0, 3, 4, 7}, True), ({0, 3, 7}, True)),
        (({0, 2, 6}, True), ({0, 6}, True)),
        (({0, 2, 6}, True), ({0, 2, 6}, False)),
        (({0, 2, 6}, True), ({1, 2, 6}, True)),
        (({0, 2, 8}, True), ({0, 2, 8, 11}, True)),
    ],
    ids=["grant goes", "backend goes", "endpoint goes", "parent changes", "grpc comes"],
)
def test_one_thing_changes(before: tuple[set[int], bool], after: tuple[set[int], bool]) -> None:
    compiler = Compiler()
    first = merged(world(""), *before)
    old = meaning(compiler.compile(first))
    second = merged(first, *after)
    assert all(second.routes[key] is each for key, each in first.routes.items())
    new = meaning(compiler.compile(second))
    assert new == meaning(Compiler().compile(second))
    assert new != old
