"""Objects of an API server, as far as weft reads them. The API server has checked them; what is unknown is passed over.

Kubernetes' own types only: policies and routes have the strict shapes of ``weft.model.kinds``.
"""

from __future__ import annotations

import msgspec


class Narrow(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Kubernetes' camelCase names; every field may be absent, and a list also null (Go's empty slice)."""


class OwnerReference(Narrow, frozen=True):
    kind: str = ""
    name: str = ""


class Annotations(Narrow, frozen=True):
    """Those that say something to weft."""

    static_pod: str = msgspec.field(default="", name="kubernetes.io/config.mirror")
    """Of the mirror of a static pod: the uid under which the kubelet runs it."""


class Meta(Narrow, frozen=True):
    name: str
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] | None = None
    annotations: Annotations | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    owner_references: tuple[OwnerReference, ...] | None = None


class Headed(Narrow, frozen=True):
    """Any object."""

    metadata: Meta


class ListMeta(Narrow, frozen=True):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class ObjectList(Narrow, frozen=True):
    metadata: ListMeta
    items: list[msgspec.Raw] | None = None


class WatchEvent(Narrow, frozen=True):
    type: str
    object: msgspec.Raw
    """Of type ERROR: a Status; of BOOKMARK: an object with nothing but a resourceVersion."""


class BookmarkMeta(Narrow, frozen=True):
    resource_version: str = ""


class Bookmark(Narrow, frozen=True):
    metadata: BookmarkMeta


class Condition(Narrow, frozen=True):
    type: str = ""
    status: str = ""


class ContainerPort(Narrow, frozen=True):
    container_port: int
    name: str = ""
    protocol: str = "TCP"


class Container(Narrow, frozen=True):
    ports: tuple[ContainerPort, ...] | None = None
    restart_policy: str = ""
    """Of an init container, ``Always``: it runs as long as the pod (a sidecar)."""


class PodSpec(Narrow, frozen=True):
    node_name: str = ""
    service_account_name: str = ""
    host_network: bool = False
    hostname: str = ""
    subdomain: str = ""
    containers: tuple[Container, ...] | None = None
    init_containers: tuple[Container, ...] | None = None


class PodIP(Narrow, frozen=True):
    ip: str = ""


class PodStatus(Narrow, frozen=True):
    phase: str = ""
    conditions: tuple[Condition, ...] | None = None
    pod_ips: tuple[PodIP, ...] | None = msgspec.field(default=None, name="podIPs")


class Pod(Narrow, frozen=True):
    metadata: Meta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def uid(self) -> str:
        """By which the kubelet knows it."""
        notes = self.metadata.annotations
        return (notes.static_pod if notes else "") or self.metadata.uid


class NodeAddress(Narrow, frozen=True):
    type: str = ""
    address: str = ""


class NodeSpec(Narrow, frozen=True):
    pod_cidr: str = msgspec.field(default="", name="podCIDR")
    pod_cidrs: tuple[str, ...] | None = msgspec.field(default=None, name="podCIDRs")


class NodeStatus(Narrow, frozen=True):
    addresses: tuple[NodeAddress, ...] | None = None


class Node(Narrow, frozen=True):
    metadata: Meta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class ServicePort(Narrow, frozen=True):
    port: int
    name: str = ""
    protocol: str = "TCP"
    target_port: int | str | None = None
    app_protocol: str = ""


class ClientIP(Narrow, frozen=True):
    timeout_seconds: int = 10800


class SessionAffinityConfig(Narrow, frozen=True):
    client_ip: ClientIP | None = msgspec.field(default=None, name="clientIP")


class ServiceSpec(Narrow, frozen=True):
    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] | None = msgspec.field(default=None, name="clusterIPs")
    ports: tuple[ServicePort, ...] | None = None
    selector: dict[str, str] | None = None
    external_name: str = ""
    session_affinity: str = "None"
    session_affinity_config: SessionAffinityConfig | None = None
    publish_not_ready_addresses: bool = False
    internal_traffic_policy: str = "Cluster"
    traffic_distribution: str = ""


class Service(Narrow, frozen=True):
    metadata: Meta
    spec: ServiceSpec = ServiceSpec()


class EndpointConditions(Narrow, frozen=True):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class TargetRef(Narrow, frozen=True):
    kind: str = ""
    namespace: str = ""
    name: str = ""


class Named(Narrow, frozen=True):
    name: str = ""


class Hints(Narrow, frozen=True):
    for_zones: tuple[Named, ...] | None = None
    for_nodes: tuple[Named, ...] | None = None


class Endpoint(Narrow, frozen=True):
    addresses: tuple[str, ...] | None = None
    conditions: EndpointConditions = EndpointConditions()
    hostname: str | None = None
    node_name: str | None = None
    target_ref: TargetRef | None = None
    hints: Hints | None = None


class EndpointPort(Narrow, frozen=True):
    port: int | None = None
    name: str | None = None
    protocol: str | None = None


class EndpointSlice(Narrow, frozen=True):
    metadata: Meta
    address_type: str = ""
    endpoints: tuple[Endpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None
