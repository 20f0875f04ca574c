"""Networks made ahead, for pods that will come: a namespace, a veth pair and its program take 20 ms, of which most is
the kernel's wait for a grace period of RCU (FACTS: tcx attach).

A spare has no name that a pod could have, no address, and both its ends are down. Nothing of it is pinned or mounted:
it lives as long as its maker's descriptors, so an agent that ends in whatever way leaves none behind.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from weft.datapath import netns, rtnetlink, sysctl
from weft.datapath.netlink import Netlink
from weft.datapath.node import GATEWAY_V4

GATEWAY_MAC = bytes.fromhex("027765667401")
"""MAC of every pod's gateway: the host side of its veth. All pods have the same."""
INSIDE = "eth0"
_NO_MAC = bytes.fromhex("027700000000")
_QUIET = {"accept_ra": 0, "accept_dad": 0, "router_solicitations": 0, "addr_gen_mode": 1}


class Attacher(Protocol):
    """What pods' networks need of weft.datapath.kernel.Datapath."""

    def attach_pod(self, device: str, ifindex: int) -> None: ...

    def attach_spare(self, device: str, ifindex: int) -> int | None: ...

    def keep_attached(self, device: str, link: int | None) -> None: ...

    def detach_pod(self, device: str) -> None: ...

    def is_attached(self, device: str, ifindex: int) -> bool: ...


@dataclass(frozen=True, slots=True)
class Spare:
    """``ifindex``: of the host side, ``inner`` of the pod's. Use with ``with``: what was not kept by then goes."""

    netns: int
    link: int | None
    inside: Netlink
    ifindex: int
    inner: int

    def __enter__(self) -> Spare:
        return self

    def __exit__(self, *_: object) -> None:
        """The device is held by its namespace, and that by the first and the third of these."""
        self.inside.close()
        for fd in (self.netns, self.link):
            if fd is not None:
                os.close(fd)


def make(attacher: Attacher, mtu: int) -> Spare:
    """In the namespace of the calling thread. Errors: DatapathError; nothing is left behind then."""
    device = f"ws{os.urandom(4).hex()}"
    with contextlib.ExitStack() as undo:
        namespace = netns.make()
        undo.callback(os.close, namespace)
        with netns.entered(namespace):
            keep_quiet("default")
            inside = undo.enter_context(Netlink())
        with Netlink() as host:
            host.request(rtnetlink.add_veth(device, GATEWAY_MAC, INSIDE, _NO_MAC, mtu, peer_netns=namespace))
            ifindex = rtnetlink.index_of(device)
            accept_sources(host, device, ifindex)
        inner = rtnetlink.links(inside)[INSIDE].ifindex
        link = attacher.attach_spare(device, ifindex)
        undo.pop_all()
    return Spare(namespace, link, inside, ifindex, inner)


def keep_quiet(device: str) -> None:
    """No neighbour discovery on a pod's device, before it is up; ``default``: on those that are made from now on. In
    the namespace of the calling thread."""
    for setting, value in _QUIET.items():
        sysctl.write(f"ipv6/conf/{device}/{setting}", value)


def accept_sources(host: Netlink, device: str, ifindex: int) -> None:
    """The host side of a pod's veth, before it is up: no link-local address, and every packet's source is accepted.

    Pods are routed through weft_host, so strict reverse-path filtering would drop what comes from their own device.
    Loose filtering accepts it where the device has an address, and counts even if the machine's own setting is strict
    (the larger number of the two is in force)."""
    sysctl.write(f"ipv6/conf/{device}/addr_gen_mode", 1)
    sysctl.write(f"ipv4/conf/{device}/rp_filter", 2)
    host.request(rtnetlink.add_address(ifindex, GATEWAY_V4, rtnetlink.LINK))


class Spares:
    """Some of them, made in a thread of their own. For one event loop."""

    def __init__(self, make_one: Callable[[], Spare], wanted: int) -> None:
        self._make_one, self._wanted = make_one, wanted
        self._ready: deque[Future[Spare]] = deque()
        self._thread = ThreadPoolExecutor(1, "weft-spare")

    def take(self) -> Future[Spare]:
        """The next one; the taker closes it. When none can be made, that is the taker's error."""
        while self._ready:
            found = self._ready.popleft()
            if not (found.done() and found.exception()):
                return found
        return self._thread.submit(self._make_one)

    def fill(self) -> None:
        """Make as many as are missing, in the background."""
        while len(self._ready) < self._wanted:
            self._ready.append(self._thread.submit(self._make_one))

    def close(self) -> None:
        self._thread.shutdown(cancel_futures=True)
        for spare in self._ready:
            if not spare.cancelled() and spare.exception() is None:
                spare.result().__exit__()
        self._ready.clear()
