"""Narrow objects of an API server → the values that plans are computed from. Pure.

A cluster has many pods, so what many of them have in common is one object: names, labels, lists of ports.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping

from weft.model.net import PROTOCOL_NUMBERS, IPAddress, IPNetwork
from weft.model.objects import (
    EndpointSlice,
    LocalPod,
    NamedPort,
    Namespace,
    NamespacedName,
    Node,
    Service,
    ServicePort,
    SliceEndpoint,
    Workload,
)
from weft.sources.kubernetes import shapes
from weft.sources.rules.services import HEADLESS, SERVICE_NAME_LABEL

ZONE_LABEL = "topology.kubernetes.io/zone"
OTHER_PROXY_LABELS = ("service.kubernetes.io/service-proxy-name", "service.kubernetes.io/headless")
"""A Service or EndpointSlice with one of them is for another proxy to serve (well-known labels)."""
_ENDED = ("Succeeded", "Failed")
_PREFERRED = ("InternalIP", "ExternalIP")
_SHARED_ROOM = 8192
_shared_texts: dict[str, str] = {}
_shared_ports: dict[tuple[NamedPort, ...], tuple[NamedPort, ...]] = {}


def _shared(text: str) -> str:
    """Equal texts, one object, among those seen lately. (sys.intern would grow a table of 0.5 MB.)"""
    if len(_shared_texts) > _SHARED_ROOM:
        _shared_texts.clear()
    return _shared_texts.setdefault(text, text)


def key(meta: shapes.Meta) -> NamespacedName:
    return NamespacedName(_shared(meta.namespace), meta.name)


def namespace(shape: shapes.Headed) -> Namespace:
    return Namespace(shape.metadata.name, shape.metadata.labels or {})


def node(shape: shapes.Node) -> Node:
    """Names (Hostname, InternalDNS) are no addresses."""
    written = shape.status.addresses or ()
    kinds = (*_PREFERRED, *dict.fromkeys(one.type for one in written if one.type not in _PREFERRED))
    found = [address(one.address) for kind in kinds for one in written if one.type == kind]
    spec = shape.spec
    return Node(
        shape.metadata.name,
        tuple(dict.fromkeys(one for one in found if one is not None)),
        _one_of_each(spec.pod_cidrs or ((spec.pod_cidr,) if spec.pod_cidr else ())),
        (shape.metadata.labels or {}).get(ZONE_LABEL, ""),
    )


def workload(pod: shapes.Pod, own_node: str, local: LocalPod | None) -> Workload:
    """``local``: what weft connected under its name on this node; of another pod (uid) it means nothing."""
    meta, spec = pod.metadata, pod.spec
    mine = local if local is not None and local.uid == pod.uid and spec.node_name == own_node else None
    sidecars = (one for one in spec.init_containers or () if one.restart_policy == "Always")
    owner = next((f"{one.kind}/{one.name}" for one in meta.owner_references or ()), "")
    return Workload(
        key=key(meta),
        labels=meta.labels or {},
        service_account=_shared(spec.service_account_name or "default"),
        node=_shared(spec.node_name),
        addresses=_pod_addresses(pod, own_node, mine),
        ports=_named_ports((*(spec.containers or ()), *sidecars)),
        ready=any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions or ()),
        terminating=meta.deletion_timestamp is not None,
        local=mine.endpoint if mine else None,
        owner=_shared(owner),
        hostname=_shared(spec.hostname),
        subdomain=_shared(spec.subdomain),
    )


def _pod_addresses(pod: shapes.Pod, own_node: str, local: LocalPod | None) -> tuple[IPAddress, ...]:
    """A pod of the host's network has the node's addresses, and one that has ended none: they are others' by now."""
    if pod.spec.host_network or pod.status.phase in _ENDED:
        return ()
    if pod.spec.node_name == own_node:
        return local.addresses if local else ()
    return _addresses(one.ip for one in pod.status.pod_ips or ())


def _named_ports(containers: Iterable[shapes.Container]) -> tuple[NamedPort, ...]:
    found = tuple(
        NamedPort(_shared(port.name), port.container_port, PROTOCOL_NUMBERS[port.protocol])
        for container in containers
        for port in container.ports or ()
        if port.name and port.protocol in PROTOCOL_NUMBERS
    )
    if len(_shared_ports) > _SHARED_ROOM:
        _shared_ports.clear()
    return _shared_ports.setdefault(found, found)


def service(shape: shapes.Service) -> Service:
    """NodePort and LoadBalancer are ClusterIP and more; that more is not served yet."""
    spec, labels = shape.spec, shape.metadata.labels or {}
    outside, headless = spec.type == "ExternalName", spec.cluster_ip == HEADLESS
    unserved = outside or headless or _of_other_proxy(labels)
    affinity = spec.session_affinity_config
    near = "PreferSameZone" if spec.traffic_distribution == "PreferClose" else spec.traffic_distribution
    client_ip = (affinity.client_ip if affinity else None) or shapes.ClientIP()
    return Service(
        key=key(shape.metadata),
        type="ExternalName" if outside else "ClusterIP",
        cluster_ips=() if unserved else _addresses(spec.cluster_ips or (spec.cluster_ip,)),
        ports=tuple(
            ServicePort(
                port.name,
                port.port,
                PROTOCOL_NUMBERS[port.protocol],
                port.target_port or port.port,
                port.app_protocol,
            )
            for port in spec.ports or ()
            if port.protocol in PROTOCOL_NUMBERS
        ),
        selector=spec.selector or {},
        labels=labels,
        headless=headless,
        external_name=spec.external_name.removesuffix(".") if outside else "",
        affinity_seconds=client_ip.timeout_seconds if spec.session_affinity == "ClientIP" else 0,
        publish_not_ready=spec.publish_not_ready_addresses,
        by_slices=not outside,
        internal_local=spec.internal_traffic_policy == "Local",
        traffic_distribution=near,
    )


def endpoint_slice(
    shape: shapes.EndpointSlice, pod: Callable[[NamespacedName], Workload | None]
) -> EndpointSlice | None:
    """None: of no Service, or without addresses (addressType FQDN). ``pod``: the known ones, whose names and addresses
    are used again.

    What is not said means ready and serving, and not terminating (discovery/v1, EndpointConditions); terminating ones
    are ready only with publishNotReadyAddresses."""
    labels = shape.metadata.labels or {}
    owner = labels.get(SERVICE_NAME_LABEL)
    if not owner or shape.address_type not in ("IPv4", "IPv6"):
        return None
    home = _shared(shape.metadata.namespace)
    return EndpointSlice(
        key=key(shape.metadata),
        service=owner,
        ports=tuple(
            NamedPort(_shared(port.name or ""), port.port, PROTOCOL_NUMBERS[port.protocol or "TCP"])
            for port in shape.ports or ()
            if port.port is not None and (port.protocol or "TCP") in PROTOCOL_NUMBERS
        ),
        endpoints=tuple(_endpoint(one, home, pod) for one in shape.endpoints or ()),
        other_proxy=_of_other_proxy(labels),
    )


def _of_other_proxy(labels: Mapping[str, str]) -> bool:
    return any(label in labels for label in OTHER_PROXY_LABELS)


def _endpoint(shape: shapes.Endpoint, home: str, pod: Callable[[NamespacedName], Workload | None]) -> SliceEndpoint:
    conditions, hints, reference = shape.conditions, shape.hints or shapes.Hints(), shape.target_ref
    addresses, target = _addresses(shape.addresses or ()), None
    if reference is not None and reference.kind == "Pod" and reference.name:
        target = NamespacedName(_shared(reference.namespace or home), reference.name)
        if (known := pod(target)) is not None:
            target = known.key
            addresses = known.addresses if known.addresses == addresses else addresses
    ready = conditions.ready is not False
    return SliceEndpoint(
        addresses=addresses,
        ready=ready,
        hostname=_shared(shape.hostname or ""),
        target=target,
        serving=ready if conditions.serving is None else conditions.serving,
        terminating=conditions.terminating is True,
        node=_shared(shape.node_name or ""),
        zones=tuple(_shared(one.name) for one in hints.for_zones or ()),
        nodes=tuple(_shared(one.name) for one in hints.for_nodes or ()),
    )


def address(text: str) -> IPAddress | None:
    """None for what is none."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _addresses(texts: Iterable[str]) -> tuple[IPAddress, ...]:
    return tuple(found for text in texts if (found := address(text)) is not None)


def _one_of_each(texts: Iterable[str]) -> tuple[IPNetwork, ...]:
    """The first network of each family."""
    found: dict[int, IPNetwork] = {}
    for text in texts:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError:
            continue
        found.setdefault(network.version, network)
    return tuple(found.values())
