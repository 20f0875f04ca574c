"""The ranges of ClusterIPs, by the ServiceCIDR objects (networking.k8s.io/v1, Kubernetes 1.33)."""

from __future__ import annotations

import logging
from ipaddress import ip_network

import msgspec

from weft.model.net import IPNetwork
from weft.sources.kubernetes.api import Api, ApiError

log = logging.getLogger("weft.kubernetes")

PATH = "/apis/networking.k8s.io/v1/servicecidrs"
RETRY_SECONDS = 1.0


class _Spec(msgspec.Struct):
    cidrs: list[str] = []


class _ServiceCidr(msgspec.Struct):
    spec: _Spec = msgspec.field(default_factory=_Spec)


class _List(msgspec.Struct):
    items: list[_ServiceCidr] | None = None


async def service_cidrs(api: Api) -> tuple[IPNetwork, ...]:
    """IPv4 first; none from an API server that has no such objects. Waits for one that is out of reach."""
    while True:
        try:
            found = msgspec.json.decode(await api.get(PATH), type=_List).items or []
        except ApiError as error:
            if error.code in (403, 404):
                log.warning(
                    "the ranges of ClusterIPs are not known (%s): what is sent to one that no Service has leaves the "
                    "node; name them by --service-cidr",
                    error,
                )
                return ()
            log.warning("waiting for the ranges of ClusterIPs: %s", error)
            await api.pause(RETRY_SECONDS)
        else:
            ranges = {ip_network(cidr) for one in found for cidr in one.spec.cidrs}
            return tuple(sorted(ranges, key=lambda network: (network.version, network)))
