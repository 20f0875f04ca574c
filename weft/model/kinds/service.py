"""``v1`` Service. Kubernetes' core/v1 names and defaults; ``null`` means absent."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, field

from weft.model.kinds.core import IPFamily, Port, Protocol
from weft.model.kinds.marks import refused
from weft.model.kinds.meta import ObjectMeta, Strict


class ServicePortSpec(Strict, frozen=True):
    port: Port
    name: str = ""
    protocol: Protocol = "TCP"
    target_port: int | str | None = None
    """None = the same as ``port``."""
    app_protocol: str = ""
    """``kubernetes.io/h2c``: Envoy speaks HTTP/2 to these backends (GEP-1911). Others play no part."""
    node_port: Annotated[Any, refused("a later weft brings NodePort; use ClusterIP")] = None


class ClientIPConfig(Strict, frozen=True):
    timeout_seconds: Annotated[int, Meta(ge=1, le=86400)] = 10800


class SessionAffinityConfig(Strict, frozen=True):
    client_ip: ClientIPConfig = field(default=ClientIPConfig(), name="clientIP")


_OUTSIDE = "a later weft brings NodePort, LoadBalancer and externalIPs; use ClusterIP"


class ServiceSpec(Strict, frozen=True):
    """Defaults are filled in and cluster IPs allocated by ``weft.sources.admission``, as an API server does."""

    type: str = "ClusterIP"
    """``ClusterIP`` or ``ExternalName``; NodePort and LoadBalancer are refused for now (checked)."""
    ports: tuple[ServicePortSpec, ...] = ()
    selector: dict[str, str] = field(default_factory=dict)
    cluster_ip: str = field(default="", name="clusterIP")
    """Empty = to be allocated, ``None`` = headless."""
    cluster_ips: Annotated[tuple[str, ...], Meta(max_length=2)] = field(default=(), name="clusterIPs")
    """The first is ``clusterIP`` (checked)."""
    ip_families: Annotated[tuple[IPFamily, ...], Meta(max_length=2)] = ()
    ip_family_policy: Literal["SingleStack", "PreferDualStack", "RequireDualStack"] | None = None
    external_name: str = ""
    session_affinity: Literal["None", "ClientIP"] = "None"
    session_affinity_config: SessionAffinityConfig = SessionAffinityConfig()
    publish_not_ready_addresses: bool = False
    internal_traffic_policy: Literal["Cluster", "Local"] = "Cluster"
    """Local: only backends on the client's own node."""
    external_ips: Annotated[Any, refused(_OUTSIDE)] = field(default=None, name="externalIPs")
    external_traffic_policy: Annotated[Any, refused(_OUTSIDE)] = None
    load_balancer_ip: Annotated[Any, refused(_OUTSIDE)] = field(default=None, name="loadBalancerIP")
    load_balancer_class: Annotated[Any, refused(_OUTSIDE)] = None
    load_balancer_source_ranges: Annotated[Any, refused(_OUTSIDE)] = None
    allocate_load_balancer_node_ports: Annotated[Any, refused(_OUTSIDE)] = None
    health_check_node_port: Annotated[Any, refused(_OUTSIDE)] = None
    traffic_distribution: str = ""
    """``PreferSameZone``, also spelled ``PreferClose``, or ``PreferSameNode`` (checked)."""


class Service(Strict, frozen=True):
    api_version: str
    kind: str
    metadata: ObjectMeta
    spec: ServiceSpec
    status: Any = None
