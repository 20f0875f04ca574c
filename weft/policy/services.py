"""toServices becomes what the services are: the pods they select, or the addresses that somebody wrote down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from weft.model.labels import K8S, NAMESPACE_KEY, LabelSet
from weft.model.net import Prefix
from weft.model.objects import EndpointSlice, NamespacedName, Service
from weft.model.origin import FieldPath
from weft.model.policy import (
    CidrSelector,
    LabelSelector,
    Operator,
    PolicySpec,
    Requirement,
    Rule,
    Selector,
    ServiceSelector,
)
from weft.policy.select import selects

Services = Mapping[NamespacedName, Service]
Slices = Mapping[NamespacedName, EndpointSlice]


def resolve(spec: PolicySpec, services: Services, slices: Slices) -> PolicySpec:
    """``spec`` without service selectors. One that finds nothing becomes no peer at all, never every peer."""
    if not any(_speaks_of_services(rule) for rule in spec.rules):
        return spec
    return replace(spec, rules=tuple(_resolve_rule(rule, services, slices) for rule in spec.rules))


def _speaks_of_services(rule: Rule) -> bool:
    return any(isinstance(peer, ServiceSelector) for peer in rule.peers or ())


def _resolve_rule(rule: Rule, services: Services, slices: Slices) -> Rule:
    if rule.peers is None or not _speaks_of_services(rule):
        return rule
    paths = rule.peer_paths or (rule.path,) * len(rule.peers)
    found = {
        peer: path
        for selector, path in zip(rule.peers, paths, strict=True)
        for peer in (_peers(selector, path, services, slices) if isinstance(selector, ServiceSelector) else (selector,))
    }
    return replace(rule, peers=tuple(found), peer_paths=tuple(found.values()))


def _peers(selector: ServiceSelector, path: FieldPath, services: Services, slices: Slices) -> Iterator[Selector]:
    for key in sorted(services):
        service = services[key]
        if not means(selector, service):
            continue
        if service.selector:
            yield _pods_of(service, path)
        else:
            yield from _written_down(service, slices)


def means(selector: ServiceSelector, service: Service) -> bool:
    """Whether a toServices entry names this service. An ExternalName service has no backends of its own."""
    if service.type == "ExternalName" or selector.namespace not in ("", service.key.namespace):
        return False
    if selector.labels is None:
        return service.key.name == selector.name
    labels = LabelSet((f"{K8S}:{key}", value) for key, value in service.labels.items())
    return not selector.labels.requirements or selects(selector.labels, labels)


def _pods_of(service: Service, path: FieldPath) -> LabelSelector:
    wanted = {NAMESPACE_KEY: service.key.namespace} | {f"{K8S}:{key}": value for key, value in service.selector.items()}
    requirements = [Requirement(key, Operator.IN, (value,), path) for key, value in wanted.items()]
    return LabelSelector(tuple(sorted(requirements, key=lambda requirement: requirement.key)))


def _written_down(service: Service, slices: Slices) -> Iterator[CidrSelector]:
    addresses = {
        address
        for slice_ in slices.values()
        if (slice_.key.namespace, slice_.service) == (service.key.namespace, service.key.name)
        for endpoint in slice_.endpoints
        for address in endpoint.addresses
    }
    for prefix in sorted(Prefix.host(address) for address in addresses):
        yield CidrSelector(prefix)
