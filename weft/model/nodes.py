"""The cluster's other nodes, and how packets get to their pods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from weft.model.net import IPAddress, IPNetwork


class NodeRoute(NamedTuple):
    """The way to one node's pods of one address family."""

    destination: IPNetwork
    """Its pod CIDR."""
    address: IPAddress
    """The node's own: of the same family with direct routing, of the underlay's through a tunnel."""
    node: str
    source: IPAddress | None = None
    """What this node's own packets to those pods have as their source; None: whatever the kernel takes."""


@dataclass(frozen=True, slots=True)
class NodeRoutes:
    """What this node's routing should hold. Replaced whole, never edited."""

    tunnel: str = ""
    """As ``NodeConfig.tunnel``."""
    sender: IPAddress | None = None
    """Source of the packets that carry others: the address by which other nodes know this one."""
    routes: tuple[NodeRoute, ...] = ()
    addresses: tuple[IPAddress, ...] = ()
    """Of all other nodes, in order."""
    problems: tuple[str, ...] = ()
    """Nodes whose pods can't be reached, for people: name, cause, remedy."""
