"""Address → identity and class: the content of maps ``endpoints`` and ``ipcache``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from itertools import chain
from typing import NamedTuple

from weft.identity import number, reserved_labels
from weft.model.desired import (
    IPCACHE_HOST,
    IPCACHE_REMOTE,
    IPCACHE_SERVICE,
    IPCACHE_UNASSIGNED,
    EndpointEntry,
    IpcacheEntry,
)
from weft.model.identity import Reserved
from weft.model.net import ClassId, IdentityId, Prefix
from weft.model.objects import NodeConfig
from weft.plan.classes import Classes
from weft.plan.identities import KINDS, POSITIONS, Identities
from weft.plan.nodes import Surroundings
from weft.plan.policies import Universe
from weft.plan.scopes import Scopes
from weft.plan.subjects import Subjects, Tables
from weft.plan.traits import Traits
from weft.policy.cidrs import WORLD_IPV4 as ALL_IPV4
from weft.policy.cidrs import Covering, Mark, holds, nest
from weft.policy.classes import Partition
from weft.policy.tables import ClassContent


class Changed(NamedTuple):
    """Whether ``endpoints`` is another one now, and the addresses whose entries in ``remote`` may be."""

    endpoints: bool
    remote: Collection[Prefix]


class PodAddresses:
    """``endpoints``: this node's pods. ``remote``: all others. Edited in place; ``update`` says what."""

    def __init__(
        self, identities: Identities, peers: Partition, traits: Traits, classes: Classes, scopes: Scopes
    ) -> None:
        self._identities, self._peers, self._traits, self._classes = identities, peers, traits, classes
        self._scopes = scopes
        self._homes: dict[bytes, str] = {}
        self.endpoints: dict[bytes, EndpointEntry] = {}
        self.remote: dict[Prefix, IpcacheEntry] = {}

    def update(self, moved: set[int], changed: set[Prefix], retabled: set[int], subjects: Subjects) -> Changed:
        """``moved``: positions of another class; ``retabled``: of other tables; ``changed``: single addresses."""
        alike, single = self._alike(moved, changed)
        contents = {address: self._content(address) for address in single if address in self._identities.holder}
        for position in retabled - moved:
            ours = [a for a in self._identities.members.get(position, ()) if a.address in self.endpoints]
            contents.update((address, self._content(address)) for address in ours if address not in contents)
        numbers = self._classes.number_all({*contents.values(), *(self._peers.content[each] for each in alike)})
        holder = self._identities.holder
        gone = [address for address in changed if address not in holder]
        went = [entry.class_ for address in (*contents, *gone) if (entry := self._entry(address))]
        local = {address: numbers[content] for address, content in contents.items() if holder[address].local}
        remote = {address: numbers[content] for address, content in contents.items() if address not in local}
        no_pods = [each for each in (*remote, *gone) if self.endpoints.pop(each.address, None)]
        for each in no_pods:
            del self._homes[each.address]
        no_remotes = [each for each in (*local, *gone) if self.remote.pop(each, None)]
        endpoints = self._write_local(local, subjects) or bool(no_pods)
        self._write_remote(remote)
        came, left = Counter([*local.values(), *remote.values()]), Counter(went)
        everybody, held = self._identities.at, self.remote
        content_of = self._peers.content
        for position, addresses in alike.items():
            class_ = numbers[content_of[position]]
            entry = IpcacheEntry(everybody[position].id, class_, IPCACHE_REMOTE)
            came[class_] += len(addresses)
            left[held[addresses[0]].class_] += len(addresses)  # they are alike, so they have been until now
            for address in addresses:
                held[address] = entry
        self._classes.count(came, left)
        return Changed(endpoints, [*remote, *no_remotes, *chain.from_iterable(alike.values())])

    def _alike(self, moved: set[int], changed: set[Prefix]) -> tuple[dict[int, list[Prefix]], set[Prefix]]:
        """Of the identities that ``moved``, the addresses in ``remote`` that have the class of their labels; and those
        to look at one by one."""
        alike: dict[int, list[Prefix]] = {}
        single, special = set(changed), changed | self._identities.contested.keys()
        members_of, remote, traits = self._identities.members, self.remote, self._traits.any
        for position in moved:
            if not (members := members_of.get(position)):
                continue
            if traits:
                single.update(members)
            elif members.keys() <= remote.keys() and (not special or special.isdisjoint(members)):
                alike[position] = list(members)
            else:
                found = [address for address in members if address in remote and address not in special]
                if found:
                    alike[position] = found
                single.update(members.keys() - set(found))
        return alike, single

    def _content(self, address: Prefix) -> ClassContent:
        labels = self._peers.content[self._identities.position(address)]
        traits = self._traits.of(address, self._identities.holder[address])
        return labels | traits if traits else labels

    def _entry(self, address: Prefix) -> IpcacheEntry | EndpointEntry | None:
        return self.remote.get(address) or self.endpoints.get(address.address)

    def _write_local(self, classes: Mapping[Prefix, ClassId], subjects: Subjects) -> bool:
        holder = self._identities.holder
        self._homes.update((address.address, holder[address].key.namespace) for address in classes)
        self._scopes.replace(frozenset(self._homes.values()))
        positions = [self._identities.position(address) for address in classes]
        tables = subjects.tables([(at, holder[a].ports) for a, at in zip(classes, positions, strict=True)])
        changed = False
        for (address, class_), at, pair in zip(classes.items(), positions, tables, strict=True):
            entry = self._endpoint(address, at, class_, pair)
            if self.endpoints.get(address.address) != entry:
                self.endpoints[address.address] = entry
                changed = True
        return changed

    def _write_remote(self, classes: Mapping[Prefix, ClassId]) -> None:
        """Addresses of one identity and class share their entry."""
        shared: dict[tuple[int, ClassId], IpcacheEntry] = {}
        for address, class_ in classes.items():
            kind = (self._identities.position(address), class_)
            if kind not in shared:
                shared[kind] = IpcacheEntry(self._identities.at[kind[0]].id, class_, IPCACHE_REMOTE)
            self.remote[address] = shared[kind]

    def _endpoint(self, address: Prefix, position: int, class_: ClassId, tables: Tables) -> EndpointEntry:
        pod = self._identities.holder[address]
        local, scope = pod.local, self._scopes.number(pod.key.namespace)
        assert local is not None
        identity = self._identities.at[position].id
        return EndpointEntry(local.id, local.ifindex, identity, class_, tables.ingress, tables.egress, local.mac, scope)


_OUTSIDE = frozenset((Reserved.WORLD_IPV4, Reserved.WORLD_IPV6))
_WORLDS = tuple(POSITIONS[frozenset((each,))] for each in sorted(_OUTSIDE))


class OtherAddresses:
    """``entries``: nodes, API servers, the world, blocks that policies name, and the ranges that belong to nobody."""

    def __init__(self, peers: Partition, traits: Traits, classes: Classes) -> None:
        self._peers, self._traits, self._classes = peers, traits, classes
        self._around: tuple[NodeConfig, Surroundings] | None = None
        self._cidrs: frozenset[bytes] = frozenset()
        self.entries: Mapping[Prefix, IpcacheEntry] = {}

    def update(self, node: NodeConfig, nodes: Surroundings, universe: Universe, moved: set[int]) -> bool:
        cidrs = frozenset(universe.cidrs)
        if (node, nodes) == self._around and cidrs == self._cidrs and moved.isdisjoint(range(len(KINDS))):
            return False
        self._around, self._cidrs = (node, nodes), cidrs
        ranges = _flags(node, nodes)
        marks = nest(universe.cidrs, ranges)
        kinds = {**self._blocks(marks, ranges), **self._addresses(nodes, marks)}
        numbers = self._classes.number_all({content for _, content, _ in kinds.values()})
        before = self.entries
        self.entries = {
            prefix: IpcacheEntry(IdentityId(identity), numbers[content], flags)
            for prefix, (identity, content, flags) in kinds.items()
        }
        self._classes.count(
            Counter(e.class_ for e in self.entries.values()), Counter(e.class_ for e in before.values())
        )
        return True

    def _blocks(
        self, marks: Mapping[Prefix, Mark], ranges: Mapping[Prefix, int]
    ) -> dict[Prefix, tuple[int, ClassContent, int]]:
        found: dict[Prefix, tuple[int, ClassContent, int]] = {}
        in_ipv4, in_ipv6 = (self._peers.content[position] for position in _WORLDS)
        for prefix, mark in marks.items():
            if mark.flags:
                # Nothing inside these ranges is anybody's peer, so blocks inside them need no entry either.
                if prefix in ranges:
                    found[prefix] = (Reserved.UNKNOWN, frozenset(), mark.flags)
            elif holds(ALL_IPV4, prefix):
                found[prefix] = (Reserved.WORLD_IPV4, in_ipv4 | mark.content, 0)
            else:
                found[prefix] = (Reserved.WORLD_IPV6, in_ipv6 | mark.content, 0)
        return found

    def _addresses(
        self, nodes: Surroundings, marks: Mapping[Prefix, Mark]
    ) -> dict[Prefix, tuple[int, ClassContent, int]]:
        """Of nodes and API servers. The world's blocks hold an API server outside, but no node."""
        found: dict[Prefix, tuple[int, ClassContent, int]] = {}
        around = Covering(marks)
        for address, kind in nodes.kinds.items():
            mark = around.at(address.address)
            blocks = mark.content if kind & _OUTSIDE else self._traits.of(address, None)
            flags = (mark.flags & IPCACHE_REMOTE) | (IPCACHE_HOST if Reserved.HOST in kind else 0)
            content = self._peers.content[POSITIONS[kind]] | blocks
            found[address] = (number(reserved_labels(*kind), {}), content, flags)
        return found


def _flags(node: NodeConfig, nodes: Surroundings) -> dict[Prefix, int]:
    """What marks a range out from the world."""
    flags = {Prefix.of(network): IPCACHE_UNASSIGNED for network in node.pod_cidrs}
    flags.update((prefix, IPCACHE_UNASSIGNED | IPCACHE_REMOTE) for prefix in nodes.ranges)
    for network in node.service_cidrs:
        flags[Prefix.of(network)] = flags.get(Prefix.of(network), 0) | IPCACHE_SERVICE
    return flags
