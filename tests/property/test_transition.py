"""Whatever changes, no single write on the way allows what neither the old nor the new state allows."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plan.watch import Watch, at_most, common, single_operations
from tests.property.worlds import addresses, edits, histories
from weft.model.desired import Desired, PolicyKey
from weft.model.net import ICMP, TCP, UDP, ClassId, TableId
from weft.model.world import World
from weft.plan import Compiler, transition

PORTS = ((TCP, 80), (TCP, 8080), (TCP, 79), (UDP, 53), (ICMP, 8 << 8))


def go(watch: Watch, desired: Desired, random: Random, *, stop: int | None = None, exact: bool = True) -> None:
    """From what ``watch`` holds to ``desired``, or up to ``stop`` writes of it, looking after each."""
    old, new = watch.allowed(), Watch(desired, (), ())
    new.flows = watch.flows
    after = new.allowed()
    steps = transition(watch.held(), desired)
    for number, operation in enumerate(single_operations(steps, random)):
        if number == stop:
            return
        watch.apply(*operation)
        for flow, before, then, now in zip(watch.flows, old, after, watch.allowed(), strict=True):
            safe = at_most(now, before) or at_most(now, then)
            assert safe, f"wrong yes ({now}) after {operation}: {watch.spell(flow)}\n{spell(steps)}"
            needed = common(before, then) if exact else None
            assert at_most(needed, now), f"needless no ({now}) after {operation}: {watch.spell(flow)}"
    assert watch.allowed() == after
    assert transition(watch.held(), desired) == ()


def spell(steps: tuple) -> str:
    return "\n".join(map(str, steps))


@given(histories(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_change_of_worlds_is_never_too_generous_nor_needlessly_strict(sequence: list[World], random: Random) -> None:
    compiler, watch = Compiler(), Watch(Desired(), addresses(*sequence), PORTS)
    for world in sequence:
        go(watch, compiler.compile(world).desired, random)


@given(edits(), st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_edited_rules_are_never_too_generous_nor_needlessly_strict(sequence: list[World], random: Random) -> None:
    compiler, watch = Compiler(), Watch(Desired(), addresses(*sequence), PORTS)
    for world in sequence:
        go(watch, compiler.compile(world).desired, random)


@given(histories(), st.integers(0, 200), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_a_change_cut_short_leads_on_to_any_other(sequence: list[World], stop: int, random: Random) -> None:
    first, second, third = sequence
    compiler, watch = Compiler(), Watch(Desired(), addresses(first, second, third), PORTS)
    go(watch, compiler.compile(first).desired, random)
    go(watch, compiler.compile(second).desired, random, stop=stop)
    go(watch, compiler.compile(third).desired, random, exact=False)


@given(histories(2), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_numbers_that_meant_something_else_do_no_harm(sequence: list[World], random: Random) -> None:
    first, second = sequence
    desired = Compiler().compile(second).desired
    kernel = renumbered(Compiler().compile(first).desired, desired, random)
    go(Watch(kernel, addresses(first, second), PORTS), desired, random, exact=False)


@given(edits(), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_edited_rules_under_numbers_that_meant_something_else_do_no_harm(sequence: list[World], random: Random) -> None:
    first, second = sequence
    desired = Compiler().compile(second).desired
    kernel = renumbered(Compiler().compile(first).desired, desired, random, keep_classes=True)
    go(Watch(kernel, addresses(first, second), PORTS), desired, random, exact=False)


def renumbered(kernel: Desired, desired: Desired, random: Random, *, keep_classes: bool = False) -> Desired:
    """``kernel`` with tables and classes under numbers that ``desired`` gives to others."""
    tables = _shuffled([*kernel.tables], [*kernel.tables, *desired.tables], random)
    classes = _shuffled(_classes(kernel), [*_classes(kernel), *_classes(desired)], random)
    if keep_classes:
        classes = {class_: class_ for class_ in classes}
    return Desired(
        {
            wide: e._replace(
                class_=classes[e.class_],
                ingress_table=tables.get(e.ingress_table, TableId(0)),
                egress_table=tables.get(e.egress_table, TableId(0)),
            )
            for wide, e in kernel.endpoints.items()
        },
        {prefix: e._replace(class_=classes[e.class_]) for prefix, e in kernel.ipcache.items()},
        {
            tables[number]: {
                PolicyKey(tables[number], classes[key.class_], *key[2:]): entry for key, entry in table.items()
            }
            for number, table in kernel.tables.items()
        },
    )


def _classes(maps: Desired) -> list[ClassId]:
    listed = {key.class_ for table in maps.tables.values() for key in table}
    used = {e.class_ for e in (*maps.ipcache.values(), *maps.endpoints.values())}
    return sorted((listed | used) - {0})


def _shuffled(old: list, pool: list, random: Random) -> dict:
    pool = sorted(set(pool))
    return {**dict(zip(old, random.sample(pool, len(old)), strict=True)), 0: 0}
