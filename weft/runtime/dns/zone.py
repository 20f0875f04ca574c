"""World → the zone file of the DNS pod: every record of the specification, one per line. Pure.

    $ORIGIN cluster.local       $TTL 5       $NETWORK 10.96.0.0/16       $NAMESPACE shop
    web.shop.svc.cluster.local A 10.96.0.7
    _http._tcp.web.shop.svc.cluster.local SRV 0 100 80 web.shop.svc.cluster.local

Addresses in a $NETWORK are the cluster's, so their reverse names are answered here and nowhere else. In a $NAMESPACE
the names ``a-b-c-d.NAMESPACE.pod`` exist for every address (specification, 2.6).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from weft.model.net import PROTOCOL_NAMES, IPAddress
from weft.model.objects import EndpointSlice, NamespacedName, Service, Workload
from weft.model.world import World
from weft.plan.backends import answering

SCHEMA_VERSION = "1.1.0"
TTL = 5
"""Seconds; the default of CoreDNS' kubernetes plugin. Pods come and go, so it is short."""
DNS_SERVICE = NamespacedName("kube-system", "kube-dns")
DOMAIN = "cluster.local"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address behind a headless service."""

    hostname: str
    address: IPAddress
    ports: Mapping[tuple[str, int], int]
    """(name, protocol) of the service's port → the endpoint's own."""


def zone(world: World, domain: str = DOMAIN) -> bytes:
    """The whole file; an equal world gives equal bytes."""
    return ZoneBuilder(domain).build(world)


class ZoneBuilder:
    """``zone`` for one world after the other: what a service gives is kept while the service is the same object, so a
    change costs what changed (and headless services, which follow their pods)."""

    def __init__(self, domain: str = DOMAIN) -> None:
        self._domain = domain
        self._known: dict[NamespacedName, tuple[Service, str]] = {}

    def build(self, world: World) -> bytes:
        domain, pods = self._domain, _Pods(world)
        head = [f"$ORIGIN {domain}", f"$TTL {TTL}"]
        head += [f"$NETWORK {network}" for network in (*world.node.service_cidrs, *world.node.pod_cidrs)]
        namespaces = {*world.namespaces, *(key.namespace for key in world.services)}
        head += [f"$NAMESPACE {name}" for name in sorted(namespaces)]
        head += [f"dns-version.{domain} TXT {SCHEMA_VERSION}", f"{domain} NS ns.dns.{domain}"]
        if server := world.services.get(DNS_SERVICE):
            head += [_address(f"ns.dns.{domain}", address) for address in server.cluster_ips]
        known, self._known = self._known, {}
        for key, service in sorted(world.services.items(), key=lambda item: item[0]):
            before = known.get(key)
            if service.headless or before is None or before[0] is not service:
                records = _service(service, pods, f"{key.name}.{key.namespace}.svc.{domain}")
                before = (service, "\n".join(sorted(set(records))))
            self._known[key] = before
        texts = [text for _, text in self._known.values() if text]
        return "\n".join([*head, *texts, ""]).lower().encode()


class _Pods:
    """What stands behind headless services, looked up by namespace."""

    def __init__(self, world: World) -> None:
        self._pods: dict[str, list[Workload]] = {}
        self._slices: dict[NamespacedName, list[EndpointSlice]] = {}
        headless = {service.key.namespace for service in world.services.values() if service.headless}
        for pod in world.workloads.values():
            if pod.key.namespace in headless:
                self._pods.setdefault(pod.key.namespace, []).append(pod)
        for one in world.slices.values():
            self._slices.setdefault(NamespacedName(one.key.namespace, one.service), []).append(one)

    def endpoints(self, service: Service) -> Iterator[Endpoint]:
        if service.selector:
            yield from _pod_endpoints(service, self._pods.get(service.key.namespace, ()))
            return
        for one in self._slices.get(service.key, ()):
            ports = {(port.name, port.protocol): port.port for port in one.ports}
            for endpoint in one.endpoints:
                if endpoint.ready or service.publish_not_ready:
                    for address in endpoint.addresses:
                        yield Endpoint(endpoint.hostname or dashed(address), address, ports)


def _pod_endpoints(service: Service, pods: Iterable[Workload]) -> Iterator[Endpoint]:
    """A pod has its own name below the service only if it asks for it: hostname, and subdomain = the service."""
    for pod in answering(service, pods):
        named = {(port.name, port.protocol): port.port for port in pod.ports}
        ports = {}
        for port in service.ports:
            target = port.target if isinstance(port.target, int) else named.get((port.target, port.protocol))
            if target is not None:
                ports[port.name, port.protocol] = target
        own = pod.hostname if pod.subdomain == service.key.name else ""
        for address in pod.addresses:
            yield Endpoint(own or dashed(address), address, ports)


def dashed(address: IPAddress) -> str:
    """``10-0-0-7``, ``fd99--7``: an address as one label."""
    return str(address).replace(".", "-").replace(":", "-")


def _address(name: str, address: IPAddress) -> str:
    return f"{name} {'A' if address.version == 4 else 'AAAA'} {address}"


def _service(service: Service, pods: _Pods, name: str) -> Iterator[str]:
    if service.type == "ExternalName":
        yield f"{name} CNAME {service.external_name}"
    elif service.headless:
        for endpoint in pods.endpoints(service):
            own = f"{endpoint.hostname}.{name}"
            yield from (_address(name, endpoint.address), _address(own, endpoint.address))
            yield f"{endpoint.address.reverse_pointer} PTR {own}"
            for (port, protocol), number in endpoint.ports.items():
                yield from _srv(name, port, protocol, number, own)
    else:
        for address in service.cluster_ips:
            yield _address(name, address)
            yield f"{address.reverse_pointer} PTR {name}"
        for each in service.ports:
            yield from _srv(name, each.name, each.protocol, each.port, name)


def _srv(name: str, port: str, protocol: int, number: int, target: str) -> Iterator[str]:
    """At the name itself (as CoreDNS does) and, for a named port, at ``_port._protocol``."""
    data = f"SRV 0 100 {number} {target}"
    yield f"{name} {data}"
    if port:
        yield f"_{port}._{PROTOCOL_NAMES[protocol]}.{name} {data}"
