"""``v1`` Node: what nodes that share a store know of each other. The agents write them."""

from __future__ import annotations

from typing import Any

from msgspec import field

from weft.model.kinds.meta import ObjectMeta, Strict


class NodeSpec(Strict, frozen=True):
    pod_cidrs: tuple[str, ...] = field(default=(), name="podCIDRs")


class NodeAddress(Strict, frozen=True):
    type: str
    """``InternalIP``: others mean nothing here."""
    address: str


class NodeStatus(Strict, frozen=True):
    addresses: tuple[NodeAddress, ...] = ()


class Node(Strict, frozen=True):
    """Label ``topology.kubernetes.io/zone`` names its zone."""

    api_version: str
    kind: str
    metadata: ObjectMeta
    spec: NodeSpec = NodeSpec()
    status: Any = None
