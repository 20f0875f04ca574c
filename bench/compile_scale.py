"""How compiling and transitions scale, in time and entries. Pure Python, no root: `python bench/compile_scale.py`."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from weft.model.desired import Desired, Step, Write
from weft.model.net import TCP, EndpointId, Prefix
from weft.model.objects import LocalEndpoint, NamedPort, Namespace, NamespacedName, NodeConfig, Workload
from weft.model.policy import (
    Action,
    CidrSelector,
    Direction,
    LabelSelector,
    Operator,
    PolicyRef,
    PolicySpec,
    PortMatch,
    Requirement,
    Rule,
)
from weft.model.world import World
from weft.plan import Compiler, transition

NODE = NodeConfig(
    "n1",
    pod_cidrs=(ip_network("10.0.0.0/16"), ip_network("fd00::/64")),
    service_cidrs=(ip_network("10.96.0.0/16"),),
    router_addresses=(ip_address("10.0.0.1"),),
)
NAMESPACE = {"shop": Namespace("shop", {"env": "prod"})}
HTTP = (NamedPort("http", 8080, TCP),)


def pod(number: int, labels: dict[str, str], *, local: bool) -> Workload:
    base = int(IPv4Address("10.0.0.16" if local else "10.1.0.0"))
    high = int(IPv6Address("fd00::16" if local else "fd01::"))
    where = LocalEndpoint(EndpointId(number + 1), number + 10, number.to_bytes(6, "big")) if local else None
    return Workload(
        NamespacedName("shop", f"pod-{number}-{'l' if local else 'r'}"),
        labels,
        "default",
        "n1" if local else "n2",
        (IPv4Address(base + number), IPv6Address(high + number)),
        HTTP,
        True,
        local=where,
    )


def pods(count: int, labels: Callable[[int], dict[str, str]], *, local: bool) -> dict[NamespacedName, Workload]:
    return {one.key: one for one in (pod(number, labels(number), local=local) for number in range(count))}


def wants(key: str, *values: str) -> LabelSelector:
    return LabelSelector((Requirement(f"k8s:{key}", Operator.IN, values),))


def policy(
    name: str, subject: LabelSelector, *peers: LabelSelector | CidrSelector, port: int = 8080
) -> tuple[PolicyRef, tuple[PolicySpec, ...]]:
    ref = PolicyRef("CiliumNetworkPolicy", "shop", name)
    rule = Rule(ref, Direction.INGRESS, Action.ALLOW, 0, peers, (PortMatch(TCP, port, port),))
    return ref, (PolicySpec(ref, subject, frozenset({Direction.INGRESS}), (rule,)),)


def entries(desired: Desired) -> int:
    return sum(map(len, desired.tables.values()))


def writes(steps: tuple[Step, ...]) -> int:
    return sum(len(step.puts) + len(step.deletes) for step in steps if isinstance(step, Write))


@contextmanager
def timed(what: str) -> Iterator[list[str]]:
    notes: list[str] = []
    start = time.perf_counter()
    yield notes
    print(f"{what:<68} {1000 * (time.perf_counter() - start):9.2f} ms  {' '.join(notes)}", flush=True)


class Node:
    """A compiler and what was applied last."""

    def __init__(self, world: World) -> None:
        self.compiler, self.desired, self.world = Compiler(), Desired(), World(NODE)
        self.go("  from nothing", world)

    def go(self, what: str, world: World) -> None:
        gc.collect()
        with timed(f"{what}: compile"):
            desired = self.compiler.compile(world).desired
        with timed(f"{what}: transition") as notes:
            steps = transition(self.desired, desired)
            notes.append(f"{writes(steps)} writes, {entries(desired)} policy entries")
        self.desired, self.world = desired, world

    def change(self, what: str, **fields: object) -> None:
        self.go(what, replace(self.world, **fields))  # type: ignore[arg-type]


def replicas() -> None:
    print("Replicas of one Deployment, one policy")
    for count in (10, 100, 1_000, 10_000):
        rules = dict([policy("p", wants("app", "web"), wants("app", "web"))])
        world = World(NODE, NAMESPACE, pods(count, lambda _: {"app": "web"}, local=True), policies=rules)
        print(f"  {count} local pods: {entries(Compiler().compile(world).desired)} policy entries")


def identities() -> None:
    print("10,000 identities, one remote pod each, 100 local pods, 20 policies")
    many = pods(10_000, lambda n: {"app": f"a{n % 100}", "id": str(n), "tier": str(n % 3)}, local=False)
    many |= pods(100, lambda n: {"app": f"a{n % 10}", "tier": "local"}, local=True)
    rules = dict(policy(f"p{n}", wants("app", f"a{n}"), wants("app", f"a{n + 1}", f"a{n + 2}")) for n in range(20))
    node = Node(World(NODE, NAMESPACE, many, policies=rules))
    change = policy("new", wants("app", "a1"), wants("id", "17", "18", "19"))
    node.change("  a policy whose selector matches 3 identities", policies={**rules, change[0]: change[1]})
    node.change("  ... gone again", policies=rules)
    change = policy("new", wants("app", "a1"), wants("app", "a7"), port=9090)
    node.change("  a policy whose selector matches 100 identities", policies={**rules, change[0]: change[1]})
    node.change(
        "  ... edited: other port", policies={**rules, **dict([policy("new", wants("app", "a1"), wants("app", "a7"))])}
    )
    node.change("  ... gone again", policies=rules)
    change = policy("new", wants("app", "a1"), wants("tier", "1", "2"))
    node.change("  a policy whose selector matches 6,667 identities", policies={**rules, change[0]: change[1]})
    node.change("  ... gone again", policies=rules)
    new = pod(5_000, {"app": "a1", "tier": "local"}, local=True)
    node.change("  one more local pod, known labels", workloads={**many, new.key: new})
    new = pod(5_001, {"app": "a1", "tier": "new"}, local=True)
    node.change("  one more local pod, new labels", workloads={**node.world.workloads, new.key: new})
    new = pod(20_000, {"app": "a1", "id": "x"}, local=False)
    node.change("  one more remote pod", workloads={**node.world.workloads, new.key: new})
    gone = {key: one for key, one in node.world.workloads.items() if one is not new}
    node.change("  ... gone again", workloads=gone)


def locals_() -> None:
    print("10,000 local pods of 100 kinds, 20 policies")
    many = pods(10_000, lambda n: {"app": f"a{n % 100}"}, local=True)
    rules = dict(policy(f"p{n}", wants("app", f"a{n}"), wants("app", f"a{n + 1}")) for n in range(20))
    node = Node(World(NODE, NAMESPACE, many, policies=rules))
    change = policy("p1", wants("app", "a1"), wants("app", "a3"))
    node.change("  a policy of 100 pods edited", policies={**rules, change[0]: change[1]})


def blocks() -> None:
    print("One policy with n CIDRs, one local pod")
    for count in (1, 100, 10_000, 64_000):
        base = int(IPv4Address("20.0.0.0"))
        cidrs = [CidrSelector(Prefix.of(ip_network((base + 256 * n, 24)))) for n in range(count)]
        rules = dict([policy("p", wants("app", "web"), *cidrs)])
        many = pods(1, lambda _: {"app": "web"}, local=True)
        node = Node(World(NODE, NAMESPACE, many))
        node.change(f"  {count} CIDRs", policies=rules)


def memory() -> None:
    print("Memory per remote dual-stack pod of 100 kinds (the Workload itself included)")
    node = Node(World(NODE, NAMESPACE, pods(100, lambda n: {"app": f"a{n % 100}"}, local=False)))
    gc.collect()
    tracemalloc.start()
    labels = [{"app": f"a{n}"} for n in range(100)]
    many = pods(10_000, lambda n: labels[n % 100], local=False)
    workloads, _ = tracemalloc.get_traced_memory()
    node.go("  10,000 pods", World(NODE, NAMESPACE, many))
    gc.collect()
    total, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    print(f"  {total / 10_000:.0f} bytes, of which the Workload {workloads / 10_000:.0f}")


if __name__ == "__main__":
    for part in (replicas, identities, locals_, blocks, memory):
        part()
