"""Policy tables: the rules that apply to a pod in one direction, as entries of the kernel's policy trie.

Key bits are those of ``struct policy_key``. Every class that one of a table's selectors matches is listed completely,
so the default speaks only of peers that no selector of the table matches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from weft.model.desired import (
    ACTION_ALLOW,
    ACTION_DENY,
    ACTION_NONE,
    CLASS_OTHER,
    FLAG_OTHER,
    PolicyEntry,
    PolicyKey,
)
from weft.model.http import HttpPermission, HttpRuleSet
from weft.model.net import ClassId, RuleId, TableId
from weft.model.objects import NamedPort
from weft.model.policy import Action, Direction, PeerPortSelector, PortMatch, Rule
from weft.policy.decide import rule_order
from weft.policy.digests import SelectorKey, digest
from weft.policy.flatten import Claim, collect, flatten_ports

TABLE_BITS, CLASS_BITS, PROTOCOL_BITS = 32, 64, 72

ClassContent = frozenset[SelectorKey]
"""What a class means: the selectors in force that match its members."""


NOTHING: ClassContent = frozenset()

Alternative = tuple[int, int]
"""A rule with http: its position, and that of the port among its ports."""
NumberListener = Callable[[HttpRuleSet], int]
"""The number of a rule set's listener, for one more user."""


class Slot(NamedTuple):
    """Where an entry stands below its table and class. (0, 0, 32) is the table's default, under CLASS_OTHER."""

    protocol: int
    port: int
    bits: int


Group = Mapping[Slot, PolicyEntry]
"""All entries of one class in a table."""

DEFAULT = Slot(0, 0, TABLE_BITS)


class Table(Mapping[PolicyKey, PolicyEntry]):
    """The entries of one table. Classes that fare the same share one group."""

    __slots__ = ("_size", "groups", "number")

    def __init__(self, number: TableId, groups: Mapping[ClassId, Group]) -> None:
        self.number, self.groups = number, groups
        self._size = sum(map(len, groups.values()))

    @classmethod
    def of(cls, number: TableId, entries: Mapping[PolicyKey, PolicyEntry]) -> Table:
        """The same entries, whoever read them."""
        if isinstance(entries, Table):
            return entries
        groups: dict[ClassId, dict[Slot, PolicyEntry]] = {}
        for key, entry in entries.items():
            groups.setdefault(key.class_, {})[Slot(key.protocol, key.port, key.bits)] = entry
        return cls(number, groups)

    def __getitem__(self, key: PolicyKey) -> PolicyEntry:
        if key.table != self.number:
            raise KeyError(key)
        return self.groups[key.class_][Slot(key.protocol, key.port, key.bits)]

    def __iter__(self) -> Iterator[PolicyKey]:
        for class_, group in self.groups.items():
            for slot in group:
                yield PolicyKey(self.number, class_, *slot)

    def __len__(self) -> int:
        return self._size

    def keys_of(self, class_: ClassId) -> dict[PolicyKey, PolicyEntry]:
        group = self.groups.get(class_, {})
        return {PolicyKey(self.number, class_, *slot): entry for slot, entry in group.items()}


class NumberedRule(NamedTuple):
    id: RuleId
    rule: Rule
    """Services resolved."""
    digest: bytes
    """Of ``rule``, so that nobody hashes ten thousand peers twice."""
    peers: frozenset[SelectorKey]
    """Of ``rule.peers``."""


@dataclass(frozen=True, slots=True)
class TableContent:
    """What a table means, whatever its number."""

    rules: tuple[NumberedRule, ...]
    """In order of precedence: deny before allow, then ``rule_order``."""
    isolated: bool
    named_ports: tuple[NamedPort, ...] = ()
    """Ingress: the subject's own ports that the rules call by name."""

    @property
    def is_open(self) -> bool:
        return not self.rules and not self.isolated

    @property
    def digest(self) -> bytes:
        rules = (part for each in self.rules for part in (each.id, each.digest))
        ports = (part for port in self.named_ports for part in (port.name, port.protocol, port.port))
        return digest("table", int(self.isolated), len(self.rules), *rules, *ports)

    @classmethod
    def of(cls, rules: Iterable[NumberedRule], isolated: bool, ports: Iterable[NamedPort] = ()) -> TableContent:
        """``ports``: all of the subject's; only those that ingress rules name become part of the content."""
        ordered = tuple(sorted(rules, key=lambda each: (each.rule.action is Action.ALLOW, rule_order(each.rule))))
        ingress = (each.rule for each in ordered if each.rule.direction is Direction.INGRESS)
        named = {(port.protocol, port.name) for rule in ingress for port in rule.ports or () if port.name}
        called = {port for port in ports if (port.protocol, port.name) in named}
        return cls(ordered, isolated, tuple(sorted(called, key=lambda p: (p.name, p.protocol, p.port))))


class TableCompiler:
    """Content → group of entries for any class, each distinct case computed once."""

    def __init__(
        self, content: TableContent, peer_ports: Mapping[SelectorKey, PeerPortSelector], number: NumberListener
    ) -> None:
        """``peer_ports``: what the port selectors in classes mean; may grow later."""
        self.content = content
        self._atoms = peer_ports
        self._number = number
        self._listeners: dict[ClassContent, tuple[int, ...]] = {}
        """Of those groups that have some."""
        self._by_selector: dict[SelectorKey, list[int]] = {}
        self._for_everybody: list[int] = []
        for position, (_, rule, _, peers) in enumerate(content.rules):
            if rule.peers is None:
                self._for_everybody.append(position)
            for peer in peers:
                self._by_selector.setdefault(peer, []).append(position)
        self._selectors = frozenset(self._by_selector)
        egress = (each.rule for each in content.rules if each.rule.direction is Direction.EGRESS)
        self._peer_ports = {(port.protocol, port.name) for rule in egress for port in rule.ports or () if port.name}
        self._groups: dict[ClassContent, Group] = {}
        self.default_group = otherwise = self.group(NOTHING)
        """How every class fares that the table does not list; ``default`` is how the table says so."""
        if len(otherwise) == 1:
            (entry,) = otherwise.values()
            self.default: Group = {DEFAULT: entry}
        else:
            self.default = {DEFAULT: PolicyEntry(ACTION_NONE, RuleId(0), FLAG_OTHER), **otherwise}

    def relevant(self, class_: ClassContent) -> ClassContent:
        """Those of a class's selectors that this table speaks of; empty = the default holds."""
        found: ClassContent = class_ & self._selectors
        if self._peer_ports:
            atoms = {key: self._atoms[key] for key in class_ & self._atoms.keys()}
            found |= {key for key, atom in atoms.items() if (atom.protocol, atom.name) in self._peer_ports}
        return found

    def listed(self, classes: Mapping[ClassId, ClassContent]) -> dict[ClassId, Group]:
        """The groups of those of ``classes`` that this table must list."""
        found = {}
        for number, content in classes.items():
            if number != CLASS_OTHER and (relevant := self.relevant(content)):
                found[number] = self.group(relevant)
        return found

    def group(self, relevant: ClassContent) -> Group:
        if relevant not in self._groups:
            self._groups[relevant] = self._flatten(relevant)
        return self._groups[relevant]

    def forget(self, used: Iterable[Group] = ()) -> list[int]:
        """Forget all groups but ``used``: the listeners that lose them as users, each as often as it does."""
        kept = {id(group) for group in used}
        lost = [key for key in self._listeners if id(self._groups[key]) not in kept]
        for key in lost:
            del self._groups[key]
        return [number for key in lost for number in self._listeners.pop(key)]

    def _flatten(self, relevant: ClassContent) -> Group:
        rules = self.content.rules
        claims: dict[int, list[Claim]] = {}
        requests: dict[int, list[tuple[int, int, Alternative]]] = {}
        everywhere: list[int] = []
        positions = {position for selector in relevant for position in self._by_selector.get(selector, ())}
        for position in positions.union(self._for_everybody):
            rule = rules[position].rule
            if rule.ports is None:
                everywhere.append(position)
            for index, wanted in enumerate(rule.ports or ()):
                for first, last in self._ranges(rule, wanted, relevant):
                    if wanted.http is None or rule.action is Action.DENY:
                        claims.setdefault(wanted.protocol, []).append(Claim(first, last, position))
                    else:
                        requests.setdefault(wanted.protocol, []).append((first, last, (position, index)))
        sets: list[frozenset[Alternative]] = []
        for protocol, wanted_requests in requests.items():
            for first, last, alternatives in collect(wanted_requests):
                claims.setdefault(protocol, []).append(Claim(first, last, len(rules) + len(sets)))
                sets.append(alternatives)
        return self._encode(relevant, claims, min(everywhere, default=len(rules) + len(sets)), sets)

    def _encode(
        self,
        relevant: ClassContent,
        claims: Mapping[int, Sequence[Claim]],
        otherwise: int,
        sets: Sequence[frozenset[Alternative]],
    ) -> Group:
        """Verdicts: positions of rules, then those of ``sets``; after them, nobody's."""
        listeners: dict[HttpRuleSet, int] = {}

        def entry(verdict: int) -> PolicyEntry:
            rules = self.content.rules
            if verdict == len(rules) + len(sets):
                return PolicyEntry(ACTION_NONE if self.content.isolated else ACTION_ALLOW, RuleId(0))
            if verdict < len(rules):
                number, rule, _, _ = rules[verdict]
                return PolicyEntry(ACTION_DENY if rule.action is Action.DENY else ACTION_ALLOW, number)
            wanted = self._rule_set(sets[verdict - len(rules)])
            if wanted not in listeners:
                listeners[wanted] = self._number(wanted)
            return PolicyEntry(ACTION_ALLOW, wanted.permissions[0].rule, 0, listeners[wanted])

        group = {Slot(0, 0, CLASS_BITS): entry(otherwise)}
        for protocol in sorted(claims):
            for port, bits, verdict in flatten_ports(claims[protocol], otherwise):
                group[Slot(protocol, port, PROTOCOL_BITS + bits)] = entry(verdict)
        if listeners:
            self._listeners[relevant] = tuple(listeners.values())
        return group

    def _rule_set(self, alternatives: Iterable[Alternative]) -> HttpRuleSet:
        permissions: dict[HttpPermission, None] = {}
        for position, index in sorted(alternatives):
            id_, rule, _, _ = self.content.rules[position]
            for match in (rule.ports or ())[index].http or ():
                permissions[HttpPermission(id_, match)] = None
        egress = self.content.rules[0].rule.direction is Direction.EGRESS
        return HttpRuleSet(egress, tuple(permissions))

    def _ranges(self, rule: Rule, port: PortMatch, relevant: ClassContent) -> list[tuple[int, int]]:
        """A named port is the destination's: the subject's own for ingress, a trait of the peer's class for egress."""
        if not port.name:
            return [(port.first, port.last)]
        if rule.direction is Direction.INGRESS:
            named: Iterable[NamedPort | PeerPortSelector] = self.content.named_ports
        else:
            named = (self._atoms[key] for key in relevant if key in self._atoms)
        return [(p.port, p.port) for p in named if (p.name, p.protocol) == (port.name, port.protocol)]
