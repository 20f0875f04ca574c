"""``networking.k8s.io/v1`` NetworkPolicy → PolicySpec. Source: Kubernetes' API reference of NetworkPolicySpec.

Here an empty list and an absent one are the same: ``ingress: []`` has no rules, ``from: []`` is every source,
``ports: []`` every port. A rule ``{}`` therefore allows everything, where Cilium's allows nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET

from weft.model.kinds.meta import LabelSelectorShape
from weft.model.kinds.networking import (
    NetworkPolicy,
    NetworkPolicyEgressRule,
    NetworkPolicyIngressRule,
    NetworkPolicyPeer,
    NetworkPolicySpec,
)
from weft.model.labels import K8S, NAMESPACE_KEY, NAMESPACE_LABEL_PREFIX
from weft.model.origin import Origin
from weft.model.policy import (
    Action,
    Direction,
    LabelSelector,
    Operator,
    PolicyRef,
    PolicySpec,
    Requirement,
    Rule,
    Selector,
)
from weft.policy.cidrsyntax import read_block
from weft.policy.labelsyntax import kubernetes_key, read_selector, selector_of
from weft.policy.metadata import policy_name
from weft.policy.portsyntax import kubernetes_port
from weft.policy.spot import Spot

_TYPES = {"Ingress": Direction.INGRESS, "Egress": Direction.EGRESS}
_POD_KEY = kubernetes_key(f"{K8S}:")
_NAMESPACE_KEY = kubernetes_key(NAMESPACE_LABEL_PREFIX)


def translate(document: NetworkPolicy, origin: Origin, namespace: str = "default") -> tuple[PolicySpec, ...]:
    """Always one PolicySpec. ``namespace``: where a policy without metadata.namespace lives. Raises ManifestError.

    Rules of a direction that policyTypes leaves out have no effect in Kubernetes; nor here (the linter warns).
    """
    spot = Spot(origin)
    ref = PolicyRef("NetworkPolicy", document.metadata.namespace or namespace, policy_name(document.metadata, spot))
    here = spot.at("spec")
    rules = tuple(_rules(document.spec, ref, here))
    isolated = _directions(document.spec, here)
    subject = _pods(document.spec.pod_selector, ref.namespace, here.at("podSelector"))
    in_force = tuple(rule for rule in rules if rule.direction in isolated)
    return (PolicySpec(ref, subject, isolated, in_force, origin, here.path),)


def _directions(spec: NetworkPolicySpec, spot: Spot) -> frozenset[Direction]:
    """policyTypes; without it Ingress, and Egress if there are egress rules."""
    for index, name in enumerate(spec.policy_types):
        if name not in _TYPES:
            raise spot.at("policyTypes", index).unknown("policy type", name, _TYPES)
    if spec.policy_types:
        return frozenset(_TYPES[name] for name in spec.policy_types)
    return frozenset(_TYPES.values()) if spec.egress else frozenset({Direction.INGRESS})


def _rules(spec: NetworkPolicySpec, ref: PolicyRef, spot: Spot) -> Iterator[Rule]:
    for index, ingress in enumerate(spec.ingress):
        yield _rule(ingress, ref, index, spot.at("ingress", index))
    for index, egress in enumerate(spec.egress):
        yield _rule(egress, ref, index, spot.at("egress", index))


def _rule(written: NetworkPolicyIngressRule | NetworkPolicyEgressRule, ref: PolicyRef, index: int, spot: Spot) -> Rule:
    incoming = isinstance(written, NetworkPolicyIngressRule)
    peers = written.from_ if isinstance(written, NetworkPolicyIngressRule) else written.to
    peer_spots = [spot.at("from" if incoming else "to", position) for position in range(len(peers))]
    port_spots = [spot.at("ports", position) for position in range(len(written.ports))]
    selectors = tuple(_peer(peer, ref.namespace, at) for peer, at in zip(peers, peer_spots, strict=True))
    ports = tuple(kubernetes_port(port, at) for port, at in zip(written.ports, port_spots, strict=True))
    return Rule(
        ref,
        Direction.INGRESS if incoming else Direction.EGRESS,
        Action.ALLOW,
        index,
        selectors or None,
        ports or None,
        spot.origin,
        spot.path,
        tuple(at.path for at in peer_spots),
        tuple(at.path for at in port_spots),
    )


def _peer(peer: NetworkPolicyPeer, namespace: str, spot: Spot) -> Selector:
    if peer.ip_block is not UNSET:
        if peer.pod_selector is not UNSET or peer.namespace_selector is not UNSET:
            raise spot.error("ipBlock and a selector in one peer", "make them two peers")
        here = spot.at("ipBlock")
        return read_block(peer.ip_block.cidr, peer.ip_block.except_, here, covers_pods=True, strictly=True)
    if peer.pod_selector is UNSET and peer.namespace_selector is UNSET:
        raise spot.error("an empty peer", "expected podSelector, namespaceSelector or ipBlock")
    pods = LabelSelectorShape() if peer.pod_selector is UNSET else peer.pod_selector
    if peer.namespace_selector is UNSET:
        return _pods(pods, namespace, spot.at("podSelector"))
    here = spot.at("namespaceSelector")
    requirements = read_selector(peer.namespace_selector, here, _NAMESPACE_KEY)
    requirements += read_selector(pods, spot.at("podSelector"), _POD_KEY)
    return selector_of([*requirements, Requirement(NAMESPACE_KEY, Operator.EXISTS, (), here.path)])


def _pods(shape: LabelSelectorShape, namespace: str, spot: Spot) -> LabelSelector:
    """Pods of one namespace."""
    requirements = read_selector(shape, spot, _POD_KEY)
    return selector_of([*requirements, Requirement(NAMESPACE_KEY, Operator.IN, (namespace,), spot.path)])
