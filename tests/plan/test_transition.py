"""What a change costs, and when open flows are decided again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from random import Random

from tests.plan.watch import Watch, single_operations
from tests.property.worlds import NODE
from weft.model.desired import BumpRevision, Desired, Step, Write
from weft.model.http import HttpMatch
from weft.model.net import TCP, EndpointId
from weft.model.objects import LocalEndpoint, Namespace, NamespacedName, Workload
from weft.model.policy import (
    Action,
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
from weft.plan import Compiler, Numbering, transition

REF = PolicyRef("NetworkPolicy", "shop", "p")


def pod(number: int, **labels: str) -> Workload:
    return Workload(
        NamespacedName("shop", f"p{number}"),
        labels,
        "",
        "n1",
        (ip_address(f"10.0.0.{number}"),),
        ready=True,
        local=LocalEndpoint(EndpointId(number), number, bytes(6)),
    )


def world(*pods: Workload, port: int | None = 80) -> World:
    web = LabelSelector((Requirement("k8s:app", Operator.IN, ("web",)),))
    rule = Rule(REF, Direction.INGRESS, Action.ALLOW, 0, (web,), (PortMatch(TCP, port or 0, port or 0),))
    policies: Mapping = {REF: (PolicySpec(REF, web, frozenset({Direction.INGRESS}), (rule,)),)} if port else {}
    return World(NODE, {"shop": Namespace("shop")}, {each.key: each for each in pods}, policies=policies)


def change(before: World, after: World) -> tuple[Desired, Desired, tuple[Step, ...]]:
    compiler = Compiler()
    old, new = compiler.compile(before).desired, compiler.compile(after).desired
    return old, new, transition(old, new)


def bumps(steps: tuple[Step, ...]) -> int:
    return sum(isinstance(step, BumpRevision) for step in steps)


def test_a_new_replica_is_one_write_and_no_policy_entry() -> None:
    old, new, steps = change(world(pod(2, app="web")), world(pod(2, app="web"), pod(3, app="web")))
    assert [(step.map, len(step.puts), step.deletes) for step in steps if isinstance(step, Write)] == [
        ("endpoints", 1, ())
    ]
    assert bumps(steps) == 0
    assert new.tables is old.tables


def test_a_new_kind_of_pod_disturbs_nobody() -> None:
    _, _, steps = change(world(pod(2, app="db")), world(pod(2, app="db"), pod(3, app="web")))
    assert bumps(steps) == 0
    touched = {key for step in steps if isinstance(step, Write) and step.map == "endpoints" for key in step.puts}
    assert len(touched) == 1


def test_what_goes_or_changes_has_open_flows_decided_again() -> None:
    two = (pod(2, app="web"), pod(3, app="web"))
    assert bumps(change(world(*two), world(two[0]))[2]) == 1
    assert bumps(change(world(*two), world(two[0], pod(3, app="db")))[2]) == 1
    assert bumps(change(world(*two), world(*two, port=81))[2]) == 1
    assert bumps(change(world(*two), world(*two, port=None))[2]) == 1
    assert change(world(*two), world(*two))[2] == ()


def test_the_bump_comes_after_the_flip_and_before_anything_is_forgotten() -> None:
    _, _, steps = change(world(pod(2, app="web")), world(pod(2, app="web"), port=81))
    bump = next(n for n, step in enumerate(steps) if isinstance(step, BumpRevision))
    assert all(not step.deletes for step in steps[:bump] if isinstance(step, Write))
    assert [step.map for step in steps[bump + 1 :] if isinstance(step, Write)] == ["policy"]


def test_an_added_policy_flips_each_pod_once() -> None:
    _, _, steps = change(world(pod(2, app="web"), port=None), world(pod(2, app="web")))
    tables = [
        key.ingress_table
        for step in steps
        if isinstance(step, Write)
        for key in step.puts.values()
        if step.map == "endpoints"
    ]
    assert len(tables) - tables.count(0) == 1


def with_http(path: str, *, egress: bool = False) -> World:
    """Pods p2 and p3 may ask each other for ``path``; with ``egress``, it is also all that they may send."""
    before = world(pod(2, app="web"), pod(3, app="web"))
    ((spec,),) = before.policies.values()
    (rule,) = spec.rules
    ports = (PortMatch(TCP, 80, 80, http=(HttpMatch(path=path),)),)
    rules = [replace(rule, ports=ports)] + [replace(rule, ports=ports, direction=Direction.EGRESS)] * egress
    return replace(before, policies={REF: (replace(spec, rules=tuple(rules)),)})


def test_edited_http_rules_replace_the_listener_without_a_refusal_in_between() -> None:
    old, new, steps = change(with_http("/a"), with_http("/b"))
    watch = Watch(old, map(ip_address, ("10.0.0.2", "10.0.0.3")), ((TCP, 80),))
    ((before,), (after,)) = old.listeners, new.listeners
    assert before != after
    seen = set()
    for operation in single_operations(steps, Random(1)):
        watch.apply(*operation)
        seen |= set(watch.allowed())
    assert seen == {(0, before), (0, after)}
    assert bumps(steps) == 1


def test_a_listener_goes_with_the_last_peer_that_needs_it() -> None:
    both = with_http("/a")
    ((spec,),) = both.policies.values()
    client = LabelSelector((Requirement("k8s:app", Operator.IN, ("client",)),))
    more = replace(
        spec.rules[0], index=1, peers=(client,), ports=(PortMatch(TCP, 80, 80, http=(HttpMatch(path="/b"),)),)
    )
    policies = {REF: (replace(spec, rules=(*spec.rules, more)),)}
    peers = [pod(4, app="client"), pod(5, app="client")]
    compiler, counts = Compiler(), []
    for some in (peers, peers[:1], [], peers[1:]):
        now = replace(both, policies=policies, workloads={**both.workloads, **{each.key: each for each in some}})
        compiled = compiler.compile(now)
        counts.append(len(compiled.desired.listeners))
        assert compiled.desired == Compiler().compile(now).desired
    assert counts == [2, 2, 1, 2]


def test_http_rules_edited_at_both_ends_never_meet_the_others_old_ones() -> None:
    old, _, steps = change(with_http("/a", egress=True), with_http("/b", egress=True))
    watch = Watch(old, map(ip_address, ("10.0.0.2", "10.0.0.3")), ((TCP, 80),))
    before, seen = set(watch.allowed()), set()
    for operation in single_operations(steps, Random(1)):
        watch.apply(*operation)
        seen |= set(watch.allowed())
    assert seen == before | set(watch.allowed()) | {None}


def test_a_table_whose_number_means_something_else_is_left_before_it_is_rewritten() -> None:
    old = Compiler().compile(world(pod(2, app="web"), pod(3, app="web"))).desired
    after = world(pod(2, app="web"), pod(3, app="web"))
    ((spec,),) = after.policies.values()
    rules = [replace(spec.rules[0], ports=None), replace(spec.rules[0], action=Action.DENY)]
    desired = Compiler().compile(replace(after, policies={REF: (replace(spec, rules=tuple(rules)),)})).desired
    ((table, entries),), (number,) = old.tables.items(), desired.tables
    assert table != number
    kernel = replace(
        old,
        endpoints={wide: each._replace(ingress_table=number) for wide, each in old.endpoints.items()},
        tables={number: {key._replace(table=number): entry for key, entry in entries.items()}},
    )
    for seed in range(20):
        watch = Watch(kernel, map(ip_address, ("10.0.0.2", "10.0.0.3")), ((TCP, 80), (TCP, 81)))
        old_says = watch.allowed()
        seen = [old_says]
        for operation in single_operations(transition(kernel, desired), Random(seed)):
            watch.apply(*operation)
            seen.append(watch.allowed())
        new_says = seen[-1]
        assert old_says != new_says
        assert all(
            now in (None, then, before)
            for each in seen
            for before, then, now in zip(old_says, new_says, each, strict=True)
        )
        assert any(each == [None] * len(old_says) for each in seen)


def test_a_restart_finds_everything_as_it_is() -> None:
    before = world(pod(2, app="web"), pod(3, app="db"))
    first = Compiler().compile(before)
    again = Compiler(Numbering.from_json(first.numbering.to_json())).compile(before)
    assert transition(first.desired, again.desired) == ()
    read_back = replace(first.desired, tables={n: dict(t.items()) for n, t in first.desired.tables.items()})
    assert transition(read_back, again.desired) == ()


def test_origins_are_followed_though_nothing_in_the_kernel_changes() -> None:
    compiler = Compiler()
    before = world(pod(2, app="web"))
    first = compiler.compile(before)
    (spec,) = before.policies[REF]
    moved = tuple(replace(rule, path=("spec", "ingress", 7)) for rule in spec.rules)
    second = compiler.compile(replace(before, policies={REF: (replace(spec, rules=moved),)}))
    assert transition(first.desired, second.desired) == ()
    assert [rule.path for rule in second.rules.values()] == [("spec", "ingress", 7)]
