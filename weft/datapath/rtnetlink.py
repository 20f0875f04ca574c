"""The little of rtnetlink that weft needs: links, addresses, routes, neighbours, tc filters. Source: rtnetlink(7)."""

from __future__ import annotations

import socket
import struct
from ipaddress import ip_network
from typing import NamedTuple

from weft.datapath.netlink import CREATE, EXCL, REPLACE, Message, Netlink, attr, attrs
from weft.model.net import IPAddress, IPNetwork

(NEWLINK, DELLINK, GETLINK), SETLINK, (NEWADDR, DELADDR, GETADDR) = (16, 17, 18), 19, (20, 21, 22)
(NEWRULE, DELRULE) = (32, 33)
(NEWROUTE, DELROUTE, GETROUTE), NEWNEIGH, NEWQDISC, (NEWTFILTER, GETTFILTER) = (24, 25, 26), 28, 36, (44, 46)
UP, NOARP, _MULTICAST = 1, 0x80, 0x1000
UNICAST, LOCAL, UNREACHABLE = 1, 2, 7
GLOBAL, LINK, _HOST = 0, 253, 254
"""Scopes of an address: whether the node may use it as a source towards others."""
_MAIN, LOCAL_TABLE = 254, 255
PROTOCOL = 119
"""Origin (rtm_protocol) of weft's routes, by which they are known again."""
_CLSACT = 0xFFFFFFF1
CLSACT_INGRESS, CLSACT_EGRESS = 0xFFFFFFF2, 0xFFFFFFF3


# ---- links --------------------------------------------------------------------------------------------------------


class Link(NamedTuple):
    ifindex: int
    name: str
    mac: bytes
    mtu: int
    flags: int
    kind: str
    """``veth``, or empty for a device without a kind (real hardware, loopback)."""
    peer: int
    """Index of a veth's other end (in its own namespace), 0 = none."""
    peer_netns: int
    """The other end's namespace, as this one numbers it; -1: this one itself, or there is no other end."""

    @property
    def up(self) -> bool:
        return bool(self.flags & UP)


def links(netlink: Netlink) -> dict[str, Link]:
    """Every device of the namespace, by name."""
    found = {}
    for data in netlink.dump(GETLINK, struct.pack("=BxHiII", 0, 0, 0, 0, 0)):
        _, _, ifindex, flags, _ = struct.unpack_from("=BxHiII", data)
        values = attrs(data, 16)
        name = values[3].rstrip(b"\0").decode()
        kind = attrs(values.get(18, b""), 0).get(1, b"").rstrip(b"\0").decode()
        mtu, peer = (int.from_bytes(values.get(number, b""), "little") for number in (4, 5))
        other = struct.unpack("=i", values[37])[0] if 37 in values else -1
        found[name] = Link(ifindex, name, values.get(1, b""), mtu, flags, kind, peer, other)
    return found


def _end(name: str, mac: bytes, mtu: int, netns: int | None) -> bytes:
    """Attributes of one end of a veth pair."""
    return attr(3, name) + attr(1, mac) + attr(4, mtu) + (attr(28, netns) if netns is not None else b"")


def add_veth(name: str, mac: bytes, peer: str, peer_mac: bytes, mtu: int, *, peer_netns: int | None = None) -> Message:
    """A veth pair, down, its peer made straight inside the namespace with descriptor ``peer_netns``. Both ends are
    quiet: neighbours are never asked for (NOARP), multicast groups never announced."""
    header = struct.pack("=BxHiII", 0, 0, 0, NOARP, NOARP | _MULTICAST)
    info = attr(1, "veth") + attr(2, attr(1, header + _end(peer, peer_mac, mtu, peer_netns)))
    return Message(
        NEWLINK, CREATE | EXCL, header + _end(name, mac, mtu, None) + attr(18, info), f"create device {name}"
    )


def add_vxlan(name: str, port: int, mtu: int) -> Message:
    """A VXLAN device, down, that sends where the route of each packet says (collect metadata), learns nothing and asks
    for no neighbour."""
    header = struct.pack("=BxHiII", 0, 0, 0, NOARP, NOARP | _MULTICAST)
    data = attr(25, b"\1") + attr(7, b"\0") + attr(15, struct.pack(">H", port))
    info = attr(1, "vxlan") + attr(2, data)
    body = header + attr(3, name) + attr(4, mtu) + attr(18, info)
    return Message(NEWLINK, CREATE | EXCL, body, f"create device {name} (UDP port {port})")


def set_link(name: str, *, up: bool = False, mtu: int = 0, mac: bytes = b"") -> Message:
    """Set a device up, or change its MTU or its address, or all of it (the address first)."""
    flags = UP if up else 0
    body = struct.pack("=BxHiII", 0, 0, 0, flags, flags) + attr(3, name)
    body += (attr(4, mtu) if mtu else b"") + (attr(1, mac) if mac else b"")
    return Message(NEWLINK, 0, body, f"set up device {name}")


def rename_link(ifindex: int, name: str) -> Message:
    """Of a device that is down."""
    return Message(NEWLINK, 0, struct.pack("=BxHiII", 0, 0, ifindex, 0, 0) + attr(3, name), f"name device {name}")


def delete_link(name: str) -> Message:
    return Message(DELLINK, 0, struct.pack("=BxHiII", 0, 0, 0, 0, 0) + attr(3, name), f"delete device {name}")


# ---- addresses, routes, neighbours ---------------------------------------------------------------------------------


def family(address: IPAddress | IPNetwork) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def add_address(ifindex: int, address: IPAddress, scope: int = GLOBAL) -> Message:
    """A /32 or /128, usable at once (no duplicate address detection), without a prefix route."""
    body = struct.pack("=BBBBI", family(address), address.max_prefixlen, 0, scope, ifindex)
    body += attr(2, address.packed) + attr(1, address.packed) + attr(8, 0x02 | 0x200)  # NODAD, NOPREFIXROUTE
    return Message(NEWADDR, CREATE | REPLACE, body, f"add address {address}")


def delete_address(ifindex: int, address: IPAddress, bits: int) -> Message:
    body = struct.pack("=BBBBI", family(address), bits, 0, 0, ifindex)
    body += attr(2, address.packed) + attr(1, address.packed)
    return Message(DELADDR, 0, body, f"delete address {address}")


def addresses(netlink: Netlink) -> list[tuple[int, IPAddress, int]]:
    """(device index, address, prefix length) of the whole namespace."""
    found = []
    for data in netlink.dump(GETADDR, struct.pack("=BBBBI", 0, 0, 0, 0, 0)):
        _, bits, _, _, ifindex = struct.unpack_from("=BBBBI", data)
        values = attrs(data, 8)
        raw = values.get(2) or values[1]
        found.append((ifindex, ip_network(raw).network_address, bits))
    return found


def answered(netlink: Netlink) -> set[IPAddress]:
    """Every single address at which the namespace takes packets in: its own, broadcast and anycast ones. From the
    local routing table, so whatever the kernel delivers to itself is there."""
    found = set()
    for version in (socket.AF_INET, socket.AF_INET6):
        for data in netlink.dump(GETROUTE, struct.pack("=BBBBBBBBI", version, 0, 0, 0, 0, 0, 0, 0, 0)):
            bits, table, kind = data[1], data[4], data[7]
            values = attrs(data, 12)
            if table == LOCAL_TABLE and kind in (2, 3, 4) and len(values.get(1, b"")) * 8 == bits:
                found.add(ip_network(values[1]).network_address)
    return found


class Tunnel(NamedTuple):
    """What a route says of the packets that carry those that it routes."""

    far: IPAddress
    near: IPAddress
    """Their source: an address of this node."""
    id: int


class Route(NamedTuple):
    """A route of the main table. ``ifindex`` 0 for an unreachable one."""

    destination: IPNetwork
    ifindex: int = 0
    gateway: IPAddress | None = None
    kind: int = UNICAST
    source: IPAddress | None = None
    metric: int = 0
    ours: bool = True
    table: int = _MAIN
    """Tables other than the main one: up to 255."""
    tunnel: Tunnel | None = None


def _route(command: int, flags: int, route: Route) -> Message:
    scope = GLOBAL
    if route.destination.version == 4:
        direct = route.kind == UNICAST and route.gateway is None
        scope = _HOST if route.kind == LOCAL else LINK if direct else GLOBAL
    where = route.destination
    onlink = 4 if route.gateway is not None else 0  # our gateways are in no prefix of the device
    body = struct.pack(
        "=BBBBBBBBI", family(where), where.prefixlen, 0, 0, route.table, PROTOCOL, scope, route.kind, onlink
    )
    body += attr(1, where.network_address.packed)
    body += attr(4, route.ifindex) if route.ifindex else b""
    body += attr(5, route.gateway.packed) if route.gateway else b""
    body += attr(7, route.source.packed) if route.source else b""
    body += attr(6, route.metric) if route.metric else b""
    body += _encapsulation(route.tunnel) if route.tunnel else b""
    return Message(command, flags, body, f"{'delete' if command == DELROUTE else 'add'} route {where}")


_LWTUNNEL = {4: 2, 6: 4}
"""LWTUNNEL_ENCAP_IP and _IP6 of linux/lwtunnel.h, by the family of the carrying packets."""
_TUNNEL_CSUM = 1


def _encapsulation(tunnel: Tunnel) -> bytes:
    """With UDP checksums over IPv6, where a receiver drops packets without."""
    kind = _LWTUNNEL[tunnel.far.version]
    inner = attr(1, struct.pack(">Q", tunnel.id)) + attr(2, tunnel.far.packed) + attr(3, tunnel.near.packed)
    if tunnel.far.version == 6:
        inner += attr(6, struct.pack(">H", _TUNNEL_CSUM))
    return attr(22, inner) + attr(21, struct.pack("=H", kind))


def _tunnel(values: dict[int, bytes]) -> Tunnel | None:
    """Of a route that was read."""
    if 22 not in values or int.from_bytes(values.get(21, b""), "little") not in _LWTUNNEL.values():
        return None
    inner = attrs(values[22], 0)
    far, near = (ip_network(inner[number]).network_address for number in (2, 3))
    return Tunnel(far, near, int.from_bytes(inner[1], "big"))


def add_route(route: Route) -> Message:
    return _route(NEWROUTE, CREATE | REPLACE, route)


def delete_route(route: Route) -> Message:
    return _route(DELROUTE, 0, route)


def routes(netlink: Netlink, version: int) -> list[Route]:
    """The main table of one address family."""
    kind = socket.AF_INET if version == 4 else socket.AF_INET6
    found = []
    for data in netlink.dump(GETROUTE, struct.pack("=BBBBBBBBI", kind, 0, 0, 0, 0, 0, 0, 0, 0)):
        _, bits, _, _, table, protocol, _, type_, _ = struct.unpack_from("=BBBBBBBBI", data)
        values = attrs(data, 12)
        if table != _MAIN or type_ not in (UNICAST, UNREACHABLE):
            continue
        raw = values.get(1, bytes(4 if version == 4 else 16))
        gateway, source = (ip_network(values[n]).network_address if n in values else None for n in (5, 7))
        ifindex, metric = (int.from_bytes(values.get(number, b""), "little") for number in (4, 6))
        ours, tunnel = protocol == PROTOCOL, _tunnel(values)
        found.append(
            Route(ip_network((raw, bits)), ifindex, gateway, type_, source, metric, ours, table, tunnel),
        )
    return found


def way_to(netlink: Netlink, address: IPAddress) -> Route:
    """The route that the kernel would take to an address. Errors: DatapathError when there is none."""
    body = struct.pack("=BBBBBBBBI", family(address), address.max_prefixlen, 0, 0, 0, 0, 0, 0, 0)
    data = netlink.ask(Message(GETROUTE, 0, body + attr(1, address.packed), f"find a route to {address}"))
    values = attrs(data, 12)
    gateway = ip_network(values[5]).network_address if 5 in values else None
    ifindex = int.from_bytes(values.get(4, b""), "little")
    return Route(ip_network(address), ifindex, gateway, data[7])


def _rule(command: int, flags: int, version: int, priority: int, table: int, device: str) -> Message:
    kind = socket.AF_INET if version == 4 else socket.AF_INET6
    body = struct.pack("=BBBBBBBBI", kind, 0, 0, 0, 0, 0, 0, 1, 0)  # FR_ACT_TO_TBL
    body += attr(6, priority) + attr(15, table) + (attr(3, device) if device else b"")
    what = f"{'delete' if command == DELRULE else 'add'} IPv{version} rule {priority}"
    return Message(command, flags, body, what)


def add_rule(version: int, priority: int, table: int, device: str) -> Message:
    """What comes in by ``device`` is routed by this table. The kernel answers EEXIST if the rule is there."""
    return _rule(NEWRULE, CREATE | EXCL, version, priority, table, device)


def delete_rule(version: int, priority: int, table: int) -> Message:
    """The kernel answers ENOENT if there is none."""
    return _rule(DELRULE, 0, version, priority, table, "")


def add_neighbour(ifindex: int, address: IPAddress, mac: bytes) -> Message:
    """A permanent neighbour entry: the kernel never asks for it."""
    body = struct.pack("=BxHiHBB", family(address), 0, ifindex, 0x80, 0, 1) + attr(1, address.packed) + attr(2, mac)
    return Message(NEWNEIGH, CREATE | REPLACE, body, f"add neighbour {address}")


# ---- tc filters, for kernels without tcx --------------------------------------------------------------------------


def add_clsact(ifindex: int) -> Message:
    body = struct.pack("=BxHiIII", 0, 0, ifindex, 0xFFFF0000, _CLSACT, 0) + attr(1, "clsact")
    return Message(NEWQDISC, CREATE | EXCL, body, f"add the clsact qdisc to device {ifindex}")


def replace_filter(ifindex: int, parent: int, program: int, name: str) -> Message:
    """The one filter of weft on that hook, replaced in one step: handle 1, priority 1, direct action."""
    options = attr(6, program) + attr(7, name) + attr(8, 1)
    info = (1 << 16) | socket.htons(3)  # priority, ETH_P_ALL
    body = struct.pack("=BxHiIII", 0, 0, ifindex, 1, parent, info) + attr(1, "bpf") + attr(2, options)
    return Message(NEWTFILTER, CREATE, body, f"attach {name} to device {ifindex}")


def filters(netlink: Netlink, ifindex: int, parent: int) -> set[str]:
    """Names of the BPF filters on that hook."""
    header = struct.pack("=BxHiIII", 0, 0, ifindex, 0, parent, 0)
    options = [attrs(data, 20).get(2, b"") for data in netlink.dump(GETTFILTER, header)]
    return {attrs(one, 0).get(7, b"").rstrip(b"\0").decode() for one in options} - {""}


def uplink(netlink: Netlink) -> Link | None:
    """The device of the default route with the lowest metric, IPv4 before IPv6; None without one."""
    by_index = {link.ifindex: link for link in links(netlink).values()}
    for version in (4, 6):
        defaults = [r for r in routes(netlink, version) if r.destination.prefixlen == 0 and r.ifindex in by_index]
        if defaults:
            return by_index[min(defaults, key=lambda route: route.metric).ifindex]
    return None


def index_of(name: str) -> int:
    """Index of a device of the calling thread's namespace, 0 if there is none."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return 0


def device_of(ifindex: int) -> str:
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return ""
