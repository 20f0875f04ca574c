"""CiliumNetworkPolicy and CiliumClusterwideNetworkPolicy → PolicySpec.

Semantics are Cilium's: its documentation ("Layer 3/4 Policies", "Layer 7 Policies", "Deny Policies", "Using Kubernetes
Constructs in Policy") and the comments of its API types. What an empty list means there is easy to get wrong, so here
it is whole:

=============================  =======================================================================================
``ingress`` absent or ``[]``   no rules; the direction is not default-deny
``ingress: [{}]``              default-deny, and nothing is allowed
``fromEndpoints: []`` (any     no peer: the rule allows or denies nothing
peer list)
``fromEndpoints: [{}]``        every pod of the policy's namespace (CNP), every pod (CCNP); never the world
no peer list, with ``toPorts`` every peer
``toPorts: []``, ``[{}]``      refused here: to Cilium the one means every port and the other none
``rules: {}``, ``http: []``    the whole port
``http: [{}]``                 every HTTP request, and nothing that is not HTTP
=============================  =======================================================================================
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from msgspec import UNSET

from weft.model.kinds.cilium import CiliumNetworkPolicy, CiliumRule, EgressRule, IngressRule
from weft.model.kinds.meta import LabelSelectorShape
from weft.model.labels import NAMESPACE_KEY, RESERVED
from weft.model.origin import Origin
from weft.model.policy import Action, Direction, LabelSelector, Operator, PolicyRef, PolicySpec, Requirement, Rule
from weft.policy.cnppeers import NAMESPACE_KEYS, Scope, peers_of
from weft.policy.cnpports import ports_of
from weft.policy.labelsyntax import cilium_key, read_selector, selector_of
from weft.policy.later import refuse_later
from weft.policy.metadata import policy_name
from weft.policy.spot import Spot

CLUSTERWIDE = "CiliumClusterwideNetworkPolicy"
Kind = tuple[Direction, Action]
_LISTS: dict[str, Kind] = {
    "ingress": (Direction.INGRESS, Action.ALLOW),
    "ingressDeny": (Direction.INGRESS, Action.DENY),
    "egress": (Direction.EGRESS, Action.ALLOW),
    "egressDeny": (Direction.EGRESS, Action.DENY),
}


def translate(
    document: CiliumNetworkPolicy, origin: Origin, namespace: str = "default", cluster: str = "default"
) -> tuple[PolicySpec, ...]:
    """One PolicySpec for ``spec`` and for each of ``specs``. Raises ManifestError for what Cilium refuses too.

    ``namespace``: where a CNP without metadata.namespace lives. ``cluster``: this cluster's name, for the entity of
    that name.
    """
    spot = Spot(origin)
    scope = Scope(_reference(document, namespace, spot), cluster)
    counts: Counter[Kind] = Counter()
    specs = tuple(_spec(rule, scope, spot.at(*at), counts) for at, rule in _rules(document))
    if not specs:
        raise spot.error("a policy needs spec or specs")
    return specs


def _rules(document: CiliumNetworkPolicy) -> Iterator[tuple[tuple[str | int, ...], CiliumRule]]:
    if document.spec is not UNSET:
        yield ("spec",), document.spec
    if document.specs is not UNSET:
        for index, rule in enumerate(document.specs):
            yield ("specs", index), rule


def _reference(document: CiliumNetworkPolicy, namespace: str, spot: Spot) -> PolicyRef:
    name = policy_name(document.metadata, spot)
    if document.kind != CLUSTERWIDE:
        return PolicyRef(document.kind, document.metadata.namespace or namespace, name)
    if document.metadata.namespace:
        raise spot.at("metadata", "namespace").error(
            "a clusterwide policy has no namespace", "leave it out, or make it a CiliumNetworkPolicy"
        )
    return PolicyRef(document.kind, "", name)


def _spec(written: CiliumRule, scope: Scope, spot: Spot, counts: Counter[Kind]) -> PolicySpec:
    refuse_later(written, spot)
    if written.endpoint_selector is UNSET:
        raise spot.error("endpointSelector is missing", "write endpointSelector: {} to select every pod")
    rules: list[Rule] = []
    for name, kind in _LISTS.items():
        for index, element in enumerate(_elements(written, name)):
            rules.append(_rule(element, kind, counts[kind], scope, spot.at(name, index)))
            counts[kind] += 1
    if not rules:
        raise spot.error(
            "a rule needs at least one of ingress, ingressDeny, egress, egressDeny",
            "write ingress: [{}] to make the selected pods default-deny",
        )
    subject = _subject(written.endpoint_selector, scope, spot.at("endpointSelector"))
    return PolicySpec(scope.ref, subject, _default_deny(written, rules), tuple(rules), spot.origin, spot.path)


def _elements(written: CiliumRule, name: str) -> tuple[IngressRule | EgressRule, ...]:
    lists: dict[str, tuple[IngressRule | EgressRule, ...]] = {
        "ingress": written.ingress or (),
        "ingressDeny": written.ingress_deny or (),
        "egress": written.egress or (),
        "egressDeny": written.egress_deny or (),
    }
    return lists[name]


def _default_deny(written: CiliumRule, rules: list[Rule]) -> frozenset[Direction]:
    """Directions that have rules, unless enableDefaultDeny says otherwise."""
    asked = {
        Direction.INGRESS: written.enable_default_deny.ingress,
        Direction.EGRESS: written.enable_default_deny.egress,
    }
    with_rules = {rule.direction for rule in rules}
    return frozenset(
        direction for direction, wanted in asked.items() if (direction in with_rules if wanted is UNSET else wanted)
    )


def _subject(written: LabelSelectorShape, scope: Scope, spot: Spot) -> LabelSelector:
    requirements = read_selector(written, spot, cilium_key)
    for requirement in requirements:
        if requirement.key.startswith(RESERVED + ":"):
            raise Spot(spot.origin, requirement.field_path).error(
                f"{requirement.key} selects no pod; policy for nodes and other entities is not enforced yet",
                "select pods by their labels",
            )
        elsewhere = requirement.operator is Operator.IN and scope.namespace not in requirement.values
        if scope.namespace and requirement.key in NAMESPACE_KEYS and elsewhere:
            raise Spot(spot.origin, requirement.field_path).error(
                f"a CiliumNetworkPolicy selects pods of its own namespace, {scope.namespace}, and of no other",
                f"leave it out, or move the policy to {requirement.values[0]}",
            )
    if scope.namespace:
        requirements.append(Requirement(NAMESPACE_KEY, Operator.IN, (scope.namespace,), spot.path))
    return selector_of(requirements)


def _rule(written: IngressRule | EgressRule, kind: Kind, index: int, scope: Scope, spot: Spot) -> Rule:
    direction, action = kind
    if action is Action.DENY and written.authentication is not UNSET:
        raise spot.at("authentication").error("a deny rule cannot ask for authentication", "leave it out")
    refuse_later(written, spot)
    if action is Action.DENY and not _has_content(written):
        everybody = "fromEntities: [all]" if direction is Direction.INGRESS else "toEntities: [all]"
        raise spot.error("an empty deny rule denies nothing", f"write {everybody} to deny everything")
    ports, port_paths = ports_of(written, spot, action)
    peers, peer_paths = peers_of(written, scope, spot, with_ports=ports is not None)
    return Rule(scope.ref, direction, action, index, peers, ports, spot.origin, spot.path, peer_paths, port_paths)


def _has_content(written: IngressRule | EgressRule) -> bool:
    return any(getattr(written, name) is not UNSET for name in written.__struct_fields__)
