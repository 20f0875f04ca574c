"""Which backends answer for a service port.

Per Kubernetes' Service and EndpointSlice documents: ready pods that are not terminating; when there is none, those
that are terminating but still ready (KEP-1669); with publishNotReadyAddresses, every pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from weft.model.desired import Backend
from weft.model.net import IPAddress, to_wide
from weft.model.objects import EndpointSlice, Service, ServicePort, Workload
from weft.model.route import ClusterEndpoint


def answering(service: Service, pods: Iterable[Workload]) -> list[Workload]:
    """Those of ``pods`` that a service selects and that take its connections."""
    wanted = service.selector.items()
    selected = [pod for pod in pods if wanted <= pod.labels.items()]
    if service.publish_not_ready:
        return selected
    ready = [pod for pod in selected if pod.ready]
    return [pod for pod in ready if not pod.terminating] or ready


def pod_backends(port: ServicePort, pods: Iterable[Workload], family: int) -> tuple[Backend, ...]:
    """``pods``: as ``answering`` gives them. A pod without the named port takes no connections."""
    return _sorted(
        Backend(to_wide(address), number)
        for pod in pods
        for number in _target_ports(port, pod)
        for address in pod.addresses
        if address.version == family
    )


def slice_backends(port: ServicePort, slices: Iterable[EndpointSlice], family: int) -> tuple[Backend, ...]:
    """A slice's ports belong to the service ports of the same name and protocol."""
    return _sorted(
        Backend(to_wide(address), named.port)
        for slice_ in slices
        for named in slice_.ports
        if (named.name, named.protocol) == (port.name, port.protocol)
        for address in _ready(slice_)
        if address.version == family
    )


def pod_endpoints(service: Service, port: ServicePort, pods: Iterable[Workload]) -> tuple[ClusterEndpoint, ...]:
    """Both families. Those of a terminating pod are there only while no other is ready, as for the kernel."""
    chosen = answering(service, pods)
    found = {
        ClusterEndpoint(address, number, pod.terminating)
        for pod in chosen
        for number in _target_ports(port, pod)
        for address in pod.addresses
    }
    return _ordered(found)


def slice_endpoints(port: ServicePort, slices: Iterable[EndpointSlice]) -> tuple[ClusterEndpoint, ...]:
    """Both families."""
    found = {
        ClusterEndpoint(address, named.port)
        for slice_ in slices
        for named in slice_.ports
        if (named.name, named.protocol) == (port.name, port.protocol)
        for address in _ready(slice_)
    }
    return _ordered(found)


def _target_ports(port: ServicePort, pod: Workload) -> Iterator[int]:
    if isinstance(port.target, int):
        yield port.target
        return
    yield from (each.port for each in pod.ports if (each.name, each.protocol) == (port.target, port.protocol))


def _ready(slice_: EndpointSlice) -> Iterator[IPAddress]:
    return (address for endpoint in slice_.endpoints if endpoint.ready for address in endpoint.addresses)


def _ordered(endpoints: Iterable[ClusterEndpoint]) -> tuple[ClusterEndpoint, ...]:
    return tuple(sorted(endpoints, key=lambda each: (each.address.version, each.address.packed, each.port)))


def _sorted(backends: Iterable[Backend]) -> tuple[Backend, ...]:
    return tuple(sorted(set(backends)))
