"""Which backends answer for a service port, as Kubernetes' proxies choose them (pkg/proxy/topology.go).

Ready ones, near ones first if the hints say so (KEP-2433, KEP-4444); when there is none, those that are terminating but
still serve (KEP-1669). With internalTrafficPolicy Local, of this node's alone. The choice is each port's and each
family's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from weft.model.desired import Backend
from weft.model.net import IPAddress, to_wide
from weft.model.objects import EndpointSlice, NodeConfig, Service, ServicePort, Workload
from weft.model.route import ClusterEndpoint


class Candidate(NamedTuple):
    """One address and port behind a service port."""

    address: IPAddress
    port: int
    ready: bool
    serving: bool
    terminating: bool
    node: str
    zones: tuple[str, ...] = ()
    """Hints: the zones, and the nodes, whose clients it is meant for."""
    nodes: tuple[str, ...] = ()


def answering(service: Service, pods: Iterable[Workload]) -> list[Workload]:
    """Those of ``pods`` that a headless service stands for."""
    wanted = service.selector.items()
    selected = [pod for pod in pods if wanted <= pod.labels.items()]
    if service.publish_not_ready:
        return selected
    ready = [pod for pod in selected if pod.ready]
    return [pod for pod in ready if not pod.terminating] or ready


def pod_candidates(
    service: Service, port: ServicePort, pods: Iterable[Workload], zones: Mapping[str, str]
) -> Iterator[Candidate]:
    """What an endpoint slice would say of the pods that the service selects. A pod without the named port is none.

    ``zones``: by name of node. Hints are what trafficDistribution makes them (KEP-3015, KEP-4444).
    """
    wanted, spread = service.selector.items(), service.traffic_distribution
    for pod in pods:
        if not wanted <= pod.labels.items():
            continue
        zone = zones.get(pod.node) if spread else None
        condition = (service.publish_not_ready or (pod.ready and not pod.terminating), pod.ready, pod.terminating)
        hints = ((zone,) if zone else (), (pod.node,) if spread == "PreferSameNode" else ())
        for number in _target_ports(port, pod):
            for address in pod.addresses:
                yield Candidate(address, number, *condition, pod.node, *hints)


def slice_candidates(port: ServicePort, slices: Iterable[EndpointSlice]) -> Iterator[Candidate]:
    """A slice's ports belong to the service ports of the same name and protocol; of an endpoint's addresses, which are
    interchangeable, the first is used."""
    for slice_ in slices:
        for named in slice_.ports:
            if (named.name, named.protocol) == (port.name, port.protocol):
                for each in slice_.endpoints:
                    condition = (each.ready, each.serving, each.terminating)
                    yield Candidate(each.addresses[0], named.port, *condition, each.node, each.zones, each.nodes)


def chosen(service: Service, candidates: Iterable[Candidate], node: NodeConfig) -> list[Candidate]:
    """Those of both families that clients on ``node`` use."""
    found = _distinct(candidates)
    families = ([each for each in found if each.address.version == version] for version in (4, 6))
    return [one for family in families for one in _of_family(family, service, node)]


def kernel_backends(candidates: Iterable[Candidate], version: int) -> tuple[Backend, ...]:
    """For the kernel. ``candidates``: as ``chosen`` gives them."""
    return tuple(sorted(Backend(to_wide(c.address), c.port) for c in candidates if c.address.version == version))


def cluster_endpoints(candidates: Iterable[Candidate]) -> tuple[ClusterEndpoint, ...]:
    """For Envoy, the same."""
    found = (ClusterEndpoint(each.address, each.port, each.terminating) for each in candidates)
    return tuple(sorted(found, key=lambda each: (each.address.version, each.address.packed, each.port)))


def _distinct(candidates: Iterable[Candidate]) -> list[Candidate]:
    """An address that is there twice, moved from slice to slice or from pod to pod, belongs to whom is not ending."""
    found: dict[tuple[IPAddress, int], Candidate] = {}
    for each in candidates:
        held = found.get((each.address, each.port))
        if held is None or _preference(each) < _preference(held):
            found[each.address, each.port] = each
    return list(found.values())


def _preference(one: Candidate) -> tuple[object, ...]:
    """Of all there is, so that the order in which slices arrived plays no part."""
    return (one.terminating, not one.ready, *one[3:])


def _of_family(candidates: list[Candidate], service: Service, node: NodeConfig) -> list[Candidate]:
    if service.internal_local:
        candidates = [each for each in candidates if each.node == node.name]
    ready = [each for each in candidates if each.ready]
    if not ready:
        return [each for each in candidates if each.serving and each.terminating]
    return ready if service.internal_local else _near(ready, node)


def _near(ready: list[Candidate], node: NodeConfig) -> list[Candidate]:
    """Hints count only if every endpoint has one, and one of them is for this node, else for this zone."""
    if all(each.nodes for each in ready) and (near := [each for each in ready if node.name in each.nodes]):
        return near
    if all(each.zones for each in ready) and (near := [each for each in ready if node.zone in each.zones]):
        return near
    return ready


def _target_ports(port: ServicePort, pod: Workload) -> Iterator[int]:
    if isinstance(port.target, int):
        yield port.target
        return
    yield from (each.port for each in pod.ports if (each.name, each.protocol) == (port.target, port.protocol))
