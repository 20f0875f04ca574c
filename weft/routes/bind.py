"""A route's references looked up: which ports of which Services it concerns, and where its requests go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from weft.model.kinds.gateway import GROUP
from weft.model.net import TCP
from weft.model.objects import NamespacedName, Service, ServicePort
from weft.model.route import BackendChoice, ClusterRef, Mirror, RouteRule
from weft.model.routespec import BackendTarget, GrantFrom, GrantSpec, Rank, RouteSpec, RuleSpec, ServiceParent

Services = Mapping[NamespacedName, Service]
Grants = Mapping[NamespacedName, GrantSpec]
H2C = "kubernetes.io/h2c"
"""appProtocol of a Service's port: HTTP/2 with prior knowledge (KEP-3726, GEP-1911)."""
OVER_TLS = ("https", "kubernetes.io/wss")


class Problem(NamedTuple):
    reason: str
    """A condition's, as the specification names it."""
    message: str


class Attachment(NamedTuple):
    """One parentRef and the ports that it stands for; without any, ``problem`` says why."""

    parent: ServiceParent
    ports: tuple[ClusterRef, ...]
    problem: Problem | None = None


class RankedRule(NamedTuple):
    """One match of a rule. ``rank``: of the match; within a route, the position breaks ties."""

    rank: Rank
    rule: RouteRule


@dataclass(frozen=True, slots=True)
class BoundRoute:
    route: RouteSpec
    attachments: tuple[Attachment, ...]
    rules: tuple[RankedRule, ...]
    problems: tuple[Problem, ...]
    """References that lead nowhere."""


def mentioned(route: RouteSpec) -> Iterator[NamespacedName]:
    """Every Service that what the route means depends on, whether it is there or not."""
    yield from (parent.service for parent in route.parents)
    for rule in route.rules:
        yield from (one.target.object for one in rule.backends)
        yield from (one.target.object for one in rule.mirrors)


def bind(route: RouteSpec, services: Services, grants: Grants) -> BoundRoute:
    lookup = _Lookup(route, services, grants)
    rules = tuple(ranked for rule in route.rules for ranked in lookup.rules(rule))
    attachments = tuple(_attach(parent, services) for parent in route.parents)
    return BoundRoute(route, attachments, rules, tuple(dict.fromkeys(lookup.problems)))


def _attach(parent: ServiceParent, services: Services) -> Attachment:
    def not_attached(why: str) -> Attachment:
        return Attachment(parent, (), Problem("NoMatchingParent", why))

    service = services.get(parent.service)
    if service is None:
        return not_attached(f"Service {parent.service} not found")
    if service.type == "ExternalName" or service.headless:
        kind = "of type ExternalName" if service.type == "ExternalName" else "headless"
        return not_attached(f"Service {parent.service} is {kind}: it has no cluster IP that clients dial")
    ports = [port for port in service.ports if port.protocol == TCP]
    if parent.port is not None:
        ports = [port for port in ports if port.port == parent.port]
    if parent.section:
        ports = [port for port in ports if port.name == parent.section]
    if not ports:
        wanted = f" {parent.port}" if parent.port else ""
        wanted += f" named {parent.section}" if parent.section else ""
        return not_attached(f"Service {parent.service} has no TCP port{wanted}")
    return Attachment(parent, tuple(ClusterRef(parent.service, port.port) for port in ports))


class _Lookup:
    def __init__(self, route: RouteSpec, services: Services, grants: Grants) -> None:
        self._route, self._services, self._grants = route, services, grants
        self._parents = {parent.service for parent in route.parents}
        self.problems: list[Problem] = []

    def rules(self, rule: RuleSpec) -> Iterator[RankedRule]:
        """One for each match."""
        ref, path = self._route.ref, ("spec", "rules", rule.index)
        if rule.unknown_ref:
            self.problems.append(Problem("InvalidKind", f"{rule.unknown_ref}: weft knows no such filter"))
        backends = tuple(
            BackendChoice(self._find(one.target), one.weight, one.request_headers, one.response_headers)
            for one in rule.backends
        )
        found = ((one, self._find(one.target)) for one in rule.mirrors)
        mirrors = tuple(
            Mirror(cluster, one.numerator, one.denominator) for one, cluster in found if cluster and one.numerator
        )
        for rank, match in rule.matches:
            made = RouteRule(ref, rule.index, rule.name, match, origin=self._route.origin, path=path)
            if not rule.unsupported:
                made = RouteRule(
                    ref,
                    rule.index,
                    rule.name,
                    match,
                    backends,
                    rule.request_headers,
                    rule.response_headers,
                    rule.redirect,
                    rule.rewrite,
                    mirrors,
                    rule.cors,
                    rule.request_timeout_ms,
                    rule.backend_timeout_ms,
                    rule.retry,
                    rule.persistence,
                    self._route.origin,
                    path,
                )
            yield RankedRule(rank, made)

    def _find(self, target: BackendTarget) -> ClusterRef | None:
        found = self._lookup(target)
        if isinstance(found, Problem):
            self.problems.append(found)
            return None
        return ClusterRef(target.object, found.port, found.app_protocol == H2C)

    def _lookup(self, target: BackendTarget) -> ServicePort | Problem:
        if (target.group, target.kind) != ("", "Service"):
            return Problem("InvalidKind", f"{target}: only Services can be backends")
        if not self._permitted(target):
            home = target.object.namespace
            return Problem("RefNotPermitted", f"{target}: no ReferenceGrant in namespace {home} permits it")
        service = self._services.get(target.object)
        if service is None:
            return Problem("BackendNotFound", f"{target}: no such Service")
        if service.type == "ExternalName":
            return Problem("UnsupportedValue", f"{target}: a Service of type ExternalName has no endpoints")
        ports = {port.protocol: port for port in service.ports if port.port == target.port}
        if TCP in ports:
            spoken = ports[TCP].app_protocol
            why = f"{target}: its appProtocol is {spoken}, and Envoy speaks no TLS to backends"
            return Problem("UnsupportedProtocol", why) if spoken in OVER_TLS else ports[TCP]
        if ports:
            return Problem("UnsupportedProtocol", f"{target}: not a TCP port")
        return Problem("BackendNotFound", f"{target}: the Service has no such port")

    def _permitted(self, target: BackendTarget) -> bool:
        """The Service that is the route's own parent needs no grant: its clients dial it anyway."""
        home = target.object.namespace
        if home == self._route.ref.namespace or target.object in self._parents:
            return True
        source = GrantFrom(GROUP, self._route.ref.kind, self._route.ref.namespace)
        return any(key.namespace == home and grant.permits(source, target) for key, grant in self._grants.items())
