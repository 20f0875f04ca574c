"""Services and EndpointSlices (Kubernetes' ValidateService, ValidateEndpointSlice)."""

from __future__ import annotations

from weft.model.kinds.discovery import EndpointSlice
from weft.model.kinds.service import Service, ServiceSpec
from weft.sources.check import Check
from weft.sources.rules import names, pods

HEADLESS = "None"
TRAFFIC_DISTRIBUTIONS = ("", "PreferSameZone", "PreferSameNode", "PreferClose")
SERVICE_NAME_LABEL = "kubernetes.io/service-name"


def check(service: Service, found: Check) -> None:
    spec = service.spec
    names.check_labels(found, spec.selector, ("spec", "selector"))
    if spec.type in {"NodePort", "LoadBalancer"}:
        found.error(("spec", "type"), f"{spec.type} is not supported yet", "use ClusterIP")
    elif spec.type == "ExternalName":
        _check_external(spec, found)
    elif spec.type != "ClusterIP":
        found.error(("spec", "type"), f"unknown type {spec.type!r}", "expected ClusterIP or ExternalName")
    elif spec.external_name:
        found.error(("spec", "externalName"), "only for type ExternalName")
    _check_ports(spec, found)
    _check_addresses(spec, found)
    if spec.session_affinity == "None" and spec.session_affinity_config.client_ip.timeout_seconds != 10800:
        found.error(("spec", "sessionAffinityConfig"), "has no meaning without sessionAffinity: ClientIP")
    if spec.traffic_distribution not in TRAFFIC_DISTRIBUTIONS:
        expected = f"expected one of {', '.join(filter(None, TRAFFIC_DISTRIBUTIONS))}"
        found.error(("spec", "trafficDistribution"), f"unknown value {spec.traffic_distribution!r}", expected)


def _check_external(spec: ServiceSpec, found: Check) -> None:
    name = spec.external_name.removesuffix(".")
    if not name:
        found.error(("spec",), 'field "externalName" is missing for type ExternalName')
    elif problem := names.subdomain(name):
        found.error(("spec", "externalName"), f"invalid DNS name {name!r}", problem)
    if spec.cluster_ip or spec.cluster_ips:
        where = "clusterIP" if spec.cluster_ip else "clusterIPs"
        found.error(("spec", where), "a service of type ExternalName has no cluster IP", "leave it out")
    if spec.selector:
        found.error(("spec", "selector"), "a service of type ExternalName selects no pods", "leave it out")


def _check_ports(spec: ServiceSpec, found: Check) -> None:
    headless = spec.cluster_ip == HEADLESS or HEADLESS in spec.cluster_ips
    if not spec.ports and spec.type == "ClusterIP" and not headless:
        found.error(("spec",), 'field "ports" is missing', "a service with a cluster IP needs at least one")
    numbers: set[tuple[int, str]] = set()
    seen: set[str] = set()
    for index, port in enumerate(spec.ports):
        path = ("spec", "ports", index)
        if not port.name and len(spec.ports) > 1:
            found.error(path, 'field "name" is missing', "with several ports each needs a name")
        elif port.name in seen:
            found.error((*path, "name"), f"{port.name!r} is there twice")
        elif port.name and (problem := names.dns_label(port.name)):
            found.error((*path, "name"), f"invalid name {port.name!r}", problem)
        if (port.port, port.protocol) in numbers:
            found.error((*path, "port"), f"{port.port}/{port.protocol} is there twice")
        seen.add(port.name)
        numbers.add((port.port, port.protocol))
        if port.target_port is not None:
            pods.check_port(port.target_port, None, found, (*path, "targetPort"))


def _check_addresses(spec: ServiceSpec, found: Check) -> None:
    if spec.cluster_ip and spec.cluster_ips and spec.cluster_ip != spec.cluster_ips[0]:
        found.error(("spec", "clusterIPs", 0), f"must equal clusterIP {spec.cluster_ip!r}")
    given = spec.cluster_ips or ((spec.cluster_ip,) if spec.cluster_ip else ())
    versions = []
    for index, text in enumerate(given):
        path = ("spec", "clusterIPs", index) if spec.cluster_ips else ("spec", "clusterIP")
        if text == HEADLESS:
            if len(given) > 1:
                found.error(path, "None stands alone")
            continue
        address = names.address(text)
        if address is None:
            found.error(path, f"not an address: {text!r}", "expected an IPv4 or IPv6 address, or None")
            continue
        versions.append(f"IPv{address.version}")
        if index < len(spec.ip_families) and spec.ip_families[index] != versions[-1]:
            found.error(path, f"{text} is not of family {spec.ip_families[index]} (ipFamilies[{index}])")
    if len(versions) != len(set(versions)):
        found.error(("spec", "clusterIPs", 1), "both addresses are of the same family")
    if len(spec.ip_families) != len(set(spec.ip_families)):
        found.error(("spec", "ipFamilies", 1), f"{spec.ip_families[1]} is there twice")


def check_slice(slice_: EndpointSlice, found: Check) -> None:
    labels = slice_.metadata.labels or {}
    if not labels.get(SERVICE_NAME_LABEL):
        remedy = "it names the Service that the endpoints belong to"
        found.error(("metadata", "labels"), f"label {SERVICE_NAME_LABEL} is missing", remedy)
    for index, endpoint in enumerate(slice_.endpoints):
        for position, text in enumerate(endpoint.addresses):
            path = ("endpoints", index, "addresses", position)
            address = names.address(text)
            if address is None or f"IPv{address.version}" != slice_.address_type:
                found.error(path, f"not an {slice_.address_type} address: {text!r}")
            elif address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
                found.error(path, f"{text} is a loopback, link-local, multicast or unspecified address")
        if endpoint.hostname and (problem := names.dns_label(endpoint.hostname)):
            found.error(("endpoints", index, "hostname"), f"invalid name {endpoint.hostname!r}", problem)
    seen: set[str] = set()
    for index, port in enumerate(slice_.ports):
        if port.name and (problem := names.dns_label(port.name)):
            found.error(("ports", index, "name"), f"invalid name {port.name!r}", problem)
        if port.name in seen:
            found.error(("ports", index, "name"), f"{port.name!r} is there twice")
        seen.add(port.name)
