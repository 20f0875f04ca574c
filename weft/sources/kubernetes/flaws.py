"""What is odd about objects that the API server takes: said on them, and harmless otherwise."""

from __future__ import annotations

from weft.sources.kubernetes import shapes
from weft.sources.kubernetes.tables import Flaw
from weft.sources.rules.services import HEADLESS

NODE_DELAY = 30.0
"""A new node gets its podCIDRs a moment after it registers."""


def node_flaw(node: shapes.Node) -> Flaw | None:
    if node.spec.pod_cidrs or node.spec.pod_cidr:
        return None
    return Flaw("spec.podCIDRs: none, so no pod can run on this node and none of its addresses are routed", NODE_DELAY)


def service_flaw(service: shapes.Service) -> Flaw | None:
    spec = service.spec
    if spec.ports or spec.type == "ExternalName":
        return None
    headless = spec.cluster_ip == HEADLESS
    what = "only its name in the DNS works" if headless else "nothing can be reached through it"
    return Flaw(f"spec.ports: none, so {what}", warning=not headless)


def slice_flaw(endpoints: shapes.EndpointSlice) -> Flaw | None:
    if endpoints.address_type in ("IPv4", "IPv6"):
        return None
    return Flaw(f"addressType: {endpoints.address_type} is not served; expected IPv4 or IPv6")
