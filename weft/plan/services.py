"""Services → the content of maps ``services``, ``backends`` and ``backend_members``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from weft.model.desired import Backend, ServiceEntry, ServiceKey
from weft.model.net import TCP, UDP, to_wide
from weft.model.objects import EndpointSlice, NamespacedName, NodeConfig, Service, ServicePort, Workload
from weft.model.route import ClusterEndpoint, ClusterRef
from weft.model.world import World
from weft.plan.backends import Candidate, chosen, cluster_endpoints, kernel_backends, pod_candidates, slice_candidates
from weft.plan.diff import Changes, Edition, changes
from weft.plan.numbering import NumberSpace
from weft.policy.digests import digest

Label = tuple[str, str, str]
"""Namespace, key, value."""


class Frontend(NamedTuple):
    """One address and port of a service, before it has numbers."""

    key: ServiceKey
    id_digest: bytes
    list_digest: bytes
    """Empty for an empty list."""
    backends: tuple[Backend, ...]
    affinity_seconds: int
    routed: bool


class Services:
    """``services``, ``backends`` and ``member_lists`` of the last world given to ``update``; replaced, not edited."""

    def __init__(self, lists: NumberSpace, ids: NumberSpace) -> None:
        self._lists, self._ids = _Shared(lists), _Shared(ids)
        self._searched: Counter[bytes] = Counter()
        """Lists in which backends are looked up, and how many use them so."""
        self._world: World | None = None
        self._routed: frozenset[ClusterRef] = frozenset()
        self._watching: dict[Label, set[NamespacedName]] = {}
        self._pods: dict[Label, dict[NamespacedName, Workload]] = {}
        self._slices: dict[NamespacedName, dict[NamespacedName, EndpointSlice]] = {}
        self._frontends: dict[NamespacedName, list[Frontend]] = {}
        self._zones: Mapping[str, str] = {}
        self._here: NodeConfig | None = None
        self.services: Mapping[ServiceKey, ServiceEntry] = {}
        self.backends: Mapping[int, tuple[Backend, ...]] = {}
        self.member_lists: frozenset[int] = frozenset()

    def update(
        self,
        world: World,
        pods: Changes[NamespacedName, Workload],
        routed: frozenset[ClusterRef] = frozenset(),
    ) -> set[NamespacedName]:
        """``pods``: what has changed among the workloads since the world before; ``routed``: ports with routes.

        Returns the services of which anything may have changed, their pods and slices included.
        """
        before = self._world or World(world.node)
        self._world = world
        stale = self._note_services(changes(before.services, world.services), before)
        stale |= self._note_places(world, before)
        stale |= self._note_pods(pods)
        stale |= self._note_slices(changes(before.slices, world.slices))
        stale |= {port.service for port in routed ^ self._routed}
        self._routed = routed
        stale = {key for key in stale if key in world.services or key in self._frontends}
        if stale:
            self._replace(sorted(stale), world)
        return stale

    def ids(self, port: ClusterRef) -> list[int]:
        """``ServiceEntry.id`` of a service's TCP port, one for each of its addresses."""
        found = (frontend.key for frontend in self._frontends.get(port.service, ()))
        return [self.services[key].id for key in found if (key.port, key.protocol) == (port.port, TCP)]

    def endpoints(self, port: ClusterRef) -> tuple[ClusterEndpoint, ...]:
        """Who answers for a service's TCP port when Envoy picks: the same backends as in the kernel, both families."""
        service = self._world.services.get(port.service) if self._world else None
        found = (one for one in service.ports if (one.port, one.protocol) == (port.port, TCP)) if service else iter(())
        if service is None or (named := next(found, None)) is None:
            return ()
        return cluster_endpoints(self._chosen(service, named))

    def _note_services(self, change: Changes[NamespacedName, Service], before: World) -> set[NamespacedName]:
        """Only pods with a label that some service wants are indexed. ``before`` has the pods known so far."""
        for key, service in change.gone.items():
            if label := _first_label(service):
                self._watching[label].discard(key)
                if not self._watching[label]:
                    del self._watching[label]
        wanted = {label: key for key, service in change.come.items() if (label := _first_label(service))}
        new = wanted.keys() - self._pods.keys()
        for key, service in change.come.items():
            if label := _first_label(service):
                self._watching.setdefault(label, set()).add(key)
        for label in self._pods.keys() - self._watching.keys():
            del self._pods[label]
        self._pods.update((label, {}) for label in new)
        for pod in before.workloads.values() if new else ():
            for label in _labels(pod):
                if label in new:
                    self._pods[label][pod.key] = pod
        return {*change.gone, *change.come}

    def _note_pods(self, change: Changes[NamespacedName, Workload]) -> set[NamespacedName]:
        stale: set[NamespacedName] = set()
        for pod in change.gone.values():
            for label in filter(self._pods.__contains__, _labels(pod)):
                del self._pods[label][pod.key]
                stale |= self._watching[label]
        for pod in change.come.values():
            for label in filter(self._pods.__contains__, _labels(pod)):
                self._pods[label][pod.key] = pod
                stale |= self._watching[label]
        return stale

    def _note_places(self, world: World, before: World) -> set[NamespacedName]:
        """Where this node and the others are plays a part in who is near. Its Node tells its zone: labels change."""
        here, there, own = world.node, self._here or before.node, world.nodes.get(world.node.name)
        if own is not None and own.zone != here.zone:
            here = replace(here, zone=own.zone)
        self._here = here
        stale = set(world.services) if (here.name, here.zone) != (there.name, there.zone) else set()
        zones = {name: node.zone for name, node in world.nodes.items()} if world.nodes else {}
        if zones != self._zones:
            self._zones = zones
            stale |= {key for key, service in world.services.items() if service.traffic_distribution}
        return stale

    def _note_slices(self, change: Changes[NamespacedName, EndpointSlice]) -> set[NamespacedName]:
        stale = set()
        for key, slice_ in change.gone.items():
            stale.add(service := NamespacedName(key.namespace, slice_.service))
            del self._slices[service][key]
            if not self._slices[service]:
                del self._slices[service]
        for key, slice_ in change.come.items():
            stale.add(service := NamespacedName(key.namespace, slice_.service))
            self._slices.setdefault(service, {})[key] = slice_
        return stale

    def _replace(self, stale: list[NamespacedName], world: World) -> None:
        went = [frontend for key in stale for frontend in self._frontends.pop(key, ())]
        for key in stale:
            if service := world.services.get(key):
                self._frontends[key] = list(self._frontends_of(service))
        came = [frontend for key in stale for frontend in self._frontends.get(key, ())]
        lists = self._lists.count(
            (f.list_digest for f in came if f.backends), (f.list_digest for f in went if f.backends)
        )
        ids = self._ids.count((f.id_digest for f in came), (f.id_digest for f in went))
        services, backends = Edition(self.services), Edition(self.backends)
        for frontend in went:
            services.remove(frontend.key)
        for number in lists.gone:
            backends.remove(number)
        for frontend in came:
            number = lists.numbers[frontend.list_digest] if frontend.backends else 0
            if number:
                backends[number] = frontend.backends
            count, id_ = len(frontend.backends), ids.numbers[frontend.id_digest]
            services[frontend.key] = ServiceEntry(number, count, frontend.affinity_seconds, id_, int(frontend.routed))
        self.services = services
        if backends.touched:
            self.backends = backends
        self._searched.subtract(f.list_digest for f in went if _is_searched(f))
        self._searched.update(f.list_digest for f in came if _is_searched(f))
        numbers = {each: lists.numbers[each] for f in (*went, *came) if (each := f.list_digest) in lists.numbers}
        come = {number for each, number in numbers.items() if self._searched[each]}
        gone = {number for each, number in numbers.items() if not self._searched[each]} | set(lists.gone)
        self._searched = +self._searched
        if not (come <= self.member_lists and gone.isdisjoint(self.member_lists)):
            self.member_lists = self.member_lists - gone | come

    def _frontends_of(self, service: Service) -> Iterator[Frontend]:
        addresses = service.cluster_ips if not service.headless else ()
        for port in service.ports if addresses else ():
            found = self._chosen(service, port)
            routed = port.protocol == TCP and ClusterRef(service.key, port.port) in self._routed
            for address in addresses:
                backends = kernel_backends(found, address.version)
                name = (service.key.namespace, service.key.name, port.port, port.protocol, address.version)
                content = digest("backends", *(part for each in backends for part in each))
                key = ServiceKey(to_wide(address), port.port, port.protocol)
                yield Frontend(key, digest("service", *name), content, backends, service.affinity_seconds, routed)

    def _chosen(self, service: Service, port: ServicePort) -> list[Candidate]:
        assert self._here is not None
        if label := _first_label(service):
            found = pod_candidates(service, port, self._pods[label].values(), self._zones)
        else:
            slices = self._slices.get(service.key, {}).values()
            found = slice_candidates(port, (one for one in slices if not (one.other_proxy and service.cluster_ips)))
        return chosen(service, found, self._here)


def _is_searched(frontend: Frontend) -> bool:
    """Clients stay with a backend for as long as it is in the list: by affinity, or because a UDP socket has it."""
    return bool(frontend.backends) and (frontend.affinity_seconds > 0 or frontend.key.protocol == UDP)


class _Count(NamedTuple):
    numbers: Mapping[bytes, int]
    """Of all contents in use."""
    gone: list[int]


class _Shared:
    """Numbers of contents that several users may share; released with the last one."""

    def __init__(self, numbers: NumberSpace) -> None:
        self._numbers = numbers
        self._uses: Counter[bytes] = Counter()
        self._known: dict[bytes, int] = {}

    def count(self, came: Iterable[bytes], went: Iterable[bytes]) -> _Count:
        came, went = list(came), list(went)
        self._uses.update(came)
        self._uses.subtract(went)
        self._known.update(self._numbers.assign_all({each for each in came if each not in self._known}))
        gone = []
        for each in {each for each in went if not self._uses[each]}:
            del self._uses[each]
            gone.append(self._known.pop(each))
            self._numbers.release(each)
        return _Count(self._known, gone)


def _first_label(service: Service) -> Label | None:
    """Pods that a service selects have all of its labels, so one of them is enough to find them. None: its backends are
    those of its slices."""
    if service.by_slices:
        return None
    return next(((service.key.namespace, *label) for label in sorted(service.selector.items())), None)


def _labels(pod: Workload) -> Iterator[Label]:
    return ((pod.key.namespace, key, value) for key, value in pod.labels.items())
