"""Cluster IPs and address families of a Service, filled into its spec as Kubernetes' API server does.

Pure. The rules are those of pkg/registry/core/service/storage (alloc.go): which families a service gets follows from
ipFamilyPolicy (default SingleStack), ipFamilies and requested addresses; the first address never changes.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Mapping

from weft.model.kinds.service import ServiceSpec
from weft.model.net import IPAddress, IPNetwork
from weft.model.origin import FieldPath, ManifestError
from weft.sources.objects import Json, Key, Resource
from weft.sources.rules.services import HEADLESS

_SPEC: FieldPath = ("spec",)
_IPS: FieldPath = ("spec", "clusterIPs")
_POLICY: FieldPath = ("spec", "ipFamilyPolicy")


def assign(service: Resource, old: ServiceSpec | None, used: Mapping[str, Key], cidrs: tuple[IPNetwork, ...]) -> Json:
    """The raw spec with clusterIP, clusterIPs, ipFamilies and ipFamilyPolicy filled in.

    ``old``: the spec in force; ``used``: addresses of all services; ``cidrs``: at most one per family, the first is
    the default family's. Raises ManifestError for a request that cannot be granted.
    """
    spec: ServiceSpec = service.obj.spec
    if spec.type == "ExternalName":
        return {**service.raw["spec"]}
    before = old if old is not None and old.type == "ClusterIP" else None
    requested = _requested(service, before)
    headless = requested[:1] == [HEADLESS]
    policy = spec.ip_family_policy or (before.ip_family_policy if before else None)
    if policy is None:
        policy = "RequireDualStack" if headless and not spec.selector else "SingleStack"
    families = _families(service, policy, requested, before, cidrs)
    addresses = [HEADLESS] if headless else _addresses(service, requested, families, used, cidrs)
    return {
        **service.raw["spec"],
        "type": spec.type,
        "clusterIP": addresses[0],
        "clusterIPs": addresses,
        "ipFamilies": families,
        "ipFamilyPolicy": policy,
    }


def _requested(service: Resource, before: ServiceSpec | None) -> list[str]:
    """Addresses asked for, else those that it has; canonically spelled."""
    spec: ServiceSpec = service.obj.spec
    given = list(spec.cluster_ips) or ([spec.cluster_ip] if spec.cluster_ip else [])
    given = [text if text == HEADLESS else str(ipaddress.ip_address(text)) for text in given]
    if before is None:
        return given
    if (HEADLESS in given) != (before.cluster_ip == HEADLESS):
        problem = f"clusterIP may not change once set (it is {before.cluster_ip})"
        raise ManifestError(service.origin, ("spec", "clusterIP"), problem, "delete the service first")
    if not given:
        single = spec.ip_family_policy == "SingleStack"
        return list(before.cluster_ips[:1] if single else before.cluster_ips)
    if given[0] != before.cluster_ip:
        problem = f"may not change once set (it is {before.cluster_ip})"
        raise ManifestError(service.origin, ("spec", "clusterIP"), problem, "delete the service first")
    return given


def _families(
    service: Resource,
    policy: str,
    requested: list[str],
    before: ServiceSpec | None,
    cidrs: tuple[IPNetwork, ...],
) -> list[str]:
    spec: ServiceSpec = service.obj.spec
    available = [f"IPv{cidr.version}" for cidr in cidrs]
    headless = requested[:1] == [HEADLESS]
    addresses = [] if headless else requested
    families: list[str] = list(spec.ip_families)
    families += [f"IPv{ipaddress.ip_address(text).version}" for text in addresses[len(families) :]]
    if not families and before is not None:
        families = list(before.ip_families[: 1 if policy == "SingleStack" else 2])
    if policy == "SingleStack" and len(families) > 1:
        remedy = "expected PreferDualStack or RequireDualStack for two families or addresses"
        raise ManifestError(service.origin, _POLICY, f"is {policy}", remedy)
    if policy == "RequireDualStack" and len(available) < 2 and not (headless and not spec.selector):
        problem = "this node has no dual-stack service addresses"
        raise ManifestError(service.origin, _POLICY, problem, "start the agent with a service CIDR of each family")
    for index, family in enumerate(families):
        if family not in available:
            problem = f"this node has no {family} service addresses"
            raise ManifestError(service.origin, ("spec", "ipFamilies", index), problem)
    families = families or available[:1]
    if policy != "SingleStack":
        families += [family for family in available if family not in families]
    return families


def _addresses(
    service: Resource,
    requested: list[str],
    families: list[str],
    used: Mapping[str, Key],
    cidrs: tuple[IPNetwork, ...],
) -> list[str]:
    if not families:
        raise ManifestError(service.origin, _SPEC, "this node has no service addresses", "start it with a service CIDR")
    by_family = {f"IPv{cidr.version}": cidr for cidr in cidrs}
    addresses = []
    for index, family in enumerate(families):
        cidr = by_family[family]
        if index < len(requested):
            _check_requested(service, requested[index], cidr, used, (*_IPS, index))
            addresses.append(requested[index])
        else:
            addresses.append(str(allocate(service, cidr, used)))
    return addresses


def _check_requested(service: Resource, text: str, cidr: IPNetwork, used: Mapping[str, Key], path: FieldPath) -> None:
    address = ipaddress.ip_address(text)
    offset = int(address) - int(cidr.network_address)
    if address not in cidr or offset not in _usable(cidr):
        raise ManifestError(service.origin, path, f"{text} is not a usable address of the service CIDR {cidr}")
    if (holder := used.get(text, service.key)) != service.key:
        raise ManifestError(service.origin, path, f"{text} belongs to {holder}", "ask for another, or for none")


def allocate(service: Resource, cidr: IPNetwork, used: Mapping[str, Key]) -> IPAddress:
    """A free address: the first at or after a place that the service's name hashes to, so that the same manifests
    get the same addresses. The lowest addresses are left for requests as long as there are others (KEP-3070)."""
    usable = _usable(cidr)
    reserved = min(max(16, cidr.num_addresses // 16), 256)
    dynamic = range(reserved, usable.stop) if reserved < usable.stop else usable
    digest = hashlib.blake2s(f"{service.namespace}/{service.name}".encode()).digest()
    start = int.from_bytes(digest[:8], "big") % len(dynamic)
    for band, first in ((dynamic, start), (range(usable.start, dynamic.start), 0)):
        for step in range(len(band)):
            address = cidr[band[(first + step) % len(band)]]
            if str(address) not in used:
                return address
    raise ManifestError(service.origin, _IPS, f"no free address in the service CIDR {cidr}", "delete a service")


def _usable(cidr: IPNetwork) -> range:
    """Offsets that may be given out: not the network's own address, nor IPv4's broadcast."""
    count = min(cidr.num_addresses, 1 << 20)
    return range(1, count - (1 if cidr.version == 4 else 0)) if count > 2 else range(count)
