"""World → Compiled: the one place where the parts of a plan come together.

policies ─► universe of selectors ─┬─► partition of identities ─► classes ─► endpoints, ipcache
                                   └─► nested CIDRs and traits ──┘    │
policies ─► subjects (which pods share which tables) ─────────────► tables, listeners
services, pods, slices ─┬─────────────────────────► services, backends
routes, grants ─────────┴─► routes, listeners, clusters
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from weft.model.desired import CLASS_OTHER, TABLE_OPEN, Desired, EndpointEntry, IpcacheEntry
from weft.model.identity import Identity
from weft.model.net import ClassId, IdentityId, Prefix, RuleId, TableId
from weft.model.nodes import NodeRoutes
from weft.model.objects import NamespacedName, Workload
from weft.model.policy import PeerPortSelector, Rule, Selector
from weft.model.route import RouteRef
from weft.model.world import World
from weft.plan.addresses import OtherAddresses, PodAddresses
from weft.plan.classes import Classes
from weft.plan.diff import Edition, changes
from weft.plan.identities import Identities
from weft.plan.listeners import Listeners
from weft.plan.nodes import Nodes
from weft.plan.numbering import RANGES, SPACES, Numbering, NumberSpace
from weft.plan.policies import Policies
from weft.plan.routes import Routes
from weft.plan.scopes import Scopes
from weft.plan.services import Services
from weft.plan.subjects import Subjects
from weft.plan.traits import Traits
from weft.policy.classes import Partition
from weft.policy.tables import ClassContent, Table
from weft.routes.book import RouteOutcome


@dataclass(frozen=True, slots=True)
class Compiled:
    """What a world means for this node."""

    desired: Desired = field(default_factory=Desired)
    rules: Mapping[RuleId, Rule] = field(default_factory=dict)
    """Every rule of every policy in the world (services resolved), by the number that entries and flows carry."""
    identities: Mapping[IdentityId, Identity] = field(default_factory=dict)
    """Every identity in use, and all reserved ones."""
    classes: Mapping[ClassId, frozenset[Selector | PeerPortSelector]] = field(default_factory=dict)
    """What a class number means: the selectors in force that match its members."""
    nodes: NodeRoutes = field(default_factory=NodeRoutes)
    """The ways to other nodes' pods."""
    outcomes: Mapping[RouteRef, RouteOutcome] = field(default_factory=dict)
    """How each route of the world fared: what its status says."""
    numbering: Numbering = field(default_factory=Numbering)
    """Keep it: hand it to the next compile, and store ``to_json()`` across restarts."""


class Compiler:
    """Compiles one world after the other and recomputes only what changed between them.

    Values that are the same object in two worlds are taken to be unchanged, so share what did not change. The result
    depends on the world and the numbering alone, not on the way to it; but a listener's number may be that of an
    earlier one with the same meaning.
    """

    def __init__(self, numbering: Numbering | None = None) -> None:
        self._numbering = numbering or Numbering()
        self._scope: tuple[str, str] | None = None

    def _begin(self) -> None:
        spaces = self._spaces
        self._workloads: Mapping[NamespacedName, Workload] = {}
        self._policies = Policies(spaces["rule"])
        self._identities = Identities(spaces["identity"])
        self._peers = Partition()
        self._traits = Traits()
        self._classes = Classes(spaces["class"])
        self._listeners = Listeners(spaces["listener"], lambda: self._policies.rules)
        self._subjects = Subjects(spaces["table"], self._traits.peer_ports, self._listeners)
        clients: dict[str, int] = {}
        homes = Scopes(spaces["scope"], clients)
        self._pods = PodAddresses(self._identities, self._peers, self._traits, self._classes, homes)
        self._nodes = Nodes()
        self._others = OtherAddresses(self._peers, self._traits, self._classes)
        self._services = Services(spaces["backends"], spaces["service"])
        self._routes = Routes(self._listeners, Scopes(spaces["scope"], clients))
        self._tables: Mapping[TableId, Table] = {}
        self._meanings: dict[ClassId, frozenset[Selector | PeerPortSelector]] = {CLASS_OTHER: frozenset()}
        self._endpoints: Mapping[bytes, EndpointEntry] = {}
        self._ipcache: Mapping[Prefix, IpcacheEntry] = {}

    def compile(self, world: World) -> Compiled:
        scope = (world.node.cluster, world.node.trust_domain)
        if scope != self._scope:  # part of every pod's identity, so nothing that was computed holds
            self._spaces = {name: NumberSpace(self._numbering.spaces.get(name, {}), RANGES[name]) for name in SPACES}
            self._scope = scope
            self._begin()
        changed_pods = changes(self._workloads, world.workloads)
        self._workloads = world.workloads
        touched = self._policies.update(world)
        universe = self._policies.universe
        moves = self._identities.update(world, changed_pods)
        moved = self._peers.update(self._identities.index, universe.labels, added=moves.added, removed=moves.removed)
        retabled = self._subjects.update(self._identities, self._policies, moves, touched)
        changed = moves.addresses | self._traits.update(universe, self._identities, bool(moves.addresses))
        pods = self._pods.update(moved, changed, retabled, self._subjects)
        if self._nodes.update(world):
            self._identities.describe(set(self._nodes.now.kinds.values()))
        others = self._others.update(world.node, self._nodes.now, universe, moved)
        if pods.endpoints:
            self._endpoints = dict(self._pods.endpoints)
        if others or len(pods.remote) > len(self._ipcache) // 2:
            self._ipcache = Edition({**self._others.entries, **self._pods.remote})
        elif pods.remote:
            self._ipcache = self._edited(pods.remote)
        self._update_tables()
        stale = self._services.update(world, changed_pods, self._routes.attach(world))
        self._routes.update(self._services, stale)
        listeners = self._listeners.settle()
        self._numbering = Numbering({name: space.settle() for name, space in self._spaces.items()})
        return Compiled(
            Desired(
                self._endpoints,
                self._ipcache,
                self._tables,
                self._services.services,
                self._services.backends,
                self._services.member_lists,
                self._routes.routes,
                listeners,
                self._routes.clusters,
                self._nodes.now.senders,
            ),
            self._policies.rules,
            self._identities.identities,
            self._meanings,
            self._nodes.now.routes,
            self._routes.outcomes,
            self._numbering,
        )

    def _edited(self, changed: Iterable[Prefix]) -> Edition[Prefix, IpcacheEntry]:
        """``_ipcache`` after a change of these addresses."""
        edition, pods, others = Edition(self._ipcache), self._pods.remote, self._others.entries
        now = {address: pods.get(address) or others.get(address) for address in changed}
        edition.put({address: entry for address, entry in now.items() if entry is not None})
        for address in [address for address, entry in now.items() if entry is None]:
            edition.remove(address)
        return edition

    def _update_tables(self) -> None:
        entries = self._endpoints.values()
        used = {each.ingress_table for each in entries} | {each.egress_table for each in entries}
        self._subjects.settle(used - {TABLE_OPEN})
        new, lost = self._classes.settle()
        if new or lost:
            kept = {number: meaning for number, meaning in self._meanings.items() if number not in lost}
            self._meanings = {**kept, **{n: self._meaning(c) for n, c in new.items()}}
        tables = {number: self._table(number, new, lost) for number in self._subjects.compilers}
        if tables.keys() != self._tables.keys() or any(self._tables[n] is not table for n, table in tables.items()):
            self._tables = tables

    def _table(self, number: TableId, new: Mapping[ClassId, ClassContent], lost: set[ClassId]) -> Table:
        compiler, before = self._subjects.compilers[number], self._tables.get(number)
        if before is None:
            return Table(number, {CLASS_OTHER: compiler.default, **compiler.listed(self._classes.contents)})
        listed = compiler.listed(new)
        if not listed and lost.isdisjoint(before.groups):
            return before
        kept = {class_: group for class_, group in before.groups.items() if class_ not in lost}
        table = Table(number, {**kept, **listed})
        self._subjects.forget(number, (compiler.default_group, *table.groups.values()))
        return table

    def _meaning(self, content: ClassContent) -> frozenset[Selector | PeerPortSelector]:
        universe, ports = self._policies.universe, self._traits.peer_ports
        return frozenset(universe.labels.get(key) or universe.cidrs.get(key) or ports[key] for key in content)


def compile_world(world: World, previous: Numbering | None = None) -> Compiled:
    """One world, once (simulation, tests). The agent keeps a Compiler."""
    return Compiler(previous).compile(world)
