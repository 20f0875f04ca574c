"""The ways to other nodes' pods, in the network namespace of the caller: one route for each of their pod CIDRs.

Direct routing: ``<podCIDR> via <node's address>``, over a link that both nodes are on. Routes that are not weft's
(``rtnetlink.Route.ours``) are never touched: where one leads to a pod CIDR already, the network does it.

VXLAN: ``<podCIDR> via 169.254.1.2 dev weft_vxlan encap ip dst <node's address>``. The device has no ARP, so the gateway
is never asked for; thanks to it the kernel has one neighbour entry, rather than one for each pod of the cluster.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from weft.datapath import nft, rtnetlink
from weft.datapath.errors import DatapathError
from weft.datapath.layouts import TUNNEL_ID
from weft.datapath.netlink import Netlink
from weft.datapath.node import TUNNEL_DEVICE
from weft.datapath.rtnetlink import UNICAST, Route, Tunnel
from weft.model.net import IPAddress, IPNetwork
from weft.model.nodes import NodeRoute, NodeRoutes

TUNNEL_GATEWAY: dict[int, IPAddress] = {4: IPv4Address("169.254.1.2"), 6: IPv6Address("fe80::2")}


class Nodes:
    """Keeps the node's routing equal to what it was told last."""

    def __init__(self) -> None:
        self._unmasqueraded: tuple[IPNetwork | IPAddress, ...] | None = None

    def keep(self, wanted: NodeRoutes) -> tuple[str, ...]:
        """Add, change and remove what differs; safe to repeat, and then only reads. After ``node.bring_up``.

        Returns what is wrong, for people: each names the node, the cause and the remedy. Errors: DatapathError.
        """
        problems = list(wanted.problems)
        self._keep_unmasqueraded(wanted)
        with Netlink() as netlink:
            for version in (4, 6):
                ours = [route for route in wanted.routes if route.destination.version == version]
                problems += _keep_routes(netlink, wanted, ours, version)
        return tuple(problems)

    def _keep_unmasqueraded(self, wanted: NodeRoutes) -> None:
        """Packets of pods keep their source on the way to other nodes' pods, and to the nodes where these have routes
        back to pods."""
        found: list[IPNetwork | IPAddress] = [route.destination for route in wanted.routes]
        if not wanted.tunnel:
            found += wanted.addresses
        if tuple(found) != self._unmasqueraded:
            write_unmasqueraded(found)
            self._unmasqueraded = tuple(found)


def write_unmasqueraded(found: Iterable[IPNetwork | IPAddress]) -> None:
    """Replace the sets of destinations for which pods' packets are not masqueraded, in one transaction."""
    found = list(found)
    script = ""
    for version in (4, 6):
        name = f"inet {nft.TABLE} cluster_v{version}"
        script += f"flush set {name}\n"
        if members := ", ".join(str(each) for each in found if each.version == version):
            script += f"add element {name} {{ {members} }}\n"
    nft.run(script)


def leads_to_node(route: Route) -> bool:
    """Whether a route is one of those that ``Nodes.keep`` makes."""
    return route.ours and route.gateway is not None


def _keep_routes(netlink: Netlink, whole: NodeRoutes, wanted: list[NodeRoute], version: int) -> list[str]:
    present = rtnetlink.routes(netlink, version)
    ours = {route.destination: route for route in present if leads_to_node(route)}
    others = {route.destination for route in present if not route.ours}
    problems: list[str] = []
    routes: dict[IPNetwork, Route] = {}
    for each in wanted:
        try:
            if each.destination not in others:
                routes[each.destination] = _through_tunnel(whole, each) if whole.tunnel else _direct(netlink, each)
            elif whole.tunnel:
                raise _Unreachable(_taken(each))
        except _Unreachable as error:
            problems.append(str(error))
    # One to another device goes first: IPv6 looks the new one's gateway up, and would find it behind the old device.
    stale = [old for where, old in ours.items() if where not in routes or routes[where].ifindex != old.ifindex]
    netlink.request(*map(rtnetlink.delete_route, stale), ignore=(errno.ESRCH,))
    new = [route for route in routes.values() if not _same(ours.get(route.destination), route)]
    netlink.request(*map(rtnetlink.add_route, new))
    return problems


class _Unreachable(Exception):
    pass


def _direct(netlink: Netlink, wanted: NodeRoute) -> Route:
    where = f"node {wanted.node}: its address {wanted.address}"
    try:
        way = rtnetlink.way_to(netlink, wanted.address)
    except DatapathError as error:
        raise _Unreachable(f"{where} has no route, so nothing leads to its pods {wanted.destination}") from error
    if way.kind != UNICAST:
        raise _Unreachable(f"{where} is this node's own as well; nothing leads to its pods {wanted.destination}")
    if way.gateway is not None:
        raise _Unreachable(
            f"{where} is on no link of this node (it is reached via {way.gateway}), so packets to its pods "
            f"{wanted.destination} are left to the network; use the tunnel vxlan, or have the network route them"
        )
    return Route(wanted.destination, way.ifindex, wanted.address)


def _taken(wanted: NodeRoute) -> str:
    return (
        f"node {wanted.node}: a route to its pods {wanted.destination} is there that is not weft's, and keeps packets "
        "out of the tunnel; remove it"
    )


def _through_tunnel(whole: NodeRoutes, wanted: NodeRoute) -> Route:
    if whole.sender is None:
        raise _Unreachable(
            f"node {wanted.node}: this node's own address for the tunnel is not known yet, so nothing leads to its "
            f"pods {wanted.destination}"
        )
    return Route(
        wanted.destination,
        rtnetlink.index_of(TUNNEL_DEVICE),
        TUNNEL_GATEWAY[wanted.destination.version],
        source=wanted.source,
        tunnel=Tunnel(wanted.address, whole.sender, TUNNEL_ID),
    )


def _same(present: Route | None, wanted: Route) -> bool:
    return present is not None and present._replace(metric=wanted.metric) == wanted
