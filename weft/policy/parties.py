"""The two ends of a connection as policy sees them: what stands behind an address in a given World."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address, ip_network

from weft.identity import labels_of, reserved_labels
from weft.model.identity import Reserved
from weft.model.labels import LabelSet
from weft.model.net import IPAddress, IPNetwork, from_wide, to_wide
from weft.model.objects import (
    EndpointSlice,
    NamedPort,
    Namespace,
    NamespacedName,
    Node,
    NodeConfig,
    Workload,
)
from weft.model.policy import PolicySpec
from weft.model.world import World
from weft.policy.services import resolve

BROADCAST, THIS_NETWORK = ip_address("255.255.255.255"), ip_network("0.0.0.0/8")


class Place(Enum):
    """Where an address is. Only pods are subjects of policy in this version."""

    POD = "pod"
    HOST = "host"
    """This node."""
    NODE = "remote-node"
    WORLD = "world"
    SERVICE = "service"
    """In the service range: only socket hooks translate it, a packet to it is dropped."""
    UNASSIGNED = "unassigned"
    """In the pod range, but no pod has it."""
    UNKNOWN = "unknown"
    """In another node's pod range, but no pod that is known has it."""
    MULTICAST = "multicast"
    """A group, or IPv4's broadcast address: no pod may send to it."""
    LOOPBACK = "loopback"
    """127.0.0.0/8, ::1, and the unspecified addresses (0.0.0.0/8, ::): never on a wire."""


@dataclass(frozen=True, slots=True)
class Party:
    place: Place
    labels: LabelSet
    address: bytes
    """16 bytes (weft.model.net.to_wide)."""
    ports: tuple[NamedPort, ...] = ()
    key: NamespacedName | None = None
    """The pod's; None for everything else."""
    node: str = ""
    """Where a pod runs, or which node it is; empty for this one."""

    @property
    def name(self) -> str:
        """``shop/frontend``, or the reserved entity with its address: ``world 8.8.8.8``."""
        return str(self.key) if self.key else f"{self.place.value} {from_wide(self.address)}"


class Parties:
    """Everybody in a World, by address; and its policies with services resolved. Built once for each World."""

    def __init__(self, world: World) -> None:
        self._node = world.node
        self._nodes = [node for name, node in world.nodes.items() if name != world.node.name]
        self._hosts = _hosts(world.node, self._nodes)
        self._api = _api_servers(world.slices.values())
        names = {name for wide, name in self._hosts.items() if wide in self._api}
        self._api |= {wide for wide, name in _routers(world.node, self._nodes).items() if name in names}
        self._pods: dict[bytes, Party] = {}
        self.specs: tuple[PolicySpec, ...] = tuple(
            resolve(spec, world.services, world.slices) for specs in world.policies.values() for spec in specs
        )
        for workload in world.workloads.values():
            labels = pod_labels(world, workload)
            for address in workload.addresses:
                wide = to_wide(address)
                where = workload.node if workload.node != world.node.name else ""
                self._pods[wide] = Party(Place.POD, labels, wide, workload.ports, workload.key, where)

    def at(self, address: IPAddress | str) -> Party:
        """Who has this address. Raises ValueError for a text that is none."""
        parsed = ip_address(address) if isinstance(address, str) else address
        wide = to_wide(parsed)
        if wide in self._pods:
            return self._pods[wide]
        api = (Reserved.KUBE_APISERVER,) if wide in self._api else ()
        if wide in self._hosts:
            name = self._hosts[wide]
            place, kind = (Place.NODE, Reserved.REMOTE_NODE) if name else (Place.HOST, Reserved.HOST)
            return Party(place, reserved_labels(kind, *api), wide, node=name)
        if _inside(parsed, self._node.service_cidrs):
            return Party(Place.SERVICE, LabelSet(), wide)
        if _inside(parsed, self._node.pod_cidrs):
            return Party(Place.UNASSIGNED, LabelSet(), wide)
        if any(_inside(parsed, node.pod_cidrs) for node in self._nodes):
            return Party(Place.UNKNOWN, LabelSet(), wide)
        family = Reserved.WORLD_IPV4 if parsed.version == 4 else Reserved.WORLD_IPV6
        return Party(_place_outside(parsed), reserved_labels(family, *api), wide)


def _hosts(this: NodeConfig, others: Iterable[Node]) -> dict[bytes, str]:
    """Every node's addresses, with its name; empty for this one."""
    found = {to_wide(address): node.name for node in others for address in node.addresses}
    return found | {to_wide(address): "" for address in this.host_addresses} | _routers(this, others)


def _routers(this: NodeConfig, others: Iterable[Node]) -> dict[bytes, str]:
    """Each node's own addresses in its pod CIDRs: what its packets to other nodes' pods come from in a tunnel."""
    cidrs = ((node, cidr) for node in others for cidr in node.pod_cidrs if cidr.num_addresses > 1)
    found = {to_wide(cidr[1]): node.name for node, cidr in cidrs}
    return found | {to_wide(address): "" for address in this.router_addresses}


def _api_servers(slices: Iterable[EndpointSlice]) -> set[bytes]:
    """Addresses of the Service that every Kubernetes cluster has, default/kubernetes."""
    ours = (each for each in slices if (each.key.namespace, each.service) == ("default", "kubernetes"))
    return {to_wide(address) for each in ours for endpoint in each.endpoints for address in endpoint.addresses}


def _place_outside(address: IPAddress) -> Place:
    if address.is_multicast or address == BROADCAST:
        return Place.MULTICAST
    if address.is_loopback or address.is_unspecified or _inside(address, (THIS_NETWORK,)):
        return Place.LOOPBACK
    return Place.WORLD


def pod_labels(world: World, workload: Workload) -> LabelSet:
    """A pod's identity labels; a namespace that nobody declared has only its name."""
    name = workload.key.namespace
    return labels_of(workload, world.namespaces.get(name) or Namespace(name), world.node.cluster)


def _inside(address: IPAddress, networks: Iterable[IPNetwork]) -> bool:
    return any(address.version == network.version and address in network for network in networks)
