"""The world that policy and services are computed from: what runs where, under which names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from weft.model.labels import LabelSet, share
from weft.model.net import EndpointId, IPAddress, IPNetwork


class NamespacedName(NamedTuple):
    """Key of most mappings, so it is a tuple: nothing else is hashed as quickly."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


@dataclass(frozen=True, slots=True)
class NamedPort:
    name: str
    port: int
    protocol: int
    """IANA protocol number."""


@dataclass(frozen=True, slots=True)
class Namespace:
    name: str
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class LocalEndpoint:
    """What only this node knows of its own pod: how packets reach it."""

    id: EndpointId
    ifindex: int
    mac: bytes
    """6 bytes."""


@dataclass(frozen=True, slots=True)
class LocalPod:
    """A pod that a kubelet runs on this node, as weft has connected it."""

    uid: str
    addresses: tuple[IPAddress, ...]
    endpoint: LocalEndpoint


@dataclass(frozen=True, slots=True)
class Workload:
    """A pod, wherever it runs. ``labels`` are the pod's own, bare (no source prefix); never edited, pods share them."""

    key: NamespacedName
    labels: Mapping[str, str] = field(hash=False)
    service_account: str
    node: str
    addresses: tuple[IPAddress, ...]
    """At most one per family; empty until the runtime has given it some."""
    ports: tuple[NamedPort, ...] = ()
    ready: bool = False
    terminating: bool = False
    local: LocalEndpoint | None = None
    owner: str = ""
    """``Deployment/frontend``, for people."""
    hostname: str = ""
    subdomain: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", share(self.labels))


@dataclass(frozen=True, slots=True)
class ServicePort:
    name: str
    port: int
    protocol: int
    target: int | str
    """A number, or the name of a port of the selected pods."""
    app_protocol: str = ""


@dataclass(frozen=True, slots=True)
class Service:
    key: NamespacedName
    type: str
    """``ClusterIP`` or ``ExternalName``."""
    cluster_ips: tuple[IPAddress, ...]
    """Empty for a headless or ExternalName service."""
    ports: tuple[ServicePort, ...]
    selector: Mapping[str, str] = field(default_factory=dict, hash=False)
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    headless: bool = False
    external_name: str = ""
    affinity_seconds: int = 0
    """0 = no session affinity; else ClientIP with this timeout (1..86400)."""
    publish_not_ready: bool = False
    by_slices: bool = False
    """Its backends are those of its EndpointSlices even if it has a selector: somebody else (Kubernetes) keeps them."""
    internal_local: bool = False
    """internalTrafficPolicy Local: only backends on the client's own node."""
    traffic_distribution: str = ""
    """``PreferSameZone``, ``PreferSameNode``, or nothing. Of pods; slices have their hints."""


@dataclass(frozen=True, slots=True)
class SliceEndpoint:
    addresses: tuple[IPAddress, ...]
    ready: bool = True
    """False while terminating, unless the service publishes addresses that are not ready."""
    hostname: str = ""
    target: NamespacedName | None = None
    serving: bool = True
    """Would be ready if it were not terminating."""
    terminating: bool = False
    node: str = ""
    zones: tuple[str, ...] = ()
    """hints.forZones: the zones whose clients should use it; empty = every zone."""
    nodes: tuple[str, ...] = ()
    """hints.forNodes, likewise."""


@dataclass(frozen=True, slots=True)
class EndpointSlice:
    """Backends of a Service without a selector, written by hand, or of one whose ``by_slices`` is set."""

    key: NamespacedName
    service: str
    ports: tuple[NamedPort, ...]
    endpoints: tuple[SliceEndpoint, ...]
    other_proxy: bool = False
    """Its labels say that a Service's addresses do not lead to it: it is another proxy's, or a headless Service's."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of the cluster, this one included."""

    name: str
    addresses: tuple[IPAddress, ...]
    """Where it is reached (Kubernetes' InternalIP), the preferred one of each family first, then all others."""
    pod_cidrs: tuple[IPNetwork, ...] = ()
    """At most one of each family. The first address of each is the node's own (``NodeConfig.router_addresses``)."""
    zone: str = ""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """This node, as the agent was started."""

    name: str
    cluster: str = "default"
    pod_cidrs: tuple[IPNetwork, ...] = ()
    service_cidrs: tuple[IPNetwork, ...] = ()
    router_addresses: tuple[IPAddress, ...] = ()
    """The node's own address in each pod CIDR (on device weft_host)."""
    host_addresses: tuple[IPAddress, ...] = ()
    """Every other address of the node's network namespace."""
    trust_domain: str = "weft.local"
    zone: str = ""
    tunnel: str = ""
    """How packets get to other nodes' pods: ``vxlan``, or nothing = routed as they are (direct routing)."""


__all__ = [
    "EndpointSlice",
    "LabelSet",
    "LocalEndpoint",
    "LocalPod",
    "NamedPort",
    "Namespace",
    "NamespacedName",
    "Node",
    "NodeConfig",
    "Service",
    "ServicePort",
    "SliceEndpoint",
    "Workload",
]
