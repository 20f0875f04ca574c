"""From what the kernel holds to what it should hold, without a wrong "yes" in between.

Phase one only takes away: at its end every pair of addresses is allowed what both the old and the new state allow.
Phase two only gives, up to what the new state allows. So whatever a packet meets on its way, and whichever of its two
ends has changed already, it is allowed only what the old state allows (phase one) or the new one (phase two).
docs/decisions/0002-changing-classes-safely.md has the argument.

    lists of backends          new numbers: nobody points at them yet
    teach                      tables in force learn the classes that addresses pass through; new tables are written
    move                       addresses go to the class they pass through, or out of reach if they are to be refused
    restrict                   pods flip to the table that they pass through
    ---- here both states' common part is in force ------------------------------------------------------------------
    rewrite                    tables whose number means something else now (never, if the numbering was kept)
    widen                      pods flip to their new table
    settle                     addresses go to their new class, new addresses appear
    services                   point at the new lists
    bump                       open flows are decided again
    forget                     whatever nobody uses any more
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TypeVar

from weft.model.desired import (
    IPCACHE_REMOTE,
    BumpRevision,
    Desired,
    EndpointEntry,
    IpcacheEntry,
    MapName,
    Step,
    Write,
)
from weft.model.net import ClassId, Prefix, TableId
from weft.plan.moves import Moves, Pair, is_dropped
from weft.plan.passing import Passing, Way, ways_of
from weft.plan.servicesteps import ServiceSteps
from weft.plan.tablestate import TableState, grouped

K = TypeVar("K")
V = TypeVar("V")


def transition(kernel: Desired, desired: Desired) -> tuple[Step, ...]:
    """Ordered steps; empty when there is nothing to do. Any ``kernel`` will do, half-written ones included.

    Apply them in order, each Write in one go; when one fails, stop: what is there then is safe, and a new
    ``transition`` from it leads on. An agent that starts has to bump the revision once by itself, because the one
    before it may have died just before it could.
    """
    return tuple(step for step in _Transition(kernel, desired).steps() if step is not None)


class _Transition:
    """``endpoints`` and ``ipcache``: the maps as the steps so far leave them."""

    def __init__(self, kernel: Desired, desired: Desired) -> None:
        self.kernel, self.desired = kernel, desired
        self.moves = Moves(kernel, desired)
        self.services = ServiceSteps(kernel, desired)
        self.endpoints: dict[bytes, EndpointEntry] = {}
        self.ipcache: dict[Prefix, IpcacheEntry] = {}

    def steps(self) -> Iterator[Step | None]:
        yield self._nodes()
        yield from self.services.prepare()
        if self.moves or self.kernel.tables is not self.desired.tables:
            yield from self._policy_steps()
        else:
            yield from self.services.switch()
            yield self.services.bump()
        yield from self.services.forget()

    def _nodes(self) -> Write | None:
        """Who may speak through the tunnel: what they say is judged by everything else."""
        wanted = self.desired.nodes
        return _write("nodes", dict(self.kernel.nodes), wanted, self.kernel.nodes.keys() - wanted.keys())

    def _policy_steps(self) -> Iterator[Step | None]:
        before, after = grouped(self.kernel.tables), grouped(self.desired.tables)
        self.endpoints, self.ipcache = dict(self.kernel.endpoints), dict(self.kernel.ipcache)
        self.passing = Passing(self.kernel, self.desired, before, after, self.moves)
        tables = TableState(before)
        self.passing.teach(tables)
        yield tables.write()
        yield from self._move()
        yield self._flip(self.passing.tables)
        yield self._write_endpoints({}, [wide for wide in self.moves.pods if wide not in self.desired.endpoints])
        self.passing.rewrite(tables)
        yield tables.write()
        yield self._flip({way: way.new for way in self.passing.tables})
        yield from self._settle()
        yield from self.services.switch()
        yield self._bump()
        tables.keep(after)
        yield tables.write()

    def _move(self) -> Iterator[Write | None]:
        passing, moves, desired = self.passing, self.moves, self.desired.ipcache
        blocks: dict[Prefix, IpcacheEntry] = {}
        for pair, keys in moves.blocks.items():
            apart = [key for key in keys if key not in passing.direct] if passing.direct else keys
            if self._is_at_once(pair):
                blocks.update((key, desired[key]) for key in apart)
            elif apart and (pair in moves.mixed or passing.classes[pair] != pair.old):
                blocks.update(self._on_their_way(apart, passing.classes[pair]))
        blocks.update((key, entry) for key in passing.direct if (entry := desired.get(key)) is not None)
        drops = {key: desired.get(key) or moves.new.around(key) for key in moves.drops}
        needless = [key for key in drops if key not in desired and is_dropped(moves.old.around(key))]
        for key in needless:
            del drops[key]
        yield self._write_ipcache(blocks, [])  # first: what is refused may be the range around one of them
        yield self._write_ipcache(drops, needless)
        pods = {wide: self.endpoints[wide]._replace(class_=passing.classes[pair]) for wide, pair in moves.pods.items()}
        yield self._write_endpoints(pods, moves.vanish)

    def _is_at_once(self, pair: Pair) -> bool:
        """Whether what they pass through is what they shall be: nothing but a class that is the new one already."""
        return pair not in self.moves.mixed and self.passing.classes.get(pair) == pair.new

    def _on_their_way(self, keys: Iterable[Prefix], class_: ClassId) -> Iterator[tuple[Prefix, IpcacheEntry]]:
        """Exempt as the node's own only if it is that before and after; bound as another node's if it is so in either.
        There are thousands, and most keep their flags."""
        before, after = self.kernel.ipcache, self.desired.ipcache
        for key in keys:
            old, new = before.get(key) or self.moves.old.around(key), after.get(key) or self.moves.new.around(key)
            if old.flags != new.flags:
                flags = (old.flags & new.flags) | ((old.flags | new.flags) & IPCACHE_REMOTE)
                yield key, IpcacheEntry(old.identity, class_, flags)
            elif class_ == old.class_:
                yield key, old
            elif class_ == new.class_ and old.identity == new.identity:
                yield key, new
            else:
                yield key, IpcacheEntry(old.identity, class_, old.flags)

    def _flip(self, tables: Mapping[Way, TableId]) -> Write | None:
        puts = {}
        for wide in self.passing.pods:
            ingress, egress = ways_of(self.kernel.endpoints[wide], self.desired.endpoints[wide])
            puts[wide] = self.endpoints[wide]._replace(ingress_table=tables[ingress], egress_table=tables[egress])
        return self._write_endpoints(puts, [])

    def _settle(self) -> Iterator[Write | None]:
        moves, desired = self.moves, self.desired
        pods = {wide: desired.endpoints[wide] for wide in (*moves.pods, *moves.appear) if wide in desired.endpoints}
        yield self._write_endpoints(pods, [])
        yield self._write_new(moves.arrive)  # first: it may be the range around one of the others, which then goes
        later = [keys for pair, keys in moves.blocks.items() if not self._is_at_once(pair)]
        yield self._write_new([*chain.from_iterable(later), *moves.drops])

    def _write_new(self, keys: Iterable[Prefix]) -> Write | None:
        """Entries of ipcache become what they shall be."""
        puts: dict[Prefix, IpcacheEntry] = {}
        gone: list[Prefix] = []
        for key in keys:
            if (entry := self.desired.ipcache.get(key)) is not None:
                puts[key] = entry
            elif key in self.ipcache:
                gone.append(key)
        return self._write_ipcache(puts, gone)

    def _bump(self) -> BumpRevision | None:
        """Flows decided before are decided again, unless all that happened is that somebody is new."""
        moves = self.moves
        pods = len(moves.pods) + len(moves.vanish)
        known = self.kernel.ipcache
        blocks = sum(map(len, moves.blocks.values())) + sum(1 for key in moves.drops if key in known)
        if not self.kernel.endpoints or not (pods or blocks):
            return self.services.bump()
        parts = [f"{n} {what}" for n, what in ((pods, "addresses of pods"), (blocks, "other addresses")) if n]
        return BumpRevision(f"changed: {', '.join(parts)}")

    def _write_endpoints(self, puts: Mapping[bytes, EndpointEntry], deletes: Iterable[bytes]) -> Write | None:
        return _write("endpoints", self.endpoints, puts, deletes)

    def _write_ipcache(self, puts: Mapping[Prefix, IpcacheEntry], deletes: Iterable[Prefix]) -> Write | None:
        return _write("ipcache", self.ipcache, puts, deletes)


def _write(name: MapName, now: dict[K, V], puts: Mapping[K, V], deletes: Iterable[K]) -> Write | None:
    """The part of it that changes something; ``now`` becomes what it leaves."""
    changed = {key: value for key, value in puts.items() if now.get(key) != value}
    gone = tuple(deletes)
    now.update(changed)
    for key in gone:
        del now[key]
    return Write(name, changed, gone) if changed or gone else None
