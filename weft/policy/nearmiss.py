"""What keeps a rule from matching: field by field, what it expects and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from weft.model.net import ICMP, ICMPV6, from_wide
from weft.model.origin import FieldPath, Origin
from weft.model.policy import (
    Action,
    CidrSelector,
    Direction,
    LabelSelector,
    PolicySpec,
    PortMatch,
    Requirement,
    Rule,
    Selector,
)
from weft.policy.decide import rule_order
from weft.policy.parties import Party, Place
from weft.policy.select import contains, holds, matches, port_matches, selects, values_of
from weft.policy.spelling import spell_key, spell_match, spell_port, spell_ports, spell_protocol, spell_requirement


@dataclass(frozen=True, slots=True)
class Failure:
    """One field that keeps a rule from matching."""

    kind: str
    """``label``, ``namespace``, ``entity``, ``cidr``, ``port``, ``protocol``, ``selector`` or ``peer``."""
    whose: str
    """The pod whose property it is; empty for the connection's own, and where ``actual`` says it."""
    expected: str
    actual: str
    origin: Origin
    path: FieldPath

    @property
    def where(self) -> str:
        return self.origin.at(self.path)


@dataclass(frozen=True, slots=True)
class NearMiss:
    rule: Rule
    failures: tuple[Failure, ...]
    """Never empty; the fewer, the nearer."""
    selects_subject: bool
    """False: the policy does not even select the pod, so some failures are of its endpointSelector."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A connection from the point of view of one side's policies."""

    direction: Direction
    subject: Party
    peer: Party
    protocol: int
    port: int

    @property
    def destination(self) -> Party:
        return self.subject if self.direction is Direction.INGRESS else self.peer


def near_misses(specs: Iterable[PolicySpec], attempt: Attempt, limit: int = 5) -> tuple[NearMiss, ...]:
    """The allow rules that came closest, nearest first: by number of failed fields, then those that at least select
    the subject, then those that speak of such a peer at all, then ``rule_order``. A rule of a policy that does not
    select the subject counts only when a single field keeps it away."""
    misses = []
    for spec in specs:
        selecting = selects(spec.subject, attempt.subject.labels)
        of_subject = () if selecting else _label_failures(spec.subject, attempt.subject, spec.origin)
        for rule in spec.rules:
            if rule.direction is not attempt.direction or rule.action is not Action.ALLOW:
                continue
            peer, port = _peer_failures(rule, attempt), _port_failures(rule, attempt)
            failures = (*of_subject, *peer, *port)
            if failures and (selecting or len(failures) == 1):
                misses.append(NearMiss(rule, failures, selecting))
    misses.sort(key=_distance)
    return tuple(misses[:limit])


def _distance(miss: NearMiss) -> tuple[int, bool, int, tuple[str, str, str, int]]:
    """A rule for another kind of peer is no nearer than one that names the wrong label."""
    of_another_kind = sum(failure.kind in ("cidr", "entity", "selector", "peer") for failure in miss.failures)
    return len(miss.failures), not miss.selects_subject, of_another_kind, rule_order(miss.rule)


def _peer_failures(rule: Rule, attempt: Attempt) -> tuple[Failure, ...]:
    """Of the alternative that fails in the fewest fields; empty if one fits."""
    if rule.peers is None:
        return ()
    peer = attempt.peer
    if not rule.peers:
        return (Failure("peer", "", "a peer", "an empty list, or a service without backends", rule.origin, rule.path),)
    if any(matches(selector, peer.labels, peer.address, peer.ports) for selector in rule.peers):
        return ()
    paths = rule.peer_paths or (rule.path,) * len(rule.peers)

    def failures(index: int) -> tuple[Failure, ...]:
        return _selector_failures(rule.peers[index], peer, rule.origin, paths[index]) if rule.peers else ()

    return _fewest(range(len(rule.peers)), failures)


def _selector_failures(selector: Selector, party: Party, origin: Origin, path: FieldPath) -> tuple[Failure, ...]:
    match selector:
        case LabelSelector():
            return _label_failures(selector, party, origin) or (
                Failure("entity", "", "a peer with an identity", _thing(party), origin, path),
            )
        case CidrSelector():
            return (_cidr_failure(selector, party, origin, path),)
        case _:
            return (Failure("peer", party.name, "a backend of the service", "none", origin, path),)


def _label_failures(selector: LabelSelector, party: Party, origin: Origin) -> tuple[Failure, ...]:
    """A peer that is no pod fails a selector for pods once, not once for each label that it cannot have."""
    failed = [one for one in selector.requirements if not holds(one, party.labels)]
    if party.place is not Place.POD and failed and not failed[0].key.startswith("reserved:"):
        path = max((one.field_path for one in failed), key=len)
        return (Failure("selector", "", f"a pod with {_all(failed)}", _thing(party), origin, path),)
    return tuple(_requirement_failure(one, party, origin) for one in failed)


def _all(requirements: Sequence[Requirement]) -> str:
    return ", ".join(map(spell_requirement, requirements))


def _requirement_failure(requirement: Requirement, party: Party, origin: Origin) -> Failure:
    key = spell_key(requirement.key)
    values = values_of(requirement.key, party.labels)
    if requirement.key.startswith("reserved:"):
        return Failure("entity", "", spell_requirement(requirement), _thing(party), origin, requirement.field_path)
    kind = "namespace" if key.startswith("namespace") else "label"
    actual = f"{key}={','.join(values)}" if values else f"no {key}"
    written = {"matchLabels", "matchExpressions"} & set(requirement.field_path) or kind != "namespace"
    expected = spell_requirement(requirement) + ("" if written else " (implied, as no namespace is written)")
    return Failure(kind, party.name, expected, actual, origin, requirement.field_path)


def _cidr_failure(selector: CidrSelector, party: Party, origin: Origin, path: FieldPath) -> Failure:
    address, whose = str(from_wide(party.address)), party.name if party.key else ""
    for hole in selector.excepts:
        if contains(hole, party.address):
            at = next((at for at in ((*path, "except"), (*path, "ipBlock", "except")) if at in origin.lines), path)
            return Failure("cidr", whose, f"an address outside {hole} (except)", address, origin, at)
    if not contains(selector.prefix, party.address):
        return Failure("cidr", whose, f"an address in {selector.prefix}", address, origin, path)
    meant = "an address outside the cluster (a CNP's CIDR never means a pod or a node)"
    return Failure("cidr", "", meant, _thing(party), origin, path)


def _thing(party: Party) -> str:
    return f"pod {party.name}" if party.key else party.name


def _port_failures(rule: Rule, attempt: Attempt) -> tuple[Failure, ...]:
    if rule.ports is None or any(
        port_matches(wanted, attempt.protocol, attempt.port, attempt.destination.ports) for wanted in rule.ports
    ):
        return ()
    if not rule.ports:
        return (Failure("port", "", "a port", "an empty list", rule.origin, rule.path),)
    ports, paths = rule.ports, rule.port_paths or (rule.path,) * len(rule.ports)
    found = _fewest(range(len(ports)), lambda index: _match_failures(ports[index], attempt, rule.origin, paths[index]))
    same = [match for match in ports if match.protocol == attempt.protocol]
    if len(found) == 1 and found[0].kind == "port" and len(same) > 1:
        expected = " or ".join(dict.fromkeys(map(spell_match, same)))
        return (Failure("port", "", expected, found[0].actual, rule.origin, found[0].path[:-2]),)
    return found


def _match_failures(wanted: PortMatch, attempt: Attempt, origin: Origin, path: FieldPath) -> tuple[Failure, ...]:
    failures = []
    family_field, port_field = ("family", "type") if "icmps" in path else ("protocol", "port")
    if wanted.protocol != attempt.protocol:
        expected, actual = spell_protocol(wanted.protocol), spell_protocol(attempt.protocol)
        failures.append(Failure("protocol", "", expected, actual, origin, (*path, family_field)))
    with_ports = not {ICMP, ICMPV6} & {wanted.protocol, attempt.protocol}
    same_port = PortMatch(attempt.protocol, wanted.first, wanted.last, wanted.name)
    if (with_ports or not failures) and not port_matches(
        same_port, attempt.protocol, attempt.port, attempt.destination.ports
    ):
        expected = spell_match(wanted) if not with_ports else spell_ports(wanted)
        failures.append(Failure("port", "", expected, _port_of(attempt, wanted), origin, (*path, port_field)))
    return tuple(failures)


def _port_of(attempt: Attempt, wanted: PortMatch) -> str:
    if not wanted.name:
        return spell_port(attempt.protocol, attempt.port).removesuffix("/" + spell_protocol(attempt.protocol))
    own = {named.port for named in attempt.destination.ports if named.name == wanted.name}
    meaning = f"{wanted.name} is {min(own)}" if own else f"has no port named {wanted.name}"
    return f"{attempt.port} ({attempt.destination.name} {meaning})" if not own else f"{attempt.port} ({meaning})"


def _fewest(indices: Iterable[int], failures: Callable[[int], tuple[Failure, ...]]) -> tuple[Failure, ...]:
    return min((failures(index) for index in indices), key=len)
