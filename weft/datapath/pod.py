"""A pod's way to the network: its namespace, its veth pair, its program. The door is shut until ``up``.

``create``, ``find`` and ``delete`` are for pods whose namespace is weft's own, ``plug``, ``find_plugged`` and
``unplug`` for those whose namespace a container runtime made.

Order: namespace → veth, down at the host's side → program attached (all this ahead of time: weft.datapath.spare) →
the pod's own names, addresses and routes. Nothing can pass before ``up``, and ``up`` is called when the plan that
knows the pod is in force.
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

from weft.datapath import netns, rtnetlink, spare, sysctl
from weft.datapath.errors import DatapathError
from weft.datapath.netlink import Netlink
from weft.datapath.node import GATEWAY_V4
from weft.datapath.rtnetlink import Route
from weft.datapath.spare import GATEWAY_MAC, INSIDE, Attacher, Spare, Spares
from weft.model.net import EndpointId, IPAddress, IPNetwork
from weft.model.objects import LocalEndpoint

GATEWAY: dict[int, IPAddress] = {4: GATEWAY_V4, 6: IPv6Address("fe80::1")}
EVERYWHERE: dict[int, IPNetwork] = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}
MAC_PREFIX = b"\x02\x77"
SPARES = 3
"""Networks that wait for pods to come: so many pods at once start without a wait."""

_PLUGGING, _REMOVING = 4, 4
"""Threads: most of the time they wait for the kernel."""


def device_name(name: str) -> str:
    """Host side of the veth of pod ``name`` (``<namespace>_<name>``): ``wf`` and 8 hexadecimal digits of its hash."""
    return "wf" + blake2s(name.encode(), digest_size=4).hexdigest()


def pod_mac(addresses: Sequence[IPAddress]) -> bytes:
    """02:77 and the four bytes of the IPv4 address, or the last four of the IPv6 address."""
    chosen = min(addresses, key=lambda address: address.version)
    return MAC_PREFIX + chosen.packed[-4:]


class PodDevices:
    """Pods' network in the namespace of the thread that makes this object (weft.runtime's PodNetwork, and weft.cni's
    PluggedNetwork).

    Every method is idempotent. Errors: DatapathError.
    """

    def __init__(self, attacher: Attacher, mtu: int) -> None:
        self._attacher, self.mtu = attacher, mtu
        self._making = ThreadPoolExecutor(1, "weft-pod")
        self._plugging = ThreadPoolExecutor(_PLUGGING, "weft-pod-plug")
        self._removing = ThreadPoolExecutor(_REMOVING, "weft-pod-delete")  # a veth takes 30 ms to go
        self._spares = Spares(lambda: spare.make(attacher, mtu), SPARES)
        self._coming: set[str] = set()

    def get_ready(self) -> None:
        """Make networks ahead, in the background; again after each pod that took one. Making one holds the kernel's
        lock of all devices for a long time, so not while a pod is coming."""
        if not self._coming:
            self._spares.fill()

    async def create(
        self, name: str, netns: Path, addresses: Sequence[IPAddress], endpoint: EndpointId
    ) -> LocalEndpoint:
        """Namespace mounted at ``netns``, veth with its program; the host side stays down. Replaces what is left of an
        earlier attempt under the same name."""
        self._coming.add(name)
        made = await asyncio.wrap_future(self._spares.take())
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._making, self._settle, made, name, netns, addresses, endpoint)

    async def up(self, name: str) -> None:
        """Host side up. Only after the plan that knows the pod is in force."""
        await asyncio.get_running_loop().run_in_executor(self._making, self.bring_up, name)
        self._coming.discard(name)

    async def delete(self, name: str, netns: Path) -> None:
        """Removes veth, program and namespace; nothing there is not an error."""
        self._coming.discard(name)
        await asyncio.get_running_loop().run_in_executor(self._removing, self.remove, name, netns)

    async def plug(
        self, name: str, netns: int, ifname: str, addresses: Sequence[IPAddress], endpoint: EndpointId
    ) -> LocalEndpoint:
        """A veth with its program into the namespace with that descriptor, as its device ``ifname``; the host side
        stays down. Replaces what is left of an earlier attempt under the same name."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._plugging, self.connect, name, netns, ifname, addresses, endpoint)

    async def unplug(self, name: str) -> None:
        """Removes both ends and the program; nothing there is not an error."""
        await asyncio.get_running_loop().run_in_executor(self._removing, self.disconnect, name)

    async def check_plugged(self, name: str, netns: int, ifname: str, addresses: Sequence[IPAddress]) -> None:
        """Errors: DatapathError that names what is missing or different from what ``plug`` and ``up`` made."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._plugging, self.check, name, netns, ifname, addresses)

    def close(self) -> None:
        self._spares.close()
        self._making.shutdown()
        self._plugging.shutdown()
        self._removing.shutdown()

    # The same without asyncio.

    def make(self, name: str, path: Path, addresses: Sequence[IPAddress], endpoint: EndpointId) -> LocalEndpoint:
        return self._settle(spare.make(self._attacher, self.mtu), name, path, addresses, endpoint)

    def _settle(
        self, made: Spare, name: str, path: Path, addresses: Sequence[IPAddress], endpoint: EndpointId
    ) -> LocalEndpoint:
        """A spare becomes the pod's. The mount is last: only then does it outlive the agent."""
        device, mac = device_name(name), pod_mac(addresses)
        with made:
            if rtnetlink.index_of(device) or path.exists():
                self.remove(name, path)
            with Netlink() as host:
                host.request(rtnetlink.rename_link(made.ifindex, device))
            self._attacher.keep_attached(device, made.link)
            _configure(made.inside, made.inner, INSIDE, addresses)
            netns.keep(made.netns, path)
        return LocalEndpoint(endpoint, made.ifindex, mac)

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
                _configure(inside, rtnetlink.index_of(INSIDE), INSIDE, addresses)
        except DatapathError:
            return None  # somebody changed it from within: made again
        return LocalEndpoint(endpoint, link.ifindex, pod_mac(addresses))

    # In a namespace that is somebody else's.

    @staticmethod
    def device(name: str) -> tuple[str, bytes]:
        """Name and MAC of the host side."""
        return device_name(name), GATEWAY_MAC

    @staticmethod
    def gateway(address: IPAddress) -> IPAddress:
        return GATEWAY[address.version]

    def connect(
        self, name: str, where: int, ifname: str, addresses: Sequence[IPAddress], endpoint: EndpointId
    ) -> LocalEndpoint:
        device, mac = device_name(name), pod_mac(addresses)
        with netns.own() as home:
            if os.path.sameopenfile(home, where):
                raise DatapathError(
                    "the pod's network namespace", "it is the node's own", "give the pod one of its own"
                )
        self.disconnect(name)
        with netns.entered(where):
            inside = Netlink()
        with inside, Netlink() as host:
            if ifname in rtnetlink.links(inside):
                raise DatapathError(f"device {ifname} of the pod", errno.EEXIST, "another plugin has made it")
            host.request(rtnetlink.add_veth(device, GATEWAY_MAC, ifname, mac, self.mtu, peer_netns=where))
            ifindex = rtnetlink.index_of(device)
            spare.accept_sources(host, device, ifindex)
            self._attacher.attach_pod(device, ifindex)
            with netns.entered(where):
                spare.keep_quiet(ifname)
                if any(address.version == 6 for address in addresses):
                    sysctl.write(f"ipv6/conf/{ifname}/disable_ipv6", 0)
            _configure(inside, rtnetlink.links(inside)[ifname].ifindex, ifname, addresses)
        return LocalEndpoint(endpoint, ifindex, mac)

    def disconnect(self, name: str) -> None:
        device = device_name(name)
        with Netlink() as host:
            host.request(rtnetlink.delete_link(device), ignore=(errno.ENODEV,))
        self._attacher.detach_pod(device)

    def find_plugged(self, name: str, addresses: Sequence[IPAddress], endpoint: EndpointId) -> LocalEndpoint | None:
        """The network of a pod that was ``up``, as an earlier agent left it. ``enforce`` replaces its program."""
        with Netlink() as host:
            link = rtnetlink.links(host).get(device_name(name))
        return LocalEndpoint(endpoint, link.ifindex, pod_mac(addresses)) if link and link.up else None

    def check(self, name: str, where: int, ifname: str, addresses: Sequence[IPAddress]) -> None:
        device = device_name(name)
        with Netlink() as host:
            outer = rtnetlink.links(host).get(device)
        if outer is None or not outer.up:
            raise DatapathError(f"device {device}", "it is down" if outer else "it is gone")
        if not self._attacher.is_attached(device, outer.ifindex):
            raise DatapathError(f"device {device}", "weft's program is not attached to it")
        with netns.entered(where):
            inside = Netlink()
        with inside:
            inner = rtnetlink.links(inside).get(ifname)
            if inner is None or inner.peer != outer.ifindex or inner.mac != pod_mac(addresses) or not inner.up:
                raise DatapathError(f"device {ifname} of the pod", "it is not as weft made it")
            held = {address for ifindex, address, _ in rtnetlink.addresses(inside) if ifindex == inner.ifindex}
            for address in addresses:
                if address not in held:
                    raise DatapathError(f"device {ifname} of the pod", f"it does not have {address}")
                default = (EVERYWHERE[address.version], inner.ifindex, GATEWAY[address.version])
                if default not in {route[:3] for route in rtnetlink.routes(inside, address.version)}:
                    raise DatapathError(f"device {ifname} of the pod", f"no route to {default[0]} by {default[2]}")


def _configure(inside: Netlink, ifindex: int, ifname: str, addresses: Sequence[IPAddress]) -> None:
    """The pod's end: up, its addresses, one default route per family; safe to repeat. In one call of the kernel."""
    requests = [
        rtnetlink.set_link("lo", up=True),
        rtnetlink.set_link(ifname, up=True, mac=pod_mac(addresses)),
    ]
    for address in addresses:
        gateway = GATEWAY[address.version]
        requests += [
            rtnetlink.add_address(ifindex, address),
            rtnetlink.add_neighbour(ifindex, gateway, GATEWAY_MAC),
            rtnetlink.add_route(Route(EVERYWHERE[address.version], ifindex, gateway, source=address)),
        ]
    inside.request(*requests)
