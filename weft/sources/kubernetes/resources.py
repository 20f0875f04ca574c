"""The resources that weft watches: where the API has them."""

from __future__ import annotations

from dataclasses import dataclass

from weft.sources import registry
from weft.sources.objects import Json, Key

NODE = "Node"


@dataclass(frozen=True, slots=True)
class Resource:
    kind: str
    plural: str
    versions: tuple[str, ...]
    """apiVersions to ask for, the best first; the next one if the server has not heard of it."""
    custom: bool = False
    """Of a CRD, which may be missing: then there are no objects."""

    def path(self, version: str, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """``/apis/cilium.io/v2/namespaces/default/ciliumnetworkpolicies/api/status``; all objects without a name."""
        parts = ["/api" if "/" not in version else "/apis", version]
        parts += ["namespaces", namespace] if namespace else []
        return "/".join(part for part in (*parts, self.plural, name, subresource) if part)


def _resource(kind: str, *versions: str, custom: bool = False) -> Resource:
    info = registry.KINDS[kind]
    return Resource(kind, info.plural, versions or (info.api_version,), custom)


_GATEWAY = "gateway.networking.k8s.io"
NODES = Resource(NODE, "nodes", ("v1",))
NAMESPACES = _resource(registry.NAMESPACE)
PODS = _resource(registry.POD)
SERVICES = _resource(registry.SERVICE)
ENDPOINT_SLICES = _resource(registry.ENDPOINT_SLICE)
STRICT = (
    _resource(registry.NETWORK_POLICY),
    _resource(registry.CNP, custom=True),
    _resource(registry.CCNP, custom=True),
    _resource(registry.HTTP_ROUTE, custom=True),
    _resource(registry.GRPC_ROUTE, custom=True),
    _resource(registry.REFERENCE_GRANT, f"{_GATEWAY}/v1beta1", f"{_GATEWAY}/v1", custom=True),
)
"""Decoded as manifests are: an unknown field is an error. ReferenceGrant is v1beta1, and later v1 too."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One object of the API, for what is written about it."""

    key: Key
    api_version: str
    uid: str


@dataclass(frozen=True, slots=True)
class Seen:
    """An object as the API server has it, good or not: what is needed to write its status."""

    reference: Reference
    revision: str
    """resourceVersion."""
    status: Json
