"""Listeners' numbers: ports, shared by equals, given back with the last user, remembered whole across restarts; they
outlive edits that leave open what was open."""

from __future__ import annotations

from dataclasses import replace

import pytest

from weft.model.desired import FIRST_LISTENER, LAST_LISTENER
from weft.model.http import HeaderMatch, HttpMatch, HttpPermission, HttpRuleSet, Mismatch
from weft.model.net import RuleId
from weft.model.objects import NamespacedName
from weft.model.policy import Action, Direction, LabelSelector, Operator, PolicyRef, Requirement, Rule
from weft.model.route import ClusterRef, MatchKind, RouteMatch, RouteRef, RouteRule, RouteTable, ValueMatch
from weft.plan.listeners import Listeners, listener_digest
from weft.plan.numbering import RANGES, Numbering, NumberSpace

RULE = RuleId(70_000)
PORT = ClusterRef(NamespacedName("shop", "web"), 80)


def rule(peer: str = "a", index: int = 0) -> Rule:
    selector = LabelSelector((Requirement("k8s:app", Operator.IN, (peer,)),))
    return Rule(
        PolicyRef("CiliumNetworkPolicy", "shop", "p"), Direction.INGRESS, Action.ALLOW, index, (selector,), None
    )


def rule_set(path: str, *, egress: bool = False, number: RuleId = RULE) -> HttpRuleSet:
    return HttpRuleSet(egress, (HttpPermission(number, HttpMatch(path=path)),))


class Scene:
    """Listeners, and the rules in force."""

    def __init__(self, space: NumberSpace | None = None) -> None:
        self.space = space or NumberSpace({}, RANGES["listener"])
        self.rules = {RULE: rule()}
        self.listeners = Listeners(self.space, lambda: self.rules)

    def edit(self, *sets: tuple[RuleId, Rule, str]) -> list[int]:
        """The numbers of sets of one rule each, once these rules are all there are."""
        self.rules = {number: written for number, written, _ in sets}
        before = list(self.listeners.settle())
        for number in before[::2]:
            self.listeners.release(number)
        found = [self.listeners.of_rules(rule_set(path, number=number)) for number, _, path in sets]
        for number in before[1::2]:
            self.listeners.release(number)
        self.listeners.settle()
        self.space.settle()
        return found


def test_equal_listeners_share_a_number_until_the_last_user_is_gone() -> None:
    scene = Scene()
    listeners = scene.listeners
    first, again, other = (listeners.of_rules(rule_set(path)) for path in ("/a", "/a", "/b"))
    assert first == again != other
    assert listeners.settle() == {first: rule_set("/a"), other: rule_set("/b")}
    held = listeners.settle()
    listeners.release(first)
    assert listeners.settle() is held
    listeners.release(first)
    assert listeners.settle() == {other: rule_set("/b")}
    assert set(scene.space.settle().values()) == {other}
    assert len(held) == 2


def test_an_edited_rule_keeps_its_listener_while_it_allows_the_same_requests() -> None:
    scene = Scene()
    (kept,) = scene.edit((RULE, rule("a"), "/a"))
    assert scene.edit((RuleId(80_000), rule("b"), "/a")) == [kept]
    assert scene.listeners.settle() == {kept: rule_set("/a", number=RuleId(80_000))}
    (other,) = scene.edit((RuleId(90_000), rule("b"), "/(a|b)"))
    assert other != kept
    assert set(scene.listeners.settle()) == {other}
    assert scene.edit((RuleId(90_000), rule("b"), "/(a|b)")) == [other]


def test_rules_that_allow_the_same_keep_a_listener_each() -> None:
    scene = Scene()
    one, two = scene.edit((RuleId(1), rule("a", 0), "/x"), (RuleId(2), rule("b", 1), "/x"))
    assert one != two
    # One before them: their positions are other ones now, in whichever order they are looked at.
    moved = scene.edit((RuleId(4), rule("b", 2), "/x"), (RuleId(3), rule("a", 1), "/x"), (RuleId(5), rule("c"), "/y"))
    assert moved[:2] == [two, one]
    # Both have new peers.
    assert scene.edit((RuleId(7), rule("d", 1), "/x"), (RuleId(8), rule("e", 2), "/x")) == [one, two]
    # One of them stays as it was, and another rule comes.
    assert scene.edit((RuleId(7), rule("d", 1), "/x"), (RuleId(9), rule("f", 3), "/x"))[0] == one
    third = scene.edit((RuleId(7), rule("d", 1), "/x"), (RuleId(9), rule("f", 3), "/x"), (RuleId(6), rule("g"), "/x"))
    assert third[:2] == [one, two] and third[2] not in (one, two)


def test_a_routed_port_keeps_its_listener_whatever_its_routes_say() -> None:
    listeners = Scene().listeners
    route = RouteRule(RouteRef("HTTPRoute", "shop", "r"), 0, "", RouteMatch(ValueMatch(MatchKind.PREFIX, "/")))
    before, after = RouteTable(PORT, (route,)), RouteTable(PORT, (replace(route, rule=1),))
    number = listeners.of_routes(PORT, "", before)
    assert listeners.of_routes(PORT, "", after) == number
    listeners.release(number)
    assert listeners.settle() == {number: after}
    others = [(PORT, "web", after), (PORT, "", RouteTable(PORT)), (PORT._replace(port=81), "", after)]
    assert len({number, *(listeners.of_routes(*other) for other in others)}) == 4


def test_every_part_of_a_listener_counts() -> None:
    match = HttpMatch(headers=(HeaderMatch("a", "b"),))
    headers = [HeaderMatch("a", None), HeaderMatch("a", "b", Mismatch.LOG), HeaderMatch("a", "None")]
    alternatives = [match, *(replace(match, headers=(each,)) for each in headers), replace(match, headers=())]
    alternatives += [HttpMatch(method="x"), HttpMatch(path="x"), HttpMatch(host="x")]
    different = [rule_set("/a"), rule_set("/a", egress=True)]
    different += [HttpRuleSet(False, (HttpPermission(RuleId(1), each),)) for each in alternatives]
    different += [HttpRuleSet(False, (HttpPermission(RuleId(2), match),)), HttpRuleSet(False, ())]
    assert len({listener_digest(each) for each in different}) == len(different)
    moved = replace(rule_set("/a").permissions[0].match, field_path=("spec", "egress", 7))
    assert listener_digest(HttpRuleSet(False, (HttpPermission(RULE, moved),))) == listener_digest(rule_set("/a"))


def test_numbers_are_ports_and_run_out() -> None:
    space = NumberSpace({}, RANGES["listener"])
    count = LAST_LISTENER - FIRST_LISTENER + 1
    found = space.assign_all(number.to_bytes(4, "big") + bytes(12) for number in range(count))
    assert set(found.values()) == set(range(FIRST_LISTENER, LAST_LISTENER + 1))
    with pytest.raises(OverflowError, match="all 50000 numbers from 10000 to 59999 are taken"):
        space.assign(b"\xff" * 16)


def test_a_restart_gives_no_number_another_meaning() -> None:
    """Envoy may still hold the listener, though nothing in the world needs it."""
    scene = Scene()
    number = scene.listeners.of_rules(rule_set("/a"))
    stored = Numbering({"listener": scene.space.settle()}).to_json()
    assert stored == {"listener": {listener_digest(rule_set("/a")).hex(): number}}
    again = NumberSpace(Numbering.from_json(stored).spaces["listener"], RANGES["listener"])
    clash = (number - FIRST_LISTENER).to_bytes(4, "big") + bytes(12)
    assert again.assign(clash) != number
    assert Scene(again).listeners.of_rules(rule_set("/a")) == number


def test_a_stored_number_that_is_no_listeners_is_refused() -> None:
    with pytest.raises(ValueError, match=r"listener needs different numbers 10000\.\.59999"):
        Numbering.from_json({"listener": {"00" * 16: 60_000}})
