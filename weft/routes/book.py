"""All routes of a world, kept up to date: a table for each routed port and scope, and how each route fared.

Only routes that changed, that mention a Service that changed, or that need a grant while grants changed are bound
again; only the tables of ports that they concern are made again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from weft.model.objects import NamespacedName, Service
from weft.model.route import ClusterRef, RouteRef, RouteRule, RouteTable
from weft.model.routespec import GrantSpec, RouteSpec
from weft.routes.bind import BoundRoute, Problem, bind, mentioned
from weft.routes.order import tie_break

EVERYONE = ""
"""The scope of producer routes; the others are namespaces."""


class RouteOutcome(NamedTuple):
    """What a route's status says, before it is spelled out."""

    parents: tuple[tuple[int, Problem | None], ...]
    """Position in spec.parentRefs of each Service, and why the route is not accepted there."""
    problems: tuple[Problem, ...]
    """References that lead nowhere."""
    unsupported: Mapping[int, str]
    """By position in spec.rules."""
    rules: int
    """How many there are."""


class RouteBook:
    """``tables``: by port, then by scope; ``outcomes``: of every route. Both are replaced, not edited."""

    def __init__(self) -> None:
        self._routes: Mapping[RouteRef, RouteSpec] = {}
        self._grants: Mapping[NamespacedName, GrantSpec] = {}
        self._seen: dict[NamespacedName, Service | None] = {}
        self._users: dict[NamespacedName, set[RouteRef]] = {}
        self._bound: dict[RouteRef, BoundRoute] = {}
        self._groups: dict[ClusterRef, dict[RouteRef, BoundRoute]] = {}
        self.tables: Mapping[ClusterRef, Mapping[str, RouteTable]] = {}
        self.outcomes: Mapping[RouteRef, RouteOutcome] = {}

    def update(
        self,
        routes: Mapping[RouteRef, RouteSpec],
        services: Mapping[NamespacedName, Service],
        grants: Mapping[NamespacedName, GrantSpec],
    ) -> bool:
        """Whether tables or outcomes are other ones now."""
        stale = self._stale(routes, services, grants)
        self._routes, self._grants = routes, grants
        if not stale:
            return False
        ports: set[ClusterRef] = set()
        for ref in stale:
            ports |= self._forget(ref)
            if ref in routes:
                ports |= self._enter(bind(routes[ref], services, grants))
        self._seen = {name: services.get(name) for name in self._users}
        self._tabulate(ports)
        concerned = stale.union(*(self._groups.get(port, ()) for port in ports))
        outcomes = {ref: known for ref, known in self.outcomes.items() if ref in routes}
        outcomes.update((ref, self._outcome(self._bound[ref])) for ref in concerned if ref in routes)
        self.outcomes = outcomes
        return True

    def _stale(
        self,
        routes: Mapping[RouteRef, RouteSpec],
        services: Mapping[NamespacedName, Service],
        grants: Mapping[NamespacedName, GrantSpec],
    ) -> set[RouteRef]:
        stale: set[RouteRef] = set()
        if routes is not self._routes:
            stale |= {ref for ref, route in routes.items() if self._routes.get(ref) is not route}
            stale |= self._routes.keys() - routes.keys()
        for name, service in self._seen.items():
            if services.get(name) is not service:
                stale |= self._users[name]
        if grants is not self._grants:
            stale |= {ref for ref, bound in self._bound.items() if _crosses(bound.route)}
        return stale

    def _enter(self, bound: BoundRoute) -> set[ClusterRef]:
        ref = bound.route.ref
        self._bound[ref] = bound
        for name in mentioned(bound.route):
            self._users.setdefault(name, set()).add(ref)
        ports = {port for attachment in bound.attachments for port in attachment.ports}
        for port in ports:
            self._groups.setdefault(port, {})[ref] = bound
        return ports

    def _forget(self, ref: RouteRef) -> set[ClusterRef]:
        bound = self._bound.pop(ref, None)
        if bound is None:
            return set()
        for name in set(mentioned(bound.route)):
            self._users[name].discard(ref)
            if not self._users[name]:
                del self._users[name]
        ports = {port for attachment in bound.attachments for port in attachment.ports}
        for port in ports:
            del self._groups[port][ref]
            if not self._groups[port]:
                del self._groups[port]
        return ports

    def _tabulate(self, ports: Iterable[ClusterRef]) -> None:
        if not ports:
            return
        tables = dict(self.tables)
        for port in ports:
            if port in self._groups:
                tables[port] = dict(self._tables_of(port))
            else:
                tables.pop(port, None)
        self.tables = tables

    def _tables_of(self, port: ClusterRef) -> Iterator[tuple[str, RouteTable]]:
        scopes: dict[str, list[BoundRoute]] = {EVERYONE: []}
        for bound in self._groups[port].values():
            if not self._conflicts(bound, port):
                scopes.setdefault(bound.route.scope(port.service), []).append(bound)
        for scope, routes in scopes.items():
            yield scope, RouteTable(port, merge(routes))

    def _conflicts(self, bound: BoundRoute, port: ClusterRef) -> bool:
        """GEP-1294: where routes of several kinds meet on a port, those of GRPCRoute count and the others do not."""
        if bound.route.is_grpc:
            return False
        scope = bound.route.scope(port.service)
        others = (other.route for other in self._groups[port].values())
        return any(other.is_grpc and other.scope(port.service) == scope for other in others)

    def _outcome(self, bound: BoundRoute) -> RouteOutcome:
        parents = []
        for parent, ports, problem in bound.attachments:
            found = problem
            if found is None and all(self._conflicts(bound, port) for port in ports):
                found = Problem("Conflicted", f"a GRPCRoute has the ports of Service {parent.service}")
            parents.append((parent.position, found))
        unsupported = {rule.index: rule.unsupported for rule in bound.route.rules if rule.unsupported}
        return RouteOutcome(tuple(parents), bound.problems, unsupported, len(bound.route.rules))


def merge(routes: Iterable[BoundRoute]) -> tuple[RouteRule, ...]:
    """The rules of routes of one kind in the order in which they are to be looked at."""
    ranked = [
        ((rank, tie_break(bound.route), rule.rule, position), rule)
        for bound in routes
        for position, (rank, rule) in enumerate(bound.rules)
    ]
    return tuple(rule for _, rule in sorted(ranked, key=lambda each: each[0]))


def _crosses(route: RouteSpec) -> bool:
    return any(name.namespace != route.ref.namespace for name in mentioned(route))
