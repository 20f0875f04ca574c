"""What a person typed as FROM and TO:PORT → parties that policy can be asked about.

A name is looked for as a pod (``name``, ``namespace/name``), then as a service (TO only), then as what owns pods
(a Deployment). ``k=v,k2=v2`` means every pod with these labels, or, when there is none, a pod that would have them.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from weft.api.server import Refusal
from weft.identity import labels_of
from weft.model.net import ICMP, ICMPV6, PROTOCOL_NUMBERS, TCP, IPAddress, from_wide
from weft.model.objects import Namespace, NamespacedName, Service, ServicePort, Workload
from weft.model.route import ClusterRef
from weft.model.world import World
from weft.policy.parties import Parties, Party, Place

EXAMPLE_ADDRESSES = {"world": "203.0.113.1", "world-ipv4": "203.0.113.1", "world-ipv6": "2001:db8::1"}
"""``world`` means an address that nobody wrote down: one of those set aside for documentation (RFC 5737, RFC 3849)."""
NOWHERE_ADDRESS = ipaddress.ip_address("0.0.0.0")


@dataclass(frozen=True, slots=True)
class Target:
    """The other end of one connection. ``via`` says which service and port were named, if it was one."""

    party: Party
    protocol: int
    port: int
    via: str = ""


class Resolver:
    """Over one World."""

    def __init__(self, world: World, namespace: str) -> None:
        self.world, self.namespace = world, namespace
        self.parties = Parties(world)

    def sources(self, text: str) -> list[Party]:
        """Errors: Refusal that says what was understood and the nearest known name."""
        found = self._parties(text)
        if not found:
            raise self._unknown(text, "a pod, k=v labels, an address, host or world")
        return found

    def targets(self, text: str) -> list[Target]:
        """``TO:PORT[/PROTO]``. Errors: Refusal."""
        match = re.fullmatch(r"(?P<to>\[[^]]+\]|[^:]*|[^\[]*:.*):(?P<port>[^:/]+)(?:/(?P<proto>[A-Za-z0-9]+))?", text)
        if not match:
            raise Refusal(f"{text!r}: expected TO:PORT[/PROTO], for example product-api:8080 or [fd00::1]:53/UDP")
        name = match["to"].strip("[]")
        protocol = self._protocol(match["proto"] or "TCP")
        service = None if self._is_pod(name) else self.world.services.get(self._name(name))
        if service is not None:
            return list(self._service(service, match["port"], protocol))
        found = self._parties(name)
        if not found:
            raise self._unknown(name, "a pod, a service, k=v labels, an address, host or world")
        return [Target(party, protocol, self._port(party, match["port"], protocol)) for party in found]

    def service_port(self, text: str) -> ClusterRef | None:
        """The Service's TCP port that ``TO:PORT`` names; None: it names something else."""
        to, _, port = text.removesuffix("/TCP").rpartition(":")
        service = None if self._is_pod(to) else self.world.services.get(self._name(to))
        ports = service.ports if service else ()
        found = [one.port for one in ports if one.protocol == TCP and port in (str(one.port), one.name)]
        return ClusterRef(service.key, found[0]) if service and found else None

    def backends(self, ref: ClusterRef) -> list[Target]:
        """Errors: Refusal if no pod is behind it."""
        return list(self._service(self.world.services[ref.service], str(ref.port), TCP))

    # ---- names ---------------------------------------------------------------------------------------------------

    def _name(self, text: str) -> NamespacedName:
        namespace, slash, name = text.rpartition("/")
        return NamespacedName(namespace, name) if slash else NamespacedName(self.namespace, text)

    def _is_pod(self, text: str) -> bool:
        return self._name(text) in self.world.workloads

    def _parties(self, text: str) -> list[Party]:
        if text == "host":
            hosts = (*self.world.node.router_addresses, *self.world.node.host_addresses)
            return [self.parties.at(hosts[0])] if hosts else []
        if text in EXAMPLE_ADDRESSES:
            return [self.parties.at(EXAMPLE_ADDRESSES[text])]
        if "=" in text:
            return self._by_labels(text)
        try:
            return [self.parties.at(ipaddress.ip_address(text))]
        except ValueError:
            pass
        key = self._name(text)
        workloads = self.world.workloads
        if key in workloads:
            return self._of([workloads[key]])
        owned = [w for w in workloads.values() if w.key.namespace == key.namespace and _owner_name(w) == key.name]
        return self._of(owned)

    def _of(self, workloads: Sequence[Workload]) -> list[Party]:
        """One party for each pod, by its first address (IPv4 where it has one)."""
        for workload in workloads:
            if not workload.addresses:
                raise Refusal(f"pod {workload.key} has no address yet; wait until it runs")
        return [self.parties.at(workload.addresses[0]) for workload in workloads]

    def _by_labels(self, text: str) -> list[Party]:
        pairs = dict(part.partition("=")[::2] for part in text.split(","))
        found = [
            w
            for w in self.world.workloads.values()
            if w.key.namespace == self.namespace and w.addresses and pairs.items() <= w.labels.items()
        ]
        if found:
            return self._of(found)
        imagined = Workload(NamespacedName(self.namespace, f"a pod with {text}"), pairs, "default", "", ())
        namespace = self.world.namespaces.get(self.namespace) or Namespace(self.namespace)
        labels = labels_of(imagined, namespace, self.world.node.cluster)
        return [Party(Place.POD, labels, b"\0" * 16, (), imagined.key)]

    def _unknown(self, text: str, expected: str) -> Refusal:
        names = [key.name for key in (*self.world.workloads, *self.world.services) if key.namespace == self.namespace]
        near = get_close_matches(text, names, 1)
        hint = f"; did you mean {near[0]}?" if near else f"; expected {expected}"
        return Refusal(f"{text!r}: nothing in namespace {self.namespace} has this name{hint}")

    # ---- ports ---------------------------------------------------------------------------------------------------

    @staticmethod
    def _protocol(text: str) -> int:
        known = {name.upper(): number for name, number in PROTOCOL_NUMBERS.items()}
        if text.upper() in known:
            return known[text.upper()]
        raise Refusal(f"/{text}: unknown protocol; known: {', '.join(PROTOCOL_NUMBERS)}")

    @staticmethod
    def _port(party: Party, text: str, protocol: int) -> int:
        for named in party.ports:
            if named.name == text and named.protocol == protocol:
                return named.port
        limit = 255 if protocol in (ICMP, ICMPV6) else 65535
        if not text.isdigit() or int(text) > limit:
            what = "an ICMP type (0..255)" if limit == 255 else "a port (0..65535) or the name of a port of the pod"
            raise Refusal(f":{text}: expected {what}")
        return int(text) << 8 if limit == 255 else int(text)

    def _service(self, service: Service, text: str, protocol: int) -> Iterator[Target]:
        """The backends behind a port of the service; its target port will do as well."""
        ports = [port for port in service.ports if port.protocol == protocol]
        named = [port for port in ports if text in (str(port.port), port.name)]
        for workload, port in self._backends(service, named or ports):
            party = self.parties.at(workload.addresses[0])
            target = port.target if isinstance(port.target, int) else self._port(party, port.target, protocol)
            if named or text in (str(target), port.target):
                yield Target(party, protocol, target, f"service {service.key}:{port.port}")
                named = [port]
        if not named:
            offered = ", ".join(f"{port.port} ({port.name or 'unnamed'})" for port in ports) or "none"
            raise Refusal(f"service {service.key} has no port {text}; its ports: {offered}")

    def _backends(self, service: Service, ports: Sequence[ServicePort]) -> list[tuple[Workload, ServicePort]]:
        pods = [
            w
            for w in self.world.workloads.values()
            if w.key.namespace == service.key.namespace
            and w.addresses
            and service.selector
            and service.selector.items() <= w.labels.items()
        ]
        if not pods:
            raise Refusal(f"service {service.key} selects no pod that runs; a connection to it is refused at once")
        return [(pod, port) for port in ports for pod in sorted(pods, key=lambda w: w.key)]


def _owner_name(workload: Workload) -> str:
    return workload.owner.partition("/")[2]


def addresses(parties: Sequence[Party]) -> list[IPAddress]:
    return [from_wide(party.address) for party in parties]
