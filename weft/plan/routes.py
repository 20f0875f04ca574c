"""Routes → map ``routes``, the tables that listeners enforce, and the endpoints that they choose from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from weft.model.desired import RouteKey
from weft.model.objects import NamespacedName
from weft.model.route import ClusterEndpoint, ClusterRef, RouteRef, RouteTable
from weft.model.world import World
from weft.plan.listeners import Listeners, routes_key
from weft.plan.scopes import Scopes
from weft.plan.services import Services
from weft.routes.book import EVERYONE, RouteBook, RouteOutcome


class _Held(NamedTuple):
    """A table and the number of its listener."""

    table: RouteTable
    number: int


class Routes:
    """``routes``, ``clusters`` and ``outcomes`` of the last world given to ``attach``; replaced, not edited."""

    def __init__(self, listeners: Listeners, scopes: Scopes) -> None:
        self._listeners, self._scopes = listeners, scopes
        self._book = RouteBook()
        self._changed = False
        self._held: dict[tuple[ClusterRef, str], _Held] = {}
        self._keys: dict[ClusterRef, list[RouteKey]] = {}
        self._needed: frozenset[ClusterRef] = frozenset()
        self.routed: frozenset[ClusterRef] = frozenset()
        """Ports that some route concerns."""
        self.routes: Mapping[RouteKey, int] = {}
        self.clusters: Mapping[ClusterRef, tuple[ClusterEndpoint, ...]] = {}

    @property
    def outcomes(self) -> Mapping[RouteRef, RouteOutcome]:
        return self._book.outcomes

    def attach(self, world: World) -> frozenset[ClusterRef]:
        """Which ports are routed. To be followed by ``update``, once the services are up to date."""
        before = self._book.tables
        self._book.update(world.routes, world.services, world.grants)
        if self._book.tables is not before:
            self._changed = True
            self.routed = frozenset(self._book.tables)
        return self.routed

    def update(self, services: Services, stale: set[NamespacedName]) -> None:
        """``stale``: Services whose numbers or backends may be other ones now."""
        ports = {port for port in self.routed if port.service in stale}
        if self._changed:
            ports |= self._hold()
            self._needed = frozenset(_mentioned(self._book.tables))
        if ports:
            self._enter(services, ports)
        if self._changed or any(port.service in stale for port in self._needed):
            self._follow(services, stale)
        self._changed = False

    def _hold(self) -> set[ClusterRef]:
        """Numbers for the tables, in an order that does not depend on how the world came about. Returns the ports
        whose tables are other ones now."""
        tables = {(port, scope): table for port, some in self._book.tables.items() for scope, table in some.items()}
        gone = {key: held for key, held in self._held.items() if tables.get(key) is not held.table}
        come = [key for key, table in tables.items() if key not in self._held or key in gone]
        for key in sorted(come, key=lambda key: routes_key(key[0], key[1], tables[key])):
            self._held[key] = _Held(tables[key], self._listeners.of_routes(*key, tables[key]))
        for _, number in gone.values():
            self._listeners.release(number)
        for key in gone.keys() - tables.keys():
            del self._held[key]
        self._scopes.replace({scope for _, scope in self._held if scope != EVERYONE})
        return {port for port, _ in (*gone, *come)}

    def _enter(self, services: Services, ports: set[ClusterRef]) -> None:
        routes = dict(self.routes)
        for port in ports:
            for key in self._keys.pop(port, ()):
                del routes[key]
        for port in ports & self.routed:
            ids = services.ids(port)
            for scope in self._book.tables[port]:
                number = 0 if scope == EVERYONE else self._scopes.number(scope)
                made = [RouteKey(id_, number) for id_ in ids]
                routes.update(dict.fromkeys(made, self._held[port, scope].number))
                self._keys.setdefault(port, []).extend(made)
        if routes != self.routes:
            self.routes = routes

    def _follow(self, services: Services, stale: set[NamespacedName]) -> None:
        clusters = {}
        for port in self._needed:
            known = None if port.service in stale else self.clusters.get(port)
            clusters[port] = services.endpoints(port) if known is None else known
        if clusters != self.clusters:
            self.clusters = clusters


def _mentioned(tables: Mapping[ClusterRef, Mapping[str, RouteTable]]) -> Iterator[ClusterRef]:
    """Every cluster that some table sends requests to, and the routed ports themselves."""
    for port, scopes in tables.items():
        yield port
        for table in scopes.values():
            for rule in table.rules:
                yield from (one.cluster for one in rule.backends if one.cluster)
                yield from (one.cluster for one in rule.mirrors)
