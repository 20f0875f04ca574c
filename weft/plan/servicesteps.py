"""Services change without a moment in which one points at a list that is missing or short."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.model.desired import Backend, BackendKey, BumpRevision, Desired, MemberKey, ServiceEntry, Write
from weft.plan.moves import different

Lists = Mapping[int, tuple[Backend, ...]]


class ServiceSteps:
    """``prepare``, ``switch``, ``forget``, in this order; whatever else happens in between."""

    def __init__(self, kernel: Desired, desired: Desired) -> None:
        self._kernel, self._desired = kernel, desired
        self._changed = different(kernel.services, desired.services)
        lists = different(kernel.backends, desired.backends)
        self._gone = [number for number in lists if number not in desired.backends]
        self._come = [number for number in lists if number not in self._kernel.backends]
        self._edited = set(lists).difference(self._gone, self._come)
        touched = {*lists, *(kernel.member_lists ^ desired.member_lists)}
        old, new = _members(kernel, touched), _members(desired, touched)
        self._new_members = dict.fromkeys(new - old, True)
        self._old_members = tuple(sorted(old - new))
        routes = different(kernel.routes, desired.routes)
        self._new_routes = {key: desired.routes[key] for key in routes if key in desired.routes}
        self._old_routes = tuple(key for key in routes if key not in desired.routes)
        before, after = kernel.services, desired.services
        self._routed = [key for key in self._changed if _route_of(before.get(key)) != _route_of(after.get(key))]

    def bump(self) -> BumpRevision | None:
        """Open connections to a service are decided again when what routes them is another listener, or none."""
        changed = {key for key, listener in self._new_routes.items() if key in self._kernel.routes}
        services = {key.service for key in (*changed, *self._old_routes)}
        services |= {entry.id for key in self._routed for entry in (self._kernel.services.get(key),) if entry}
        return BumpRevision(f"changed: routes of {len(services)} service ports") if services else None

    def prepare(self) -> Iterator[Write]:
        """New routes and new lists, so that services find them when they are switched. A list whose number meant
        something else (never, if the numbering was kept) has its services refuse until then."""
        if self._new_routes:
            yield Write("routes", self._new_routes)
        users = {key: entry for key, entry in self._kernel.services.items() if entry.backends in self._edited}
        if used := {key: entry._replace(backend_count=0) for key, entry in users.items() if entry.backend_count}:
            yield Write("services", used)
            self._changed = list({**dict.fromkeys(self._changed), **dict.fromkeys(used)})
        slots = {}
        extra: list[BackendKey] = []
        for number in (*self._come, *sorted(self._edited)):
            before, after = self._kernel.backends.get(number, ()), self._desired.backends[number]
            slots.update({BackendKey(number, slot): backend for slot, backend in enumerate(after)})
            extra += [BackendKey(number, slot) for slot in range(len(after), len(before))]
        if slots or extra:
            yield Write("backends", slots, tuple(extra))
        if self._new_members:
            yield Write("backend_members", self._new_members)

    def switch(self) -> Iterator[Write]:
        desired = self._desired.services
        puts = {key: desired[key] for key in self._changed if key in desired}
        deletes = tuple(key for key in self._changed if key not in desired)
        if puts or deletes:
            yield Write("services", puts, deletes)

    def forget(self) -> Iterator[Write]:
        slots = [BackendKey(n, slot) for n in self._gone for slot in range(len(self._kernel.backends[n]))]
        if slots:
            yield Write("backends", {}, tuple(slots))
        if self._old_members:
            yield Write("backend_members", {}, self._old_members)
        if self._old_routes:
            yield Write("routes", {}, self._old_routes)


def _route_of(entry: ServiceEntry | None) -> int | None:
    """The number under which a service's routes are found, None if it has none."""
    return entry.id if entry is not None and entry.routed else None


def _members(maps: Desired, numbers: set[int]) -> set[MemberKey]:
    """Of these lists, as far as they are looked into."""
    found = numbers & maps.member_lists
    return {MemberKey(number, *each) for number in found for each in maps.backends.get(number, ())}
