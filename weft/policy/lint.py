"""What policies say that their authors may not have meant. Each warning names file, line, field and a remedy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from weft.identity import is_identity_relevant
from weft.model.kinds.cilium import CiliumNetworkPolicy
from weft.model.kinds.networking import NetworkPolicy
from weft.model.origin import Origin
from weft.model.policy import (
    Action,
    Direction,
    LabelSelector,
    Operator,
    PolicySpec,
    PortMatch,
    Requirement,
    Rule,
    Selector,
)
from weft.model.world import World
from weft.policy.labelsyntax import selector_of
from weft.policy.linthttp import lint_empty_http, lint_http
from weft.policy.lintwarning import LintWarning
from weft.policy.lintworld import lint_world
from weft.policy.select import WORLD_LABEL
from weft.policy.spelling import spell_rule

_GIVEN = ("io.kubernetes.pod.namespace", "io.cilium.k8s.")
_WORLD = selector_of([Requirement(WORLD_LABEL, Operator.EXISTS)])


def lint(specs: Iterable[PolicySpec], world: World) -> list[LintWarning]:
    """Warnings about ``specs`` (services not resolved) as they would be in ``world``, by file and line.

    ``world`` need not hold them yet; policies of the same name are replaced by them.
    """
    specs = tuple(specs)
    policies = {
        **world.policies,
        **{one.policy: tuple(two for two in specs if two.policy == one.policy) for one in specs},
    }
    world = replace(world, policies=policies)
    in_force = tuple(spec for policy in policies.values() for spec in policy)
    found = [warning for spec in specs for warning in _lint_spec(spec, in_force)]
    found += lint_world(specs, world)
    return sorted(set(found), key=lambda one: (one.origin.file, one.origin.line(one.path), one.code, one.text))


def lint_document(document: CiliumNetworkPolicy | NetworkPolicy, origin: Origin) -> list[LintWarning]:
    """What a manifest says that leaves no trace in its PolicySpec."""
    if not isinstance(document, NetworkPolicy):
        return list(lint_empty_http(document, origin))
    spec, found = document.spec, []
    for name, rules, kind in (("ingress", spec.ingress, "Ingress"), ("egress", spec.egress, "Egress")):
        if rules and spec.policy_types and kind not in spec.policy_types:
            text = f"these rules have no effect: policyTypes leaves out {kind}"
            found.append(
                LintWarning("rules-without-effect", origin, ("spec", name), text, f"add {kind} to policyTypes")
            )
    return found


def _lint_spec(spec: PolicySpec, in_force: tuple[PolicySpec, ...]) -> Iterator[LintWarning]:
    yield from _labels_outside_identity(spec.subject, spec.origin)
    for rule in spec.rules:
        for peer in rule.peers or ():
            if isinstance(peer, LabelSelector):
                yield from _labels_outside_identity(peer, rule.origin)
        yield from _world_allowed(rule, spec)
        yield from _nobody(rule)
        if rule.action is Action.ALLOW:
            yield from lint_http(rule)
            yield from _shadowed(rule, spec, in_force)
            yield from _without_effect(rule, spec, in_force)


def _labels_outside_identity(selector: LabelSelector, origin: Origin) -> Iterator[LintWarning]:
    for one in selector.requirements:
        bare = one.key.partition(":")[2]
        if one.key.startswith("reserved:") or bare.startswith(_GIVEN) or is_identity_relevant(bare):
            continue
        text = (
            f"{bare} differs between replicas or belongs to Kubernetes, so it is no part of an identity: no pod has it"
        )
        yield LintWarning("label-outside-identity", origin, one.field_path, text, "select by a label of your own")


def _world_allowed(rule: Rule, spec: PolicySpec) -> Iterator[LintWarning]:
    """MISSION's database-lockdown: ``egress: toEntities: [world]`` said to block external access."""
    if rule.action is not Action.ALLOW or rule.direction is not Direction.EGRESS or rule.ports is not None:
        return
    if rule.peers is None or _WORLD not in rule.peers:
        return
    others = [one for one in spec.rules if one.direction is Direction.EGRESS and one is not rule]
    blocked = "" if others else ", and everything inside the cluster is blocked"
    paths = rule.peer_paths or (rule.path,) * len(rule.peers)
    path = paths[rule.peers.index(_WORLD)]
    text = f"this allows every address outside the cluster{blocked}"
    yield LintWarning("world-allowed", rule.origin, path, text, "to block the outside, write it under egressDeny")


def _nobody(rule: Rule) -> Iterator[LintWarning]:
    """``[{}]`` is the usual way to write a default deny; an empty list of peers is not."""
    if rule.peers == () and any(
        path[: len(rule.path)] == rule.path and path != rule.path for path in rule.origin.lines
    ):
        verb = "allows" if rule.action is Action.ALLOW else "denies"
        text = f"this rule names no peer, so it {verb} nothing"
        yield LintWarning("no-peer", rule.origin, rule.path, text, "name peers, or remove the rule")


def _shadowed(rule: Rule, spec: PolicySpec, in_force: tuple[PolicySpec, ...]) -> Iterator[LintWarning]:
    for other in in_force:
        if not set(other.subject.requirements) <= set(spec.subject.requirements):
            continue
        for deny in other.rules:
            if deny.action is Action.DENY and deny.direction is rule.direction and _covers(deny, rule):
                text = f"this never allows anything: {spell_rule(deny)} ({deny.origin.at(deny.path)}) denies all of it"
                yield LintWarning(
                    "shadowed-by-deny", rule.origin, rule.path, text, "deny always wins: narrow the deny rule"
                )
                return


def _without_effect(rule: Rule, spec: PolicySpec, in_force: tuple[PolicySpec, ...]) -> Iterator[LintWarning]:
    """Cilium's "Layer 7 Policies": beside a rule that allows the whole port, the http of another has no effect."""
    if not any(port.http for port in rule.ports or ()):
        return
    for other in in_force:
        if not set(other.subject.requirements) <= set(spec.subject.requirements):
            continue
        for allow in other.rules:
            whole = None if allow.ports is None else tuple(port for port in allow.ports if port.http is None)
            if allow.action is not Action.ALLOW or allow.direction is not rule.direction or whole == ():
                continue
            if _covers(replace(allow, ports=whole), rule):
                text = (
                    f"its http has no effect: {spell_rule(allow)} ({allow.origin.at(allow.path)}) allows the whole port"
                )
                yield LintWarning(
                    "http-without-effect", rule.origin, rule.path, text, "remove or narrow the wider rule"
                )
                return


def _covers(deny: Rule, rule: Rule) -> bool:
    """Whether every peer and port of ``rule`` is one of ``deny``; peers compared as they are written."""
    peers: tuple[Selector, ...] | None = deny.peers
    by_peer = peers is None or (bool(rule.peers) and set(rule.peers or ()) <= set(peers))
    by_port = deny.ports is None or (
        rule.ports is not None and all(any(_contains(wide, one) for wide in deny.ports or ()) for one in rule.ports)
    )
    return by_peer and by_port


def _contains(wide: PortMatch, narrow: PortMatch) -> bool:
    if wide.protocol != narrow.protocol or wide.name or narrow.name:
        return (wide.protocol, wide.name, wide.first) == (narrow.protocol, narrow.name, narrow.first)
    return wide.first <= narrow.first and narrow.last <= wide.last
