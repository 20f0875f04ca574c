"""The policies in force: whom they select, what their rules are called, which selectors they speak of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from weft.model.net import RuleId
from weft.model.policy import (
    CidrSelector,
    Direction,
    LabelSelector,
    PolicyRef,
    PolicySpec,
    Rule,
    ServiceSelector,
)
from weft.model.world import World
from weft.plan.diff import changes
from weft.plan.numbering import NumberSpace
from weft.policy.digests import SelectorKey, rule_digest, selector_key
from weft.policy.services import resolve
from weft.policy.tables import NumberedRule


class NumberedSpec(NamedTuple):
    spec: PolicySpec
    subject: SelectorKey
    rules: tuple[NumberedRule, ...]
    """Services resolved."""
    digests: frozenset[bytes]
    """Of the rules as they were written: their numbers outlive the services' backends."""


class Universe(NamedTuple):
    """The selectors in force: those of the peers of every rule, whomever it selects."""

    labels: Mapping[SelectorKey, LabelSelector]
    cidrs: Mapping[SelectorKey, CidrSelector]
    peer_ports: frozenset[tuple[int, str]]
    """(protocol, name) of the named ports in egress rules."""


class Policies:
    """``rules``, ``universe`` and ``by_subject`` of the last world given to ``update``; replaced, never edited."""

    def __init__(self, numbers: NumberSpace) -> None:
        self._numbers = numbers
        self._world: World | None = None
        self._of_services: set[PolicyRef] = set()
        self._specs: dict[PolicyRef, tuple[NumberedSpec, ...]] = {}
        self._peers: Counter[SelectorKey] = Counter()
        self._labels: dict[SelectorKey, LabelSelector] = {}
        self._cidrs: dict[SelectorKey, CidrSelector] = {}
        self._peer_ports: Counter[tuple[int, str]] = Counter()
        self.rules: Mapping[RuleId, Rule] = {}
        self.universe = Universe({}, {}, frozenset())
        self.subjects: dict[SelectorKey, LabelSelector] = {}
        self.by_subject: dict[SelectorKey, list[NumberedSpec]] = {}

    def update(self, world: World) -> set[SelectorKey]:
        """The subject selectors whose policies are other ones now."""
        before, self._world = self._world, world
        change = changes(before.policies if before else {}, world.policies)
        come = dict(change.come)
        if before and (before.services is not world.services or before.slices is not world.slices):
            come.update((ref, world.policies[ref]) for ref in self._of_services if ref in world.policies)
        if not (change or come):
            return set()
        leaving = [self._specs.pop(ref) for ref in {**change.gone, **come} if ref in self._specs]
        for specs in leaving:
            self._count(specs, -1)
        for digest in {digest for specs in leaving for each in specs for digest in each.digests}:
            self._numbers.release(digest)
        entering = {ref: tuple(_Draft(spec, world) for spec in specs) for ref, specs in come.items()}
        numbers = self._numbers.assign_all({d for drafts in entering.values() for each in drafts for d in each.digests})
        for ref, drafts in entering.items():
            self._specs[ref] = tuple(draft.numbered(numbers) for draft in drafts)
            self._count(self._specs[ref], 1)
        self._of_services = {ref for ref, specs in world.policies.items() if any(map(_speaks_of_services, specs))}
        self._publish()
        return {each.subject for specs in (*leaving, *map(self._specs.get, come)) for each in specs or ()}

    def _count(self, specs: Iterable[NumberedSpec], sign: int) -> None:
        for rule, keys in ((numbered.rule, numbered.peers) for each in specs for numbered in each.rules):
            for key in keys:
                self._peers[key] += sign
            if sign > 0:
                self._learn(rule)
            if rule.direction is Direction.EGRESS:
                for port in rule.ports or ():
                    if port.name:
                        self._peer_ports[port.protocol, port.name] += sign

    def _learn(self, rule: Rule) -> None:
        for peer in rule.peers or ():
            if isinstance(peer, LabelSelector):
                self._labels[selector_key(peer)] = peer
            elif isinstance(peer, CidrSelector):
                self._cidrs[selector_key(peer)] = peer

    def _publish(self) -> None:
        for key in [key for key, count in self._peers.items() if not count]:
            del self._peers[key]
            self._labels.pop(key, None)
            self._cidrs.pop(key, None)
        self._peer_ports = +self._peer_ports
        self.universe = Universe(dict(self._labels), dict(self._cidrs), frozenset(self._peer_ports))
        self.rules = {rule.id: rule.rule for specs in self._specs.values() for each in specs for rule in each.rules}
        self.by_subject, self.subjects = {}, {}
        for specs in self._specs.values():
            for each in specs:
                self.by_subject.setdefault(each.subject, []).append(each)
                self.subjects[each.subject] = each.spec.subject


class _Draft:
    """A spec whose rules have no numbers yet."""

    def __init__(self, spec: PolicySpec, world: World) -> None:
        self.spec = spec
        self.digests = tuple(map(rule_digest, spec.rules))
        self._resolved = resolve(spec, world.services, world.slices).rules

    def numbered(self, numbers: Mapping[bytes, int]) -> NumberedSpec:
        rules = tuple(
            NumberedRule(
                RuleId(numbers[digest]),
                rule,
                digest if rule is written else rule_digest(rule),
                frozenset(map(selector_key, rule.peers or ())),
            )
            for digest, written, rule in zip(self.digests, self.spec.rules, self._resolved, strict=True)
        )
        return NumberedSpec(self.spec, selector_key(self.spec.subject), rules, frozenset(self.digests))


def _speaks_of_services(spec: PolicySpec) -> bool:
    return any(isinstance(peer, ServiceSelector) for rule in spec.rules for peer in rule.peers or ())
