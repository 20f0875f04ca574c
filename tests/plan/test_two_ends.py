"""A flow has two ends, and they do not change at the same moment: the cases in which that lets something slip."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from random import Random

import pytest

from tests.plan.watch import Watch
from tests.property.test_transition import go
from tests.property.worlds import NODE
from weft.model.desired import Desired
from weft.model.net import TCP, EndpointId, to_wide
from weft.model.objects import LocalEndpoint, Namespace, NamespacedName, Workload
from weft.model.policy import Action, Direction, LabelSelector, Operator, PolicyRef, PolicySpec, Requirement, Rule
from weft.model.world import World
from weft.plan import Compiler

CLIENT, SERVER = "10.0.0.2", "10.0.0.3"


def pod(number: int, app: str) -> Workload:
    where = LocalEndpoint(EndpointId(number), number, bytes(6))
    address = ip_address(f"10.0.0.{number}")
    return Workload(NamespacedName("shop", f"p{number}"), {"app": app}, "", "n1", (address,), ready=True, local=where)


def apps(*names: str) -> LabelSelector:
    return LabelSelector((Requirement("k8s:app", Operator.IN, names),))


def isolated(way: Direction, subject: str, *peers: str) -> tuple[PolicyRef, tuple[PolicySpec, ...]]:
    """Pods ``subject`` may in this direction speak with ``peers`` alone."""
    ref = PolicyRef("CiliumNetworkPolicy", "shop", f"{subject}-{way.name}")
    rules = (Rule(ref, way, Action.ALLOW, 0, (apps(*peers),), None),) if peers else ()
    return ref, (PolicySpec(ref, apps(subject), frozenset({way}), rules),)


def world(pods: tuple[Workload, ...], *policies: tuple[PolicyRef, tuple[PolicySpec, ...]]) -> World:
    written: Mapping[PolicyRef, tuple[PolicySpec, ...]] = dict(policies)
    return World(NODE, {"shop": Namespace("shop")}, {each.key: each for each in pods}, policies=written)


def check(before: World, after: World) -> None:
    """The flow is refused in both worlds, by one end in the first and by the other in the second; so always."""
    addresses = [address for pod in before.workloads.values() for address in pod.addresses]
    flow = (to_wide(ip_address(CLIENT)), to_wide(ip_address(SERVER)), TCP, 80)
    for seed in range(8):
        compiler, watch = Compiler(), Watch(Desired(), addresses, ((TCP, 80),))
        go(watch, compiler.compile(before).desired, Random(seed))
        assert not watch.allowed()[watch.flows.index(flow)]
        go(watch, compiler.compile(after).desired, Random(seed))
        assert not watch.allowed()[watch.flows.index(flow)]


def test_one_end_opens_while_the_other_closes() -> None:
    pods = (pod(2, "client"), pod(3, "server"))
    before = world(pods, isolated(Direction.INGRESS, "server"), isolated(Direction.EGRESS, "client", "server"))
    after = world(pods, isolated(Direction.EGRESS, "client"))
    check(before, after)
    check(after, before)


@pytest.mark.parametrize("others", [(), ("good",), ("bad",), ("good", "bad")], ids=str)
def test_new_labels_open_one_end_and_close_the_other(others: tuple[str, ...]) -> None:
    """The client's table is the same before and after, and says two things about the server."""
    rules = (isolated(Direction.EGRESS, "client", "good"), isolated(Direction.INGRESS, "good"))
    rest = (pod(2, "client"), *(pod(4 + number, app) for number, app in enumerate(others)))
    bad, good = world((*rest, pod(3, "bad")), *rules), world((*rest, pod(3, "good")), *rules)
    check(bad, good)
    check(good, bad)


def test_labels_that_change_places() -> None:
    rules = (isolated(Direction.EGRESS, "client", "good"), isolated(Direction.INGRESS, "good"))
    one = world((pod(2, "client"), pod(3, "bad"), pod(4, "good")), *rules)
    other = world((pod(2, "client"), pod(3, "good"), pod(4, "bad")), *rules)
    check(one, other)
    check(other, one)
