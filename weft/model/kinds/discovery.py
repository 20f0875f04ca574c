"""``discovery.k8s.io/v1`` manifests: EndpointSlice, the backends of a Service without a selector."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from weft.model.kinds.core import Port, Protocol
from weft.model.kinds.marks import ignored
from weft.model.kinds.meta import ObjectMeta, Strict


class EndpointConditions(Strict, frozen=True):
    """None is to be read as true for ready and serving, as false for terminating."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ObjectReference(Strict, frozen=True):
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: Any = None
    api_version: str = ""
    resource_version: Any = None
    field_path: str = ""


class Hint(Strict, frozen=True):
    """ForZone or ForNode."""

    name: str


class EndpointHints(Strict, frozen=True):
    """For whose clients the endpoint is meant; empty = for all."""

    for_zones: Annotated[tuple[Hint, ...], Meta(max_length=8)] = ()
    for_nodes: Annotated[tuple[Hint, ...], Meta(max_length=8)] = ()


class Endpoint(Strict, frozen=True):
    addresses: Annotated[tuple[str, ...], Meta(min_length=1, max_length=100)]
    """All of the slice's addressType; clients use the first."""
    conditions: EndpointConditions = EndpointConditions()
    hostname: str = ""
    target_ref: ObjectReference = ObjectReference()
    node_name: str = ""
    zone: Any = None
    """Of the node; what counts are the hints."""
    hints: EndpointHints = EndpointHints()
    deprecated_topology: Annotated[Any, ignored("v1beta1 had it; write nodeName and zone")] = None


class EndpointPort(Strict, frozen=True):
    port: Port
    name: str = ""
    """Must equal the name of the Service's port."""
    protocol: Protocol = "TCP"
    app_protocol: Annotated[Any, ignored("the protocol above TCP and UDP plays no part yet")] = None


class EndpointSlice(Strict, frozen=True):
    """Belongs to the Service that label ``kubernetes.io/service-name`` names."""

    api_version: str
    kind: str
    metadata: ObjectMeta
    address_type: Literal["IPv4", "IPv6"]
    endpoints: tuple[Endpoint, ...]
    ports: tuple[EndpointPort, ...] = ()
