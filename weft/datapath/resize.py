"""The MTU of pods that an earlier agent connected, where the routing between nodes has changed since."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

from weft.datapath import netns, rtnetlink
from weft.datapath.errors import DatapathError
from weft.datapath.netlink import Netlink
from weft.datapath.node import is_pod_device
from weft.datapath.pod import MAC_PREFIX

log = logging.getLogger("weft.datapath")


def resize(namespaces: Iterable[Path], mtu: int) -> None:
    """Both ends of each pod's veth get this MTU; the host sides are in the caller's namespace. One whose namespace is
    not among ``namespaces`` stays as it is: the stack then tells it what is too large. Errors: DatapathError."""
    with Netlink() as host:
        wrong = {
            link.ifindex: link
            for link in rtnetlink.links(host).values()
            if is_pod_device(link.name) and link.mtu != mtu
        }
        for path in namespaces if wrong else ():
            try:
                _resize_inside(path, host, wrong, mtu)
            except DatapathError as error:
                log.warning("%s", error)
    for left in wrong.values():
        log.warning("the pod at device %s keeps its MTU of %d instead of %d", left.name, left.mtu, mtu)


def _resize_inside(path: Path, host: Netlink, wrong: dict[int, rtnetlink.Link], mtu: int) -> None:
    """Takes those out of ``wrong`` whose other end is here. An end must not send more than the other one takes."""
    with netns.entered(path):
        inside = Netlink()
    with inside:
        for link in rtnetlink.links(inside).values():
            if link.peer not in wrong or not link.mac.startswith(MAC_PREFIX):
                continue
            outer = wrong.pop(link.peer)
            ends = [(inside, link.name), (host, outer.name)]
            for netlink, name in ends if mtu < outer.mtu else reversed(ends):
                netlink.request(rtnetlink.set_link(name, mtu=mtu))
