"""The classes and tables that addresses and pods pass through while the kernel's state changes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import count
from typing import NamedTuple

from weft.model.desired import CLASS_OTHER, FLAG_OTHER, TABLE_OPEN, Desired, EndpointEntry
from weft.model.net import ClassId, TableId
from weft.plan.groups import ALLOW_ALL, BASE, NONE, REFUSE_ALL, fares, is_below, meet
from weft.plan.moves import Moves, Pair, classes_used, passages
from weft.plan.tablestate import TableState
from weft.policy.tables import DEFAULT, Group, Table


class Way(NamedTuple):
    """A pod's tables in one direction."""

    old: TableId
    new: TableId


class Side:
    """What the tables of one state say about its classes."""

    def __init__(self, tables: Mapping[TableId, Table]) -> None:
        self.tables = tables
        self._defaults: dict[TableId, Group] = {}

    def says(self, table: TableId, class_: ClassId) -> Group:
        if table == TABLE_OPEN:
            return ALLOW_ALL
        if table not in self.tables:
            return REFUSE_ALL
        listed = self.listed(table, class_)
        if listed is not None:
            return listed
        if table not in self._defaults:
            self._defaults[table] = fares(self.tables[table], CLASS_OTHER)
        return self._defaults[table]

    def listed(self, table: TableId, class_: ClassId) -> Group | None:
        if class_ == CLASS_OTHER or table not in self.tables:
            return None
        return self.tables[table].groups.get(class_)


class Passing:
    """``classes[pair]`` and ``tables[way]``: what is passed through; ``renamed``: tables whose number changes meaning;
    ``pods``: those whose tables may change.

    ``calm``: no pod changes its tables. Then an address that is no pod of ours may change its class in one step
    (``direct``), for only one table has a say in each of its flows. If pods change their tables in one direction only,
    each flow has one end that flips: one write takes it from at most the old state to at most the new one, so there is
    no need for a table between the two.
    """

    def __init__(
        self,
        kernel: Desired,
        desired: Desired,
        before: Mapping[TableId, Table],
        after: Mapping[TableId, Table],
        moves: Moves,
    ) -> None:
        self._before, self._after = Side(before), Side(after)
        self._in_force_old, self._in_force_new = _in_force(kernel), _in_force(desired)
        self._kernel, self._desired = kernel, desired
        self.common = self._in_force_old & self._in_force_new
        self.renamed = {table for table in self.common if not self._means_the_same(table)}
        self.common -= self.renamed
        self.pods = [wide for wide in (kernel.endpoints if self.renamed else moves.pods) if wide in desired.endpoints]
        ways = {way for wide in self.pods for way in ways_of(kernel.endpoints[wide], desired.endpoints[wide])}
        flips = {way for way in ways if way.old != way.new or way.old in self.renamed}
        self.calm = not flips
        at_once = not self.renamed and self._is_one_ended()
        self.direct = {
            key
            for keys in (moves.blocks.values() if self.calm else ())
            for key in keys
            if key.bits == 128 and key.address not in desired.endpoints and key.address not in kernel.endpoints
        }
        pairs = {
            *moves.pods.values(),
            *(pair for pair, keys in moves.blocks.items() if not self.direct.issuperset(keys)),
        }
        dirty = {pair for pair in pairs if self._is_dirty(pair)}
        known = {class_ for tables in (before, after) for table in tables.values() for class_ in table.groups}
        taken = known | self._used_old | self._used_new if pairs else set()
        self.classes = passages(pairs, self._used_old, self._used_new, dirty, taken) if pairs else {}
        self._below: dict[tuple[int, int], bool] = {}
        self._numbers = (TableId(n) for n in count(1) if n not in before and n not in after)
        self._made: dict[TableId, Way] = {}
        through = {way: way.new if at_once else self._through(way) for way in sorted(flips)}
        self.tables = {way: way.new for way in ways - flips} | through

    @cached_property
    def _used_old(self) -> set[ClassId]:
        return classes_used(self._kernel)

    @cached_property
    def _used_new(self) -> set[ClassId]:
        return classes_used(self._desired)

    def _means_the_same(self, table: TableId) -> bool:
        """Whether the kernel's table is the new one as far as anybody is concerned who keeps his class."""
        old, new = self._before.tables.get(table), self._after.tables[table]
        if old is new:
            return True
        if old is None or old.groups.get(CLASS_OTHER) != new.groups.get(CLASS_OTHER):
            return False
        if any(BASE not in old.groups[class_] for class_ in self._used_old & old.groups.keys() - {CLASS_OTHER}):
            return False
        both = self._used_old & self._used_new
        return all(old.groups.get(c) == new.groups.get(c) for c in both & (old.groups.keys() | new.groups.keys()))

    def _is_one_ended(self) -> bool:
        ways = [ways_of(self._kernel.endpoints[wide], self._desired.endpoints[wide]) for wide in self.pods]
        return not all(any(way.old != way.new for way in direction) for direction in zip(*ways, strict=True))

    def _is_dirty(self, pair: Pair) -> bool:
        return pair.old != pair.new and any(
            self._before.says(table, pair.old) != self._after.says(table, pair.new) for table in self.common
        )

    def _everybody(self, way: Way) -> dict[Pair, ClassId]:
        """Pairs about whom the two tables may differ, and the class between the phases."""
        listed = {
            class_
            for table in (self._before.tables.get(way.old), self._after.tables.get(way.new))
            if table
            for class_ in table.groups
        }
        stay = {Pair(c, c): c for c in (listed & self._used_old & self._used_new) | {CLASS_OTHER}}
        return {**stay, **self.classes}

    def _through(self, way: Way) -> TableId:
        """The new table if it only takes away, the old one if the new only gives, else one made of both."""
        if not self.renamed.intersection(way):
            both = [
                (self._before.says(way.old, pair.old), self._after.says(way.new, pair.new))
                for pair in self._everybody(way)
            ]
            if all(self._is_below(new, old) for old, new in both):
                return way.new
            if all(self._is_below(old, new) for old, new in both):
                return way.old
        number = next(self._numbers)
        self._made[number] = way
        return number

    def _is_below(self, one: Group, other: Group) -> bool:
        """Groups live as long as the tables, so their ids name them."""
        key = (id(one), id(other))
        if key not in self._below:
            self._below[key] = other is ALLOW_ALL or is_below(one, other)
        return self._below[key]

    def teach(self, state: TableState) -> None:
        """New tables, and in those in force the classes passed through. Nobody uses any of that yet."""
        for table in self._in_force_new - self._in_force_old:
            state.replace(table, self._with_passages(table))
        for table in self.common:
            old, new = self._before.tables[table].groups, self._after.tables[table].groups
            if old is not new:
                state.put(table, {class_: {} for class_ in old.keys() - new.keys() - self._used_old})
                state.put(table, {class_: new[class_] for class_ in new.keys() - self._used_old})
        for table in self._in_force_old:
            state.put(table, self._lessons(table))
        for number, way in self._made.items():
            state.replace(number, self._common_part(way))

    def rewrite(self, state: TableState) -> None:
        """Tables whose number means something else now; nobody uses them between the two phases."""
        for table in self.renamed:
            state.replace(table, self._with_passages(table))

    def _with_passages(self, table: TableId) -> dict[ClassId, Group]:
        """A new table, which also knows the classes passed through, by what they become."""
        groups = dict(self._after.tables[table].groups)
        for pair, class_ in self.classes.items():
            if class_ != pair.new:
                listed = self._after.listed(table, pair.new)
                if listed is None:
                    groups.pop(class_, None)
                else:
                    groups[class_] = listed
        return groups

    def _lessons(self, table: TableId) -> dict[ClassId, Group]:
        """What a table in force has to learn about the classes passed through."""
        lessons: dict[ClassId, Group] = {}
        for pair, class_ in self.classes.items():
            if class_ == pair.old:
                continue
            old = self._before.listed(table, pair.old)
            if table not in self.common:
                lessons[class_] = old or {}
            elif class_ == pair.new:
                lessons[class_] = self._after.listed(table, pair.new) or {}
            else:
                lessons[class_] = meet(self._before.says(table, pair.old), self._after.says(table, pair.new))
        return lessons

    def _common_part(self, way: Way) -> dict[ClassId, Group]:
        """What both of a pod's tables allow, for every class that anybody has between the two phases."""
        default: Group = {DEFAULT: NONE}
        groups = {CLASS_OTHER: default}
        for pair, class_ in self._everybody(way).items():
            both = meet(self._before.says(way.old, pair.old), self._after.says(way.new, pair.new))
            groups[class_] = {DEFAULT: NONE._replace(flags=FLAG_OTHER), **both} if class_ == CLASS_OTHER else both
        return groups


def _in_force(maps: Desired) -> set[TableId]:
    entries = maps.endpoints.values()
    return ({entry.ingress_table for entry in entries} | {entry.egress_table for entry in entries}) - {TABLE_OPEN}


def ways_of(old: EndpointEntry, new: EndpointEntry) -> tuple[Way, Way]:
    """(ingress, egress)"""
    return Way(old.ingress_table, new.ingress_table), Way(old.egress_table, new.egress_table)
