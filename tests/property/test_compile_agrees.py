"""The compiled maps, looked up as the kernel does, say what the reference model says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings

from tests.plan.lookup import Maps
from tests.property.worlds import PORTS, addresses, histories, worlds
from weft.model.desired import ACTION_ALLOW, ACTION_DENY, Desired, PolicyEntry
from weft.model.http import HttpMatch, HttpRuleSet
from weft.model.policy import Direction, Rule
from weft.model.world import World
from weft.plan import Compiled, Compiler, compile_world
from weft.policy.decide import Side, decide_side
from weft.policy.parties import Parties


def disagreements(world: World, compiled: Compiled) -> list[str]:
    parties, maps = Parties(world), Maps.of(compiled.desired)
    found = []
    local = [a for pod in world.workloads.values() if pod.local for a in pod.addresses]
    for subject in map(parties.at, local):
        endpoint = maps.endpoints[subject.address]
        for peer in map(parties.at, addresses(world)):
            if peer.key == subject.key:
                continue
            class_ = maps.whose(peer.address).class_
            for protocol, port in PORTS:
                for way in Direction:
                    table = endpoint.ingress_table if way is Direction.INGRESS else endpoint.egress_table
                    entry = maps.policy_entry(table, class_, protocol, port)
                    side = decide_side(parties.specs, way, subject, peer, protocol=protocol, port=port)
                    if not agrees(entry, side, compiled):
                        found.append(f"{subject.name} {way.name} {peer.name} {protocol}/{port}: {side} but {entry}")
    return found


def agrees(entry: PolicyEntry, side: Side, compiled: Compiled) -> bool:
    rule: Rule | None = compiled.rules[entry.rule] if entry.rule else None
    denied = side.rule is not None and not side.allowed
    if requests_of(entry, compiled) != side.http:
        return False
    return ((entry.action == ACTION_ALLOW), entry.action == ACTION_DENY, rule) == (side.allowed, denied, side.rule)


def requests_of(entry: PolicyEntry, compiled: Compiled) -> tuple[tuple[Rule, HttpMatch], ...] | None:
    if not entry.l7:
        return None
    listener = compiled.desired.listeners[entry.l7]
    assert isinstance(listener, HttpRuleSet)
    assert listener.egress == (compiled.rules[entry.rule].direction is Direction.EGRESS)
    return tuple((compiled.rules[rule], match) for rule, match in listener.permissions)


@given(worlds())
@settings(max_examples=200, deadline=None, derandomize=True)
def test_compiled_maps_agree_with_the_reference_model(world: World) -> None:
    assert not disagreements(world, compile_world(world))


@given(worlds(http=True))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_compiled_rule_sets_agree_with_the_reference_model(world: World) -> None:
    assert not disagreements(world, compile_world(world))


@given(histories(4) | histories(4, http=True))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_compiling_step_by_step_gives_what_compiling_at_once_gives(sequence: list[World]) -> None:
    compiler = Compiler()
    for world in sequence:
        stepwise, at_once = compiler.compile(world), compile_world(world)
        assert unnumbered(stepwise.desired) == unnumbered(at_once.desired)
        assert stepwise.rules == at_once.rules
        assert stepwise.identities == at_once.identities
        assert stepwise.classes == at_once.classes
        for name, numbers in at_once.numbering.spaces.items():
            kept = stepwise.numbering.spaces[name]
            assert kept.keys() == numbers.keys() and (name == "listener" or kept == numbers)
        assert compile_world(world, stepwise.numbering).desired == stepwise.desired
        entries = (entry for table in stepwise.desired.tables.values() for entry in table.values())
        assert stepwise.desired.listeners.keys() == {entry.l7 for entry in entries} - {0}


def unnumbered(desired: Desired) -> tuple[Any, ...]:
    """All but the listeners' numbers, which outlive their rules' names."""
    listeners = desired.listeners
    assert len(set(listeners.values())) == len(listeners)
    tables = {
        number: {key: (entry._replace(l7=0), listeners.get(entry.l7)) for key, entry in table.items()}
        for number, table in desired.tables.items()
    }
    rest = replace(desired, tables={}, listeners={})
    return rest, tables, set(listeners.values())


@given(histories(4, http=True))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_a_listeners_number_never_comes_to_allow_other_requests(sequence: list[World]) -> None:
    compiler = Compiler()
    before: dict[int, HttpRuleSet] = {}
    for world in sequence:
        now = {
            n: each for n, each in compiler.compile(world).desired.listeners.items() if isinstance(each, HttpRuleSet)
        }
        for number in before.keys() & now.keys():
            assert allowed_by(before[number]) == allowed_by(now[number])
        before = now


def allowed_by(rules: HttpRuleSet) -> tuple[bool, list[HttpMatch]]:
    return rules.egress, [each.match for each in rules.permissions]
