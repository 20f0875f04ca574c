"""A plan that was checked is the one that comes into force, and only as long as it is true."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.datapath.conftest import CONFIG, SIZES, Node
from weft.agent.engine import Engine
from weft.agent.layer7 import Layer7
from weft.agent.numberfile import NumberFile
from weft.datapath.errors import CapacityError
from weft.model.net import EndpointId
from weft.model.objects import LocalEndpoint, Namespace, NamespacedName, Workload
from weft.model.world import World


def pod(number: int, app: str = "web", local: bool = True) -> Workload:
    where = LocalEndpoint(EndpointId(number), number, bytes(6)) if local else None
    node, address = ("test", f"10.55.0.{number}") if local else ("other", f"10.57.{number >> 8}.{number & 255}")
    key = NamespacedName("shop", f"p{number}")
    return Workload(key, {"app": app}, "", node, (ip_address(address),), ready=True, local=where)


def world(*pods: Workload) -> World:
    return World(CONFIG, {"shop": Namespace("shop")}, {each.key: each for each in pods})


def make(running: Node) -> Engine:
    layer7 = Layer7(running.paths, running.datapath, list, str, lambda work, *arguments: work(*arguments))
    return Engine(running.datapath, layer7, NumberFile(running.paths.state_dir / "numbers.json"), World(CONFIG))


@pytest.fixture
def engine(running: Node) -> Engine:
    return make(running)


def holds(engine: Engine, running: Node, wanted: World) -> None:
    """The kernel has what compiling this world alone gives."""
    fresh = make(running)
    held = running.datapath.read()
    assert held == engine.compiled.desired
    fresh.commit(replace(wanted))
    assert fresh.compiled.desired == held


def test_the_plan_that_was_checked_is_put_in_force(engine: Engine, running: Node) -> None:
    compiled = []
    engine.listeners.append(lambda _, plan: compiled.append(plan))
    first, second = world(pod(20)), world(pod(20), pod(21, "db"))
    engine.check(first)
    engine.commit(first)
    holds(engine, running, first)
    engine.check(second)
    engine.commit(second)
    holds(engine, running, second)
    assert len(compiled) == 2


def test_a_plan_is_made_anew_when_something_came_between(engine: Engine, running: Node) -> None:
    first, second, third = world(pod(20)), world(pod(21, "db")), world(pod(20), pod(22))
    engine.check(first)
    engine.check(second)
    engine.commit(first)
    holds(engine, running, first)
    engine.check(second)
    engine.commit(third)
    holds(engine, running, third)
    engine.commit(second)
    holds(engine, running, second)
    engine.commit(first)
    holds(engine, running, first)


def test_what_does_not_fit_is_refused_and_forgotten(engine: Engine, running: Node) -> None:
    few = world(pod(20))
    engine.commit(few)
    many = world(pod(20), *(pod(number, local=False) for number in range(300, 300 + SIZES["ipcache"])))
    for _ in range(2):
        with pytest.raises(CapacityError, match="map ipcache"):
            engine.check(many)
    with pytest.raises(CapacityError, match="map ipcache"):
        engine.commit(many)
    holds(engine, running, few)
    engine.commit(world())
    holds(engine, running, world())
