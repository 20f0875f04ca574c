"""A pod's way to the network: its namespace, its veth pair, its program. The door is shut until ``up``.

Order: namespace → veth, down at the host's side → program attached → addresses and routes inside. Nothing can pass
before ``up``, and ``up`` is called when the plan that knows the pod is in force.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2s
from ipaddress import IPv6Address, ip_network
from pathlib import Path
from typing import Protocol

from weft.datapath import netns, rtnetlink, sysctl
from weft.datapath.errors import DatapathError
from weft.datapath.netlink import Netlink
from weft.datapath.node import GATEWAY_V4
from weft.datapath.rtnetlink import Route
from weft.model.net import EndpointId, IPAddress
from weft.model.objects import LocalEndpoint

GATEWAY_MAC = bytes.fromhex("027765667401")
"""MAC of every pod's gateway: the host side of its veth. All pods have the same."""
GATEWAY: dict[int, IPAddress] = {4: GATEWAY_V4, 6: IPv6Address("fe80::1")}
INSIDE = "eth0"
_QUIET = {
    "ipv6/conf/default/accept_ra": 0,
    "ipv6/conf/default/accept_dad": 0,
    "ipv6/conf/default/router_solicitations": 0,
    "ipv6/conf/default/addr_gen_mode": 1,
}
"""Set in a new namespace before its devices exist: pods talk no neighbour discovery."""


class Attacher(Protocol):
    """What a pod needs of weft.datapath.kernel.Datapath."""

    def attach_pod(self, device: str, ifindex: int) -> None: ...

    def detach_pod(self, device: str) -> None: ...


def device_name(name: str) -> str:
    """Host side of the veth of pod ``name`` (``<namespace>_<name>``): ``wf`` and 8 hexadecimal digits of its hash."""
    return "wf" + blake2s(name.encode(), digest_size=4).hexdigest()


def pod_mac(addresses: Sequence[IPAddress]) -> bytes:
    """02:77 and the four bytes of the IPv4 address, or the last four of the IPv6 address."""
    chosen = min(addresses, key=lambda address: address.version)
    return b"\x02\x77" + chosen.packed[-4:]


class PodDevices:
    """Pods' network in the namespace of the thread that makes this object (weft.runtime's PodNetwork).

    Every method is idempotent. Errors: DatapathError.
    """

    def __init__(self, attacher: Attacher, mtu: int) -> None:
        self._attacher, self._mtu = attacher, mtu
        self._making = ThreadPoolExecutor(1, "weft-pod")
        self._removing = ThreadPoolExecutor(1, "weft-pod-delete")  # a veth takes 30 ms to go: not before a new pod

    async def create(
        self, name: str, netns: Path, addresses: Sequence[IPAddress], endpoint: EndpointId
    ) -> LocalEndpoint:
        """Namespace mounted at ``netns``, veth with its program; the host side stays down. Replaces what is left of an
        earlier attempt under the same name."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._making, self.make, name, netns, addresses, endpoint)

    async def up(self, name: str) -> None:
        """Host side up. Only after the plan that knows the pod is in force."""
        await asyncio.get_running_loop().run_in_executor(self._making, self.bring_up, name)

    async def delete(self, name: str, netns: Path) -> None:
        """Removes veth, program and namespace; nothing there is not an error."""
        await asyncio.get_running_loop().run_in_executor(self._removing, self.remove, name, netns)

    def close(self) -> None:
        self._making.shutdown()
        self._removing.shutdown()

    # The same without asyncio.

    def make(self, name: str, path: Path, addresses: Sequence[IPAddress], endpoint: EndpointId) -> LocalEndpoint:
        device, mac = device_name(name), pod_mac(addresses)
        if rtnetlink.index_of(device) or path.exists():
            self.remove(name, path)
        inner = netns.create(path)
        try:
            with netns.entered(inner):
                for setting, value in _QUIET.items():
                    sysctl.write(setting, value)
                inside = Netlink()
            with inside, Netlink() as host:
                host.request(rtnetlink.add_veth(device, GATEWAY_MAC, INSIDE, mac, self._mtu, peer_netns=inner))
                ifindex = rtnetlink.index_of(device)
                sysctl.write(f"ipv6/conf/{device}/addr_gen_mode", 1)
                _accept_sources(host, device, ifindex)
                self._attacher.attach_pod(device, ifindex)
                _configure(inside, addresses)
        finally:
            os.close(inner)
        return LocalEndpoint(endpoint, ifindex, mac)

    def bring_up(self, name: str) -> None:
        with Netlink() as host:
            host.request(rtnetlink.set_link(device_name(name), up=True))

    def remove(self, name: str, path: Path) -> None:
        device = device_name(name)
        with Netlink() as host:
            host.request(rtnetlink.delete_link(device), ignore=(errno.ENODEV,))
        self._attacher.detach_pod(device)
        netns.delete(path)

    def find(self, name: str, path: Path, addresses: Sequence[IPAddress], endpoint: EndpointId) -> LocalEndpoint | None:
        """The pod's network as an earlier agent left it, or None if it must be made again."""
        device = device_name(name)
        with Netlink() as host:
            link = rtnetlink.links(host).get(device)
        if link is None or not netns.exists(path):
            return None
        try:
            if not link.up:  # the earlier agent may have died before it attached; else `enforce` replaces the program
                self._attacher.attach_pod(device, link.ifindex)
            with netns.entered(path), Netlink() as inside:
                _configure(inside, addresses)
        except DatapathError:
            return None  # somebody changed it from within: made again
        return LocalEndpoint(endpoint, link.ifindex, pod_mac(addresses))


def _accept_sources(host: Netlink, device: str, ifindex: int) -> None:
    """Pods are routed through weft_host, so strict reverse-path filtering would drop what comes from their own device.
    Loose filtering accepts it where the device has an address, and counts even if the machine's own setting is strict
    (the larger number of the two is in force)."""
    sysctl.write(f"ipv4/conf/{device}/rp_filter", 2)
    host.request(rtnetlink.add_address(ifindex, GATEWAY[4], rtnetlink.LINK))


def _configure(inside: Netlink, addresses: Sequence[IPAddress]) -> None:
    """The pod's end: up, its addresses, one default route per family; safe to repeat. In two calls of the kernel."""
    inside.request(rtnetlink.set_link("lo", up=True), rtnetlink.set_link(INSIDE, up=True))
    ifindex = rtnetlink.links(inside)[INSIDE].ifindex
    requests = []
    for address in addresses:
        gateway = GATEWAY[address.version]
        everywhere = ip_network("0.0.0.0/0" if address.version == 4 else "::/0")
        requests += [
            rtnetlink.add_address(ifindex, address),
            rtnetlink.add_neighbour(ifindex, gateway, GATEWAY_MAC),
            rtnetlink.add_route(Route(everywhere, ifindex, gateway, source=address)),
        ]
    inside.request(*requests)
