"""fromEndpoints, fromEntities, fromCIDR, ... of a Cilium rule → selectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from msgspec import UNSET

from weft.model.kinds.cilium import CidrRule, EgressRule, IngressRule, ServiceReference
from weft.model.kinds.meta import LabelSelectorShape
from weft.model.labels import ANY, K8S, NAMESPACE_KEY, NAMESPACE_LABEL_PREFIX, RESERVED
from weft.model.net import Prefix
from weft.model.origin import FieldPath
from weft.model.policy import CidrSelector, LabelSelector, Operator, PolicyRef, Requirement, Selector, ServiceSelector
from weft.policy.cidrsyntax import read_block, read_network
from weft.policy.entities import entity_selectors
from weft.policy.labelsyntax import cilium_key, read_selector, selector_of
from weft.policy.later import refuse_later
from weft.policy.spot import Spot

NAMESPACE_KEYS = (NAMESPACE_KEY, NAMESPACE_KEY.replace(K8S, ANY, 1))
_NAMESPACE_LABELS = (NAMESPACE_LABEL_PREFIX, NAMESPACE_LABEL_PREFIX.replace(K8S, ANY, 1))
_POSITIVE = (Operator.IN, Operator.EXISTS)

Found = Iterator[tuple[Selector, FieldPath]]
Peers = tuple[tuple[Selector, ...] | None, tuple[FieldPath, ...]]


class Scope(NamedTuple):
    """Which policy a rule belongs to, and what its words are relative to."""

    ref: PolicyRef
    cluster: str

    @property
    def namespace(self) -> str:
        """Empty for a clusterwide policy."""
        return self.ref.namespace


def peers_of(written: IngressRule | EgressRule, scope: Scope, spot: Spot, *, with_ports: bool) -> Peers:
    """The rule's peers and where each was written; None = every peer, () = none at all."""
    lists = _lists(written)
    if len(lists) > 1:
        first, second = list(lists)[:2]
        raise spot.at(second).error(
            f"{first} and {second} in one rule", "give each a rule of its own: their peers then add up, as Cilium asks"
        )
    if not lists:
        return (None if with_ports else ()), ()
    (name, elements), *_ = lists.items()
    if name == "toServices" and with_ports:
        raise spot.at("toServices").error(
            "toServices and toPorts in one rule",
            "leave toPorts out, or select the pods with toEndpoints, as Cilium asks",
        )
    found: dict[Selector, FieldPath] = {}
    for index, element in enumerate(elements):
        here = spot.at(name, index)
        if element == "all" and name in ("fromEntities", "toEntities"):
            return None, ()
        for selector, path in _selectors(element, scope, here):
            found.setdefault(selector, path)
    return tuple(found), tuple(found.values())


def _lists(written: IngressRule | EgressRule) -> dict[str, tuple[object, ...]]:
    """The peer lists that are there, empty ones included, by their names in the manifest."""
    names = zip(written.__struct_fields__, written.__struct_encode_fields__, strict=True)
    peers = ((name, getattr(written, attribute)) for attribute, name in names if name not in ("toPorts", "icmps"))
    return {name: value for name, value in peers if value is not UNSET}


def _selectors(element: object, scope: Scope, spot: Spot) -> Found:
    match element:
        case LabelSelectorShape():
            yield _endpoints(element, scope, spot), spot.path
        case CidrRule():
            yield _cidr_rule(element, spot), spot.path
        case ServiceReference():
            yield _service(element, spot), spot.path
        case str() if spot.path[-2] in ("fromCIDR", "toCIDR"):
            yield CidrSelector(Prefix.of(read_network(element, spot, bare_address=True))), spot.path
        case str():
            for selector in entity_selectors(element, scope.cluster, spot) or ():
                yield selector, spot.path


def _endpoints(shape: LabelSelectorShape, scope: Scope, spot: Spot) -> LabelSelector:
    """Pods, unless a ``reserved:`` label is asked for. Without a namespace or its labels: those of the policy's own.

    A namespace requirement that only excludes (NotIn, DoesNotExist) would hold for nodes and the world too, which have
    no namespace; an endpoint is a pod, so it must have one.
    """
    requirements = read_selector(shape, spot, cilium_key)
    if any(one.key.startswith(RESERVED + ":") for one in requirements):
        return selector_of(requirements)
    about_namespace = [one for one in requirements if _speaks_of_namespace(one.key, scope)]
    if not about_namespace and scope.namespace:
        requirements.append(Requirement(NAMESPACE_KEY, Operator.IN, (scope.namespace,), spot.path))
    elif not any(one.operator in _POSITIVE for one in about_namespace):
        requirements.append(Requirement(NAMESPACE_KEY, Operator.EXISTS, (), spot.path))
    return selector_of(requirements)


def _speaks_of_namespace(key: str, scope: Scope) -> bool:
    return key in NAMESPACE_KEYS or (bool(scope.namespace) and key.startswith(_NAMESPACE_LABELS))


def _cidr_rule(written: CidrRule, spot: Spot) -> CidrSelector:
    refuse_later(written, spot)
    if written.cidr is UNSET:
        raise spot.error("cidr is missing", "write the block, such as cidr: 10.0.0.0/8")
    return read_block(written.cidr, written.except_, spot)


def _service(written: ServiceReference, spot: Spot) -> ServiceSelector:
    by_name, by_labels = written.k8s_service, written.k8s_service_selector
    if by_name is not UNSET and by_labels is UNSET:
        return ServiceSelector(by_name.namespace, name=by_name.service_name)
    if by_labels is not UNSET and by_name is UNSET:
        here = spot.at("k8sServiceSelector", "selector")
        labels = _service_labels(read_selector(by_labels.selector, here, cilium_key))
        return ServiceSelector(by_labels.namespace, labels=selector_of(labels))
    raise spot.error("expected exactly one of k8sService and k8sServiceSelector")


def _service_labels(requirements: Iterable[Requirement]) -> Iterator[Requirement]:
    """Services have one kind of labels only: the source plays no part."""
    for one in requirements:
        bare = one.key.partition(":")[2]
        yield Requirement(f"{K8S}:{bare}", one.operator, one.values, one.field_path)
