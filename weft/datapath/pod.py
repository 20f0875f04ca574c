"""A pod's way to the network: its namespace, its veth pair, its program. The door is shut until ``up``.

Order: namespace → veth, down at the host's side → program attached (all this ahead of time: weft.datapath.spare) →
the pod's own names, addresses and routes. Nothing can pass before ``up``, and ``up`` is called when the plan that
knows the pod is in force.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2s
from ipaddress import IPv6Address, ip_network
from pathlib import Path

from weft.datapath import netns, rtnetlink, spare
from weft.datapath.errors import DatapathError
from weft.datapath.netlink import Netlink
from weft.datapath.node import GATEWAY_V4
from weft.datapath.rtnetlink import Route
from weft.datapath.spare import GATEWAY_MAC, INSIDE, Attacher, Spare, Spares
from weft.model.net import EndpointId, IPAddress
from weft.model.objects import LocalEndpoint

GATEWAY: dict[int, IPAddress] = {4: GATEWAY_V4, 6: IPv6Address("fe80::1")}
SPARES = 3
"""Networks that wait for pods to come: so many pods at once start without a wait."""


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
        self._spares = Spares(lambda: spare.make(attacher, mtu), SPARES)
        self._coming: set[str] = set()

    def get_ready(self) -> None:
        """Make networks ahead, in the background; after each pod that came again. Making one holds the kernel's lock
        of all devices for a long time, so not while a pod is coming."""
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
        self.get_ready()

    async def delete(self, name: str, netns: Path) -> None:
        """Removes veth, program and namespace; nothing there is not an error."""
        self._coming.discard(name)
        await asyncio.get_running_loop().run_in_executor(self._removing, self.remove, name, netns)

    def close(self) -> None:
        self._spares.close()
        self._making.shutdown()
        self._removing.shutdown()

    # The same without asyncio.

    def make(self, name: str, path: Path, addresses: Sequence[IPAddress], endpoint: EndpointId) -> LocalEndpoint:
        return self._settle(spare.make(self._attacher, self._mtu), name, path, addresses, endpoint)

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
            _configure(made.inside, made.inner, addresses)
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
                _configure(inside, rtnetlink.index_of(INSIDE), addresses)
        except DatapathError:
            return None  # somebody changed it from within: made again
        return LocalEndpoint(endpoint, link.ifindex, pod_mac(addresses))


def _configure(inside: Netlink, ifindex: int, addresses: Sequence[IPAddress]) -> None:
    """The pod's end: up, its addresses, one default route per family; safe to repeat. In one call of the kernel."""
    requests = [
        rtnetlink.set_link("lo", up=True),
        rtnetlink.set_link(INSIDE, up=True, mac=pod_mac(addresses)),
    ]
    for address in addresses:
        gateway = GATEWAY[address.version]
        everywhere = ip_network("0.0.0.0/0" if address.version == 4 else "::/0")
        requests += [
            rtnetlink.add_address(ifindex, address),
            rtnetlink.add_neighbour(ifindex, gateway, GATEWAY_MAC),
            rtnetlink.add_route(Route(everywhere, ifindex, gateway, source=address)),
        ]
    inside.request(*requests)
