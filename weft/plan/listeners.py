"""Numbers of Envoy's listeners. Equal sets of http rules share one; a routed port keeps its own.

A number outlives whatever connections through its listener may live through. Of http rules it never comes to allow
other requests: only what they are called may change under it. Routes are no such promise: each request goes by those of
its time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address

from weft.model.desired import Listener
from weft.model.http import HttpMatch, HttpRuleSet
from weft.model.net import RuleId
from weft.model.policy import Rule
from weft.model.route import ClusterRef, RouteTable
from weft.plan.numbering import NumberSpace
from weft.policy.digests import digest

Meaning = tuple[bool, tuple[HttpMatch, ...]]
"""Which requests a set of http rules allows, whatever the rules are called."""


class Listeners:
    """Who uses which listener."""

    def __init__(self, numbers: NumberSpace, rules: Callable[[], Mapping[RuleId, Rule]]) -> None:
        """``rules``: those in force in the world that is being compiled."""
        self._numbers, self._rules_now = numbers, rules
        self._uses: Counter[int] = Counter()
        self._keys: dict[int, bytes] = {}
        self._rules: dict[int, tuple[Rule, ...]] = {}
        """Of sets of http rules; by position."""
        self._alike: dict[Meaning, set[int]] = {}
        self._listeners: dict[int, Listener] = {}
        self._settled: Mapping[int, Listener] = {}
        self._changed = False

    def of_rules(self, rules: HttpRuleSet) -> int:
        """The number of the set's listener, for one more user: of one that means the same and has lost its rules, so
        that an edit of a rule leaves those alone who may do what they might before. Raises OverflowError when all
        50,000 are taken."""
        key = listener_digest(rules)
        if key not in self._numbers and (heirless := self._bereaved(rules)):
            self._numbers.rename(self._keys[heirless], key)
        number = self._use(key, rules)
        self._rules[number] = self._written(rules)
        self._alike.setdefault(_meaning(rules), set()).add(number)
        return number

    def of_routes(self, port: ClusterRef, scope: str, table: RouteTable) -> int:
        """The number of a port's listener for one scope, for one more user. Whether there are any rules decides what
        kind of listener it is. Errors: as ``of_rules``."""
        return self._use(routes_key(port, scope, table), table)

    def release(self, number: int) -> None:
        """One user fewer."""
        self._uses[number] -= 1

    def settle(self) -> Mapping[int, Listener]:
        """End of a compile: those with a user, by number. Replaced, never edited."""
        for number in [number for number, users in self._uses.items() if not users]:
            gone = self._listeners.pop(number)
            if isinstance(gone, HttpRuleSet):
                self._alike[_meaning(gone)].discard(number)
                if not self._alike[_meaning(gone)]:
                    del self._alike[_meaning(gone)]
                del self._rules[number]
            del self._uses[number]
            self._numbers.release(self._keys.pop(number))
            self._changed = True
        if self._changed:
            self._settled = dict(self._listeners)
            self._changed = False
        return self._settled

    def _use(self, key: bytes, listener: Listener) -> int:
        number = self._numbers.assign(key)
        if self._listeners.get(number) is not listener:
            self._keys[number], self._listeners[number] = key, listener
            self._changed = True
        self._uses[number] += 1
        return number

    def _bereaved(self, rules: HttpRuleSet) -> int:
        """A listener that means the same, one of whose rules is gone, so that no table will name it under them; 0 if
        there is none. Of several the one with the same peers, then the one in the same place."""
        now, wanted = self._rules_now(), self._written(rules)

        def likeness(number: int) -> tuple[int, int, int]:
            pairs = list(zip(self._rules[number], wanted, strict=True))
            peers = sum(old.peers == new.peers for old, new in pairs)
            places = sum((old.policy, old.index) == (new.policy, new.index) for old, new in pairs)
            return peers, places, -number

        alike = self._alike.get(_meaning(rules), ())
        gone = [n for n in alike if any(each.rule not in now for each in self._rule_set(n).permissions)]
        return max(gone, key=likeness, default=0)

    def _written(self, rules: HttpRuleSet) -> tuple[Rule, ...]:
        now = self._rules_now()
        return tuple(now[each.rule] for each in rules.permissions)

    def _rule_set(self, number: int) -> HttpRuleSet:
        found = self._listeners[number]
        assert isinstance(found, HttpRuleSet)
        return found


def routes_key(port: ClusterRef, scope: str, table: RouteTable) -> bytes:
    return digest("routes", *port.service, port.port, int(port.h2c), scope, int(bool(table.rules)))


def listener_digest(rules: HttpRuleSet) -> bytes:
    """Of all that makes two sets equal; where their rules were written is no part of it."""
    return digest("rules", *_parts(rules))


def _meaning(rules: HttpRuleSet) -> Meaning:
    return rules.egress, tuple(each.match for each in rules.permissions)


def _parts(value: object) -> Iterator[str | bytes]:
    """A value's content: every level with its type and its length, so that no two values have the same parts."""
    match value:
        case Enum():
            yield f"{type(value).__name__}.{value.name}"
        case str() | int() | None | IPv4Address() | IPv6Address():
            yield f"{type(value).__name__} {value}"
        case bytes():
            yield value
        case tuple():
            yield f"{type(value).__name__} {len(value)}"
            for each in value:
                yield from _parts(each)
        case _ if is_dataclass(value):
            yield type(value).__name__
            for field in fields(value):
                if field.compare:
                    yield from _parts(getattr(value, field.name))
        case _:
            raise TypeError(f"{type(value).__name__} has no place in a listener")
