"""What policy says about a connection: the reference model. Read it as the specification.

Everything else (the compiler, the BPF program, explanations) must agree with this file; property tests say so.

A connection is decided twice: by the sender's egress policies, then by the receiver's ingress policies. In each
direction, of the rules of all policies that select the pod:

1. a deny rule that matches refuses, whatever else allows (POLICY_DENY);
2. else an allow rule that matches allows. If all that match ask for HTTP requests (``PortMatch.http``), only the
   requests that fit one of their alternatives pass, isolated or not; a rule without http allows the whole port;
3. else the pod is isolated in that direction when some policy that selects it says so (``default_deny``), and the
   connection is refused (POLICY_DENIED); a pod that no policy isolates accepts everything.

Of several rules that match, the first in ``rule_order`` is credited. Sources: Kubernetes' NetworkPolicy API reference
("the union"), Cilium's "Policy Enforcement Modes" and "Deny Policies" (deny takes precedence, per direction), "Layer 7
Policies" ("the layer 7 portions of the latter rule will have no effect") and "Using enableDefaultDeny" (which "does
not apply to layer-7 policy").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from weft.model.http import HttpMatch
from weft.model.identity import Reserved
from weft.model.labels import LabelSet
from weft.model.net import TCP
from weft.model.policy import Action, Direction, PolicySpec, Rule
from weft.model.verdicts import Verdict
from weft.policy.parties import Party, Place
from weft.policy.select import matches, port_matches, selects


@dataclass(frozen=True, slots=True)
class Side:
    """What one pod's policies say in one direction."""

    allowed: bool
    rule: Rule | None
    """The rule that decided; None = none matched, so ``isolated`` did."""
    isolated: bool
    """Some policy makes the pod default-deny in this direction."""
    http: tuple[tuple[Rule, HttpMatch], ...] | None = None
    """Allowed: only requests that fit one of these (``weft.policy.http.judge``). None: whatever is said."""


@dataclass(frozen=True, slots=True)
class Decision:
    reason: Verdict
    refused_by: Direction | None
    """Which end refused; the sender's side comes first. None = forwarded, or dropped before policy is asked."""
    egress: Side | None
    """The sender's side. None = policy does not apply to it (not a pod, or an exception below)."""
    ingress: Side | None
    """The receiver's side, likewise; given also when the sender's side already refuses."""

    @property
    def forwarded(self) -> bool:
        return self.reason == Verdict.FORWARDED


def decide(
    specs: Iterable[PolicySpec], source: Party, destination: Party, protocol: int = TCP, port: int = 0
) -> Decision:
    """Whether a new connection may be made.

    ``specs``: all policies, services resolved (``Parties.specs``). ``protocol``: IANA number. ``port``: the
    destination's, host byte order; for ICMP and ICMPv6 ``type << 8 | code``; 0 for protocols without ports.
    """
    if source.key is not None and source.key == destination.key:
        return FORWARDED  # a pod's traffic to itself never leaves its network namespace; Kubernetes rules it allowed
    if (refused := refused_before_policy(source, destination)) is not None:
        return Decision(refused, None, None, None)
    specs = tuple(specs)
    egress = ingress = None
    if source.place is Place.POD:
        egress = decide_side(specs, Direction.EGRESS, source, destination, protocol=protocol, port=port)
    if destination.place is Place.POD and not is_its_node(source, destination):
        source = _as_others_see(source)
        ingress = decide_side(specs, Direction.INGRESS, destination, source, protocol=protocol, port=port)
    for direction, side in ((Direction.EGRESS, egress), (Direction.INGRESS, ingress)):
        if side is not None and not side.allowed:
            return Decision(_reason(side), direction, egress, ingress)
    return Decision(Verdict.FORWARDED, None, egress, ingress)


def is_its_node(source: Party, pod: Party) -> bool:
    """From a node to its own pods is always allowed: probes must work (Kubernetes' and Cilium's rule)."""
    return source.place in (Place.HOST, Place.NODE) and source.node == pod.node


def _as_others_see(source: Party) -> Party:
    """This node's packets are a remote node's to the node that they come to."""
    if source.place is not Place.HOST:
        return source
    labels = {key: value for key, value in source.labels.items() if key != Reserved.HOST.label}
    return replace(source, labels=LabelSet({**labels, Reserved.REMOTE_NODE.label: ""}))


def refused_before_policy(source: Party, destination: Party) -> Verdict | None:
    """What the datapath refuses whatever policy says (bpf/include/policy.h); None: policy decides."""
    if source.place is Place.POD and destination.place in _NOT_FROM_PODS:
        return _NOT_FROM_PODS[destination.place]
    if destination.place in _FROM_NOBODY:
        return _FROM_NOBODY[destination.place]
    if destination.place is Place.POD and source.place in (Place.SERVICE, Place.UNASSIGNED):
        return Verdict.FORGED_HOST_SOURCE  # a pod's own packets come from its own address
    if destination.place is Place.POD and source.place is Place.UNKNOWN:
        return Verdict.UNKNOWN_SENDER
    return None


_FROM_NOBODY = {
    Place.SERVICE: Verdict.IS_A_CLUSTERIP,  # the node itself has no way there either
    Place.UNASSIGNED: Verdict.UNKNOWN_TARGET,
    Place.UNKNOWN: Verdict.UNKNOWN_TARGET,
}
_NOT_FROM_PODS = {
    Place.MULTICAST: Verdict.MULTICAST,
    Place.LOOPBACK: Verdict.INVALID_PACKET,
}
FORWARDED = Decision(Verdict.FORWARDED, None, None, None)


def decide_side(
    specs: Iterable[PolicySpec], direction: Direction, subject: Party, peer: Party, *, protocol: int, port: int
) -> Side:
    """The policies of ``subject`` about ``peer``. A named port is the destination pod's own."""
    selecting = [spec for spec in specs if selects(spec.subject, subject.labels)]
    isolated = any(direction in spec.default_deny for spec in selecting)
    destination = subject if direction is Direction.INGRESS else peer
    matching = [
        rule
        for spec in selecting
        for rule in spec.rules
        if rule.direction is direction and rule_matches(rule, peer, protocol, port, destination)
    ]
    matching.sort(key=rule_order)
    if denying := [rule for rule in matching if rule.action is Action.DENY]:
        return Side(False, denying[0], isolated)
    requests: list[tuple[Rule, HttpMatch]] = []
    for rule in matching:
        http = [wanted.http for wanted in rule.ports or () if port_matches(wanted, protocol, port, destination.ports)]
        if rule.ports is None or None in http:
            return Side(True, rule, isolated)
        requests += [(rule, match) for some in http for match in some or ()]
    if requests:
        return Side(True, requests[0][0], isolated, tuple(dict.fromkeys(requests)))
    return Side(not isolated, None, isolated)


def rule_matches(rule: Rule, peer: Party, protocol: int, port: int, destination: Party) -> bool:
    """One of the peers and one of the ports; None in their place means any, an empty list means none."""
    peer_fits = rule.peers is None or any(
        matches(selector, peer.labels, peer.address, peer.ports) for selector in rule.peers
    )
    port_fits = rule.ports is None or any(
        port_matches(wanted, protocol, port, destination.ports) for wanted in rule.ports
    )
    return peer_fits and port_fits


def rule_order(rule: Rule) -> tuple[str, str, str, int]:
    """The fixed total order (within one direction and action): kind, namespace, name, index."""
    return (rule.policy.kind, rule.policy.namespace, rule.policy.name, rule.index)


def _reason(side: Side) -> Verdict:
    return Verdict.POLICY_DENY if side.rule is not None else Verdict.POLICY_DENIED
