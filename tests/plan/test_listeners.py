"""Listeners' numbers: ports, shared by equals, given back with the last user, remembered whole across restarts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from weft.model.desired import FIRST_LISTENER, LAST_LISTENER
from weft.model.http import HeaderMatch, HttpMatch, HttpPermission, HttpRuleSet, Mismatch
from weft.model.net import RuleId
from weft.model.objects import NamespacedName
from weft.model.route import ClusterRef, RouteTable
from weft.plan.listeners import Listeners, listener_digest
from weft.plan.numbering import RANGES, Numbering, NumberSpace


def rule_set(path: str, *, egress: bool = False) -> HttpRuleSet:
    return HttpRuleSet(egress, (HttpPermission(RuleId(70_000), HttpMatch(path=path)),))


def test_equal_listeners_share_a_number_until_the_last_user_is_gone() -> None:
    space = NumberSpace({}, RANGES["listener"])
    listeners = Listeners(space)
    first, again, other = (listeners.number(rule_set(path)) for path in ("/a", "/a", "/b"))
    assert first == again != other
    assert listeners.listeners == {first: rule_set("/a"), other: rule_set("/b")}
    held = listeners.listeners
    listeners.release(first)
    assert listeners.listeners is held
    listeners.release(first)
    assert listeners.listeners == {other: rule_set("/b")}
    assert set(space.settle().values()) == {other}
    assert len(held) == 2


def test_every_part_of_a_listener_counts() -> None:
    table = RouteTable(ClusterRef(NamespacedName("shop", "web"), 80))
    match = HttpMatch(headers=(HeaderMatch("a", "b"),))
    headers = [HeaderMatch("a", None), HeaderMatch("a", "b", Mismatch.LOG), HeaderMatch("a", "None")]
    alternatives = [match, *(replace(match, headers=(each,)) for each in headers), replace(match, headers=())]
    alternatives += [HttpMatch(method="x"), HttpMatch(path="x"), HttpMatch(host="x")]
    different = [
        rule_set("/a"),
        rule_set("/a", egress=True),
        table,
        replace(table, cluster=table.cluster._replace(port=81)),
    ]
    different += [HttpRuleSet(False, (HttpPermission(RuleId(1), each),)) for each in alternatives]
    different += [HttpRuleSet(False, (HttpPermission(RuleId(2), match),)), HttpRuleSet(False, ())]
    assert len({listener_digest(each) for each in different}) == len(different)
    moved = replace(rule_set("/a").permissions[0].match, field_path=("spec", "egress", 7))
    assert listener_digest(HttpRuleSet(False, (HttpPermission(RuleId(70_000), moved),))) == listener_digest(
        rule_set("/a")
    )


def test_numbers_are_ports_and_run_out() -> None:
    space = NumberSpace({}, RANGES["listener"])
    count = LAST_LISTENER - FIRST_LISTENER + 1
    found = space.assign_all(number.to_bytes(16, "big") for number in range(count))
    assert set(found.values()) == set(range(FIRST_LISTENER, LAST_LISTENER + 1))
    with pytest.raises(OverflowError, match="all 50000 numbers from 10000 to 59999 are taken"):
        space.assign(b"\xff" * 16)


def test_a_restart_gives_no_number_another_meaning() -> None:
    """Envoy may still hold the listener, though nothing in the world needs it."""
    space = NumberSpace({}, RANGES["listener"])
    number = Listeners(space).number(rule_set("/a"))
    stored = Numbering({"listener": space.settle()}).to_json()
    assert stored == {"listener": {listener_digest(rule_set("/a")).hex(): number}}
    again = NumberSpace(Numbering.from_json(stored).spaces["listener"], RANGES["listener"])
    clash = (number - FIRST_LISTENER).to_bytes(4, "big") + bytes(12)
    assert again.assign(clash) != number
    assert Listeners(again).number(rule_set("/a")) == number


def test_a_stored_number_that_is_no_listeners_is_refused() -> None:
    with pytest.raises(ValueError, match=r"listener needs different numbers 10000\.\.59999"):
        Numbering.from_json({"listener": {"00" * 16: 60_000}})
