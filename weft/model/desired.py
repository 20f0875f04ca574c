"""The exact content of the node's BPF maps, as values: what plan/ computes and datapath/ makes true.

Host byte order and ordinary widths here; only the generated layouts swap and pad.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from weft.model.http import HttpRuleSet
from weft.model.net import ClassId, EndpointId, IdentityId, Prefix, RuleId, TableId
from weft.model.route import ClusterEndpoint, ClusterRef, RouteTable

TABLE_OPEN = TableId(0)
"""No policy selects the pod in this direction."""
CLASS_OTHER = ClassId(0)
"""In a table: every class that it does not list."""

Listener = HttpRuleSet | RouteTable
"""What one listener of Envoy enforces."""
FIRST_LISTENER, LAST_LISTENER = 10_000, 59_999

ACTION_NONE, ACTION_ALLOW, ACTION_DENY = 0, 1, 2
FLAG_OTHER = 1
"""On a table's default: peers of unlisted classes share the entries of CLASS_OTHER; look again there."""

IPCACHE_HOST, IPCACHE_SERVICE, IPCACHE_UNASSIGNED, IPCACHE_REMOTE = 1, 2, 4, 8


class PolicyKey(NamedTuple):
    """``bits``: 32 = table default, 64 = class, 72 = class + protocol, 73..88 = + a prefix of ports."""

    table: TableId
    class_: ClassId
    protocol: int
    port: int
    bits: int


class PolicyEntry(NamedTuple):
    action: int
    rule: RuleId
    flags: int = 0
    l7: int = 0
    """With ACTION_ALLOW: the number of the listener that has to see the requests; 0 = none."""


class IpcacheEntry(NamedTuple):
    identity: IdentityId
    class_: ClassId
    flags: int = 0


class EndpointEntry(NamedTuple):
    """Value of map ``endpoints``; its key is the pod's 16-byte address."""

    id: EndpointId
    ifindex: int
    identity: IdentityId
    class_: ClassId
    ingress_table: TableId
    egress_table: TableId
    mac: bytes
    scope: int = 0
    """Number of the pod's namespace: whose consumer routes concern it."""

    @property
    def flags(self) -> int:
        """Those of an ipcache entry, of which a pod has none."""
        return 0


class NodeEntry(NamedTuple):
    """Value of map ``nodes``; its key is a 16-byte address of another node. There with a tunnel only."""

    ranges: tuple[Prefix, ...]
    """Its pod CIDRs, at most one of each family, IPv4 first: what it may send for through the tunnel."""


class ServiceKey(NamedTuple):
    address: bytes
    port: int
    protocol: int


class ServiceEntry(NamedTuple):
    backends: int
    backend_count: int
    affinity_seconds: int
    id: int
    routed: int = 0
    """1: a route concerns the port; connections go to Envoy under the service's own address (``Desired.routes``)."""


class RouteKey(NamedTuple):
    """Key of map ``routes``; its value is a listener's number."""

    service: int
    """``ServiceEntry.id``"""
    scope: int
    """``EndpointEntry.scope`` of the client; 0 = clients whose namespace has no routes of its own."""


class Backend(NamedTuple):
    address: bytes
    port: int


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything that the kernel should hold. Mappings are never edited after construction."""

    endpoints: Mapping[bytes, EndpointEntry] = field(default_factory=dict)
    ipcache: Mapping[Prefix, IpcacheEntry] = field(default_factory=dict)
    tables: Mapping[TableId, Mapping[PolicyKey, PolicyEntry]] = field(default_factory=dict)
    """One inner mapping per policy table; its keys all carry the table's number."""
    services: Mapping[ServiceKey, ServiceEntry] = field(default_factory=dict)
    backends: Mapping[int, tuple[Backend, ...]] = field(default_factory=dict)
    """Backend lists by number; a list is never edited, only replaced under a new number."""
    member_lists: frozenset[int] = frozenset()
    """Lists whose members the kernel must be able to look up (map backend_members)."""
    routes: Mapping[RouteKey, int] = field(default_factory=dict)
    """Every routed service port has an entry of scope 0."""
    listeners: Mapping[int, Listener] = field(default_factory=dict)
    """Envoy's, by number: what ``PolicyEntry.l7`` and ``routes`` name. Also the listener's port on its address."""
    clusters: Mapping[ClusterRef, tuple[ClusterEndpoint, ...]] = field(default_factory=dict)
    """Backends of routes. Envoy's, not the kernel's."""
    nodes: Mapping[bytes, NodeEntry] = field(default_factory=dict)
    """Who may send through the tunnel."""


class BackendKey(NamedTuple):
    """Key of map ``backends``; its value is a Backend."""

    backends: int
    slot: int


class MemberKey(NamedTuple):
    """Key of map ``backend_members``; its value is always True (the map is a set)."""

    backends: int
    address: bytes
    port: int


MapName = Literal["endpoints", "ipcache", "policy", "services", "backends", "backend_members", "routes", "nodes"]


@dataclass(frozen=True, slots=True)
class Write:
    """Changes to one map, in any order among themselves; puts replace. Keys and values are the map's, as above:

    ``endpoints`` bytes → EndpointEntry, ``ipcache`` Prefix → IpcacheEntry, ``policy`` PolicyKey → PolicyEntry,
    ``services`` ServiceKey → ServiceEntry, ``backends`` BackendKey → Backend, ``backend_members`` MemberKey → True,
    ``routes`` RouteKey → int, ``nodes`` bytes → NodeEntry.
    A key is never in both.
    """

    map: MapName
    puts: Mapping[Any, Any] = field(default_factory=dict)
    deletes: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class BumpRevision:
    """Increase config.revision here: every open flow is decided again."""

    reason: str
    """For people: ``policy tables of 3 pods changed``."""


Step = Write | BumpRevision
