"""The way to Envoy: a network namespace of its own, behind one device of the node's.

    weft_proxy ══ eth0 in <run directory>/netns/envoy

What the doors send to Envoy is put into that namespace, and taken in there whatever its address is; what Envoy sends
in anybody's name comes out at weft_proxy, where the program ``from_proxy`` judges it. So Envoy's packets meet neither
the node's firewall nor its connection tracking, a pod's packet cannot be taken for Envoy's, and Envoy itself reaches
nothing but pods' conversations. Source: docs/decisions/0007-layer-7.md.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from weft.datapath import netns, rtnetlink, sysctl
from weft.datapath.kernel import Datapath
from weft.datapath.layouts import PROXY_PORT_FIRST, PROXY_PORT_LAST
from weft.datapath.netlink import Netlink
from weft.datapath.node import PROXY_DEVICE, PROXY_MAC
from weft.datapath.pod import EVERYWHERE, GATEWAY
from weft.datapath.rtnetlink import LOCAL, LOCAL_TABLE, Route
from weft.datapath.spare import GATEWAY_MAC, INSIDE, accept_sources, keep_quiet

_RULE = 10
_SETTINGS: dict[str, str | int] = {
    # Whatever arrives has been judged, whoever it claims to come from.
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/all/accept_local": 1,
    # Apart from the ports of pods' own connections (32768-60999), so that no two have one tuple at the server.
    "ipv4/ip_local_port_range": f"{PROXY_PORT_FIRST}\t{PROXY_PORT_LAST}",
    # That range is small: a port is used again a second after its connection ended.
    "ipv4/tcp_tw_reuse": 1,
}


def open_proxy_way(datapath: Datapath, mtu: int) -> None:
    """Make or repair it. Errors: DatapathError."""
    make_proxy_network(datapath.paths.proxy_netns, mtu)
    datapath.enforce_proxy()
    with Netlink() as host:
        host.request(rtnetlink.set_link(PROXY_DEVICE, up=True))


def make_proxy_network(path: Path, mtu: int) -> None:
    """The namespace, mounted at ``path``, and the device, which is still down. Safe to repeat."""
    with Netlink() as host:
        if not netns.exists(path):
            host.request(rtnetlink.delete_link(PROXY_DEVICE), ignore=(errno.ENODEV,))
            os.close(netns.create(path))
        with netns.entered(path):
            keep_quiet("default")
            for setting, value in _SETTINGS.items():
                sysctl.write(setting, value)
        if PROXY_DEVICE not in rtnetlink.links(host):
            inside = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                veth = rtnetlink.add_veth(PROXY_DEVICE, GATEWAY_MAC, INSIDE, PROXY_MAC, mtu, peer_netns=inside)
                host.request(veth)
            finally:
                os.close(inside)
        accept_sources(host, PROXY_DEVICE, rtnetlink.index_of(PROXY_DEVICE))
        with netns.entered(path), Netlink() as inner:
            _configure(inner)


def _configure(inside: Netlink) -> None:
    """What comes by eth0 is the namespace's own, to whatever address; what leaves has one way."""
    sysctl.write(f"ipv4/conf/{INSIDE}/rp_filter", 0)
    inside.request(rtnetlink.set_link("lo", up=True), rtnetlink.set_link(INSIDE, up=True))
    lo, eth0 = rtnetlink.index_of("lo"), rtnetlink.index_of(INSIDE)
    for version in _versions():
        everywhere, gateway = EVERYWHERE[version], GATEWAY[version]
        taken_in = Route(everywhere, lo, kind=LOCAL, table=LOCAL_TABLE)
        inside.request(rtnetlink.add_neighbour(eth0, gateway, GATEWAY_MAC))
        if not any(route.destination == everywhere for route in rtnetlink.routes(inside, version)):
            inside.request(rtnetlink.delete_route(taken_in), ignore=(errno.ESRCH,))  # no gateway is an own address
            inside.request(rtnetlink.add_route(Route(everywhere, eth0, gateway)))
        inside.request(rtnetlink.add_route(taken_in))
        # Else every address would be the namespace's own to what leaves, too.
        inside.request(rtnetlink.add_rule(version, _RULE, LOCAL_TABLE, INSIDE), ignore=(errno.EEXIST,))
        inside.request(rtnetlink.delete_rule(version, 0, LOCAL_TABLE), ignore=(errno.ENOENT,))


def close_proxy_way(datapath: Datapath) -> None:
    """Take it away; nothing there is not an error. Envoy must have ended."""
    with Netlink() as host:
        host.request(rtnetlink.delete_link(PROXY_DEVICE), ignore=(errno.ENODEV,))
    datapath.enforce_proxy()
    netns.delete(datapath.paths.proxy_netns)


def _versions() -> tuple[int, ...]:
    """Address families that the namespace speaks."""
    has_v6 = Path("/proc/net/if_inet6").exists() and sysctl.read("ipv6/conf/lo/disable_ipv6") != "1"
    return (4, 6) if has_v6 else (4,)
