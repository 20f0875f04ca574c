"""The cluster's nodes: which of their addresses are what, and the ways to the other nodes' pods."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from weft.model.desired import NodeEntry
from weft.model.identity import Reserved
from weft.model.net import IPAddress, IPNetwork, Prefix, to_wide
from weft.model.nodes import NodeRoute, NodeRoutes
from weft.model.objects import EndpointSlice, NamespacedName, Node, NodeConfig
from weft.model.world import World
from weft.plan.diff import changes
from weft.plan.identities import Kind

API_SERVICE = NamespacedName("default", "kubernetes")
"""The Service that every Kubernetes cluster has; its slices hold the API servers' addresses."""


class Surroundings(NamedTuple):
    """What is not a pod and not the wide world, as far as nodes go."""

    kinds: Mapping[Prefix, Kind]
    """Addresses of this node, of other nodes, of API servers. Those of other nodes include the first one of each of
    their pod CIDRs, which the node itself has there."""
    ranges: frozenset[Prefix]
    """Other nodes' pod CIDRs."""
    routes: NodeRoutes
    senders: Mapping[bytes, NodeEntry]
    """With a tunnel: ``Desired.nodes``."""


class Nodes:
    """Follows the worlds that it is given."""

    def __init__(self) -> None:
        self._config: NodeConfig | None = None
        self._nodes: Mapping[str, Node] = {}
        self._slices: Mapping[NamespacedName, EndpointSlice] = {}
        self.now = Surroundings({}, frozenset(), NodeRoutes(), {})

    def update(self, world: World) -> bool:
        """Whether ``now`` is another one."""
        slices = changes(self._slices, world.slices)
        touched = any(_is_api(each) for part in (slices.gone, slices.come) for each in part.values())
        self._slices = world.slices
        if not touched and world.node == self._config and world.nodes is self._nodes:
            return False
        self._config, self._nodes = world.node, world.nodes
        now = surroundings(world)
        changed, self.now = now != self.now, now
        return changed


def surroundings(world: World) -> Surroundings:
    claims = list(_claims(world))
    held = [(node, cidr) for node, cidr, rival in claims if not rival]
    problems = [_quarrel(*claim) for claim in claims if claim.rival]
    ranges = frozenset(Prefix.of(cidr) for _, cidr in held)
    senders = _senders(held) if world.node.tunnel else {}
    return Surroundings(_kinds(world, held), ranges, _routes(world, held, problems), senders)


def _routes(world: World, held: Iterable[tuple[Node, IPNetwork]], problems: list[str]) -> NodeRoutes:
    """With direct routing a pod CIDR is behind the node's first address of its own family. Through a tunnel both are
    behind one address, of the family in which this node is reached first itself."""
    tunnel, underlay = world.node.tunnel, underlay_version(world)
    router = {address.version: address for address in world.node.router_addresses}
    routes = []
    for node, cidr in held:
        version = underlay if tunnel else cidr.version
        address = next((each for each in node.addresses if each.version == version), None)
        if address is None:
            remedy = "give it one" if tunnel else "give it one, or use the tunnel vxlan"
            problems.append(f"node {node.name}: no IPv{version} address, so nothing leads to its pods {cidr}; {remedy}")
        else:
            own = router.get(cidr.version) if tunnel else None
            routes.append(NodeRoute(cidr, address, node.name, own))
    homeless = [node.name for node in _others(world) if not node.pod_cidrs]
    problems += [f"node {name}: no podCIDR yet, so no pod there can be reached" for name in homeless]
    addresses = {each: None for node in _others(world) for each in node.addresses}
    sender = next((each for each in own_addresses(world) if each.version == underlay), None)
    return NodeRoutes(tunnel, sender if tunnel else None, tuple(routes), tuple(addresses), tuple(problems))


def _senders(held: Iterable[tuple[Node, IPNetwork]]) -> dict[bytes, NodeEntry]:
    found: dict[bytes, NodeEntry] = {}
    for node, cidr in sorted(held, key=lambda each: each[1].version):
        for address in map(to_wide, node.addresses):
            before = found.get(address, NodeEntry(()))
            found[address] = NodeEntry((*before.ranges, Prefix.of(cidr)))
    return found


def underlay_version(world: World) -> int:
    """Address family of the packets between nodes: that of the address under which this node is known first."""
    addresses = own_addresses(world)
    return addresses[0].version if addresses else 4


def own_addresses(world: World) -> tuple[IPAddress, ...]:
    """By which others know this node, the preferred one first; empty until the cluster says so."""
    own = world.nodes.get(world.node.name)
    return own.addresses if own else ()


def router_address(cidr: IPNetwork) -> IPAddress:
    """The address in its pod CIDR that a node has itself: the first one."""
    return cidr[1] if cidr.num_addresses > 1 else cidr[0]


def _is_api(each: EndpointSlice) -> bool:
    return (each.key.namespace, each.service) == API_SERVICE


def _others(world: World) -> list[Node]:
    return [node for name, node in sorted(world.nodes.items()) if name != world.node.name]


class _Claim(NamedTuple):
    node: Node
    cidr: IPNetwork
    rival: str
    """The node that had (part of) it first, if any."""


def _claims(world: World) -> Iterator[_Claim]:
    """Every other node's pod CIDRs. This node's own come first, then the nodes in the order of their names."""
    taken: list[tuple[int, int, int, str]] = []
    """Version, first and last address, node: ranges that share no address, in order."""

    def rival(cidr: IPNetwork, name: str) -> str:
        version, first, last = cidr.version, int(cidr[0]), int(cidr[-1])
        at = bisect_right(taken, (version, last, 1 << 128))
        if at and taken[at - 1][0] == version and taken[at - 1][2] >= first:
            return taken[at - 1][3]
        taken.insert(at, (version, first, last, name))
        return ""

    for cidr in world.node.pod_cidrs:
        rival(cidr, world.node.name)
    for node in _others(world):
        for cidr in node.pod_cidrs:
            yield _Claim(node, cidr, rival(cidr, node.name))


def _quarrel(node: Node, cidr: IPNetwork, rival: str) -> str:
    return f"node {node.name}: its podCIDR {cidr} overlaps that of node {rival}, which keeps it; change one of them"


def _kinds(world: World, held: Iterable[tuple[Node, IPNetwork]]) -> dict[Prefix, Kind]:
    found: dict[Prefix, set[Reserved]] = {}
    config = world.node
    for address in (*config.router_addresses, *config.host_addresses):
        found[Prefix.host(address)] = {Reserved.HOST}
    for node in _others(world):
        for address in node.addresses:
            found.setdefault(Prefix.host(address), {Reserved.REMOTE_NODE})
    for _, cidr in held:
        found.setdefault(Prefix.host(router_address(cidr)), {Reserved.REMOTE_NODE})
    servers = set(_api_servers(world.slices.values()))
    for address in servers:
        outside = Reserved.WORLD_IPV4 if address.version == 4 else Reserved.WORLD_IPV6
        found.setdefault(Prefix.host(address), {outside}).add(Reserved.KUBE_APISERVER)
    for address in _routers_of(servers, world, held):
        found[Prefix.host(address)].add(Reserved.KUBE_APISERVER)
    return {prefix: frozenset(kind) for prefix, kind in found.items()}


def _routers_of(servers: set[IPAddress], world: World, held: Iterable[tuple[Node, IPNetwork]]) -> Iterator[IPAddress]:
    """An API server that shares its node's addresses speaks to pods under the node's address in its pod CIDR, when a
    tunnel leads there (``NodeRoute.source``)."""
    if not servers.isdisjoint((*own_addresses(world), *world.node.host_addresses)):
        yield from world.node.router_addresses
    for node, cidr in held:
        if not servers.isdisjoint(node.addresses):
            yield router_address(cidr)


def _api_servers(slices: Iterable[EndpointSlice]) -> Iterator[IPAddress]:
    for each in slices:
        if _is_api(each):
            for endpoint in each.endpoints:
                yield from endpoint.addresses
