"""The policy trie while it is being changed: what a step wants of it, and the Write that makes it so."""

from __future__ import annotations

from collections.abc import Mapping

from weft.model.desired import PolicyEntry, PolicyKey, Write
from weft.model.net import ClassId, TableId
from weft.policy.tables import Group, Table

Tables = Mapping[TableId, Mapping[PolicyKey, PolicyEntry]]


class TableState:
    """Groups of entries by table and class, from ``kernel`` on. Groups are replaced whole and never edited."""

    def __init__(self, kernel: Mapping[TableId, Table]) -> None:
        self._groups: dict[TableId, Mapping[ClassId, Group]] = {t: table.groups for t, table in kernel.items()}
        self._puts: dict[PolicyKey, PolicyEntry] = {}
        self._deletes: dict[PolicyKey, None] = {}

    def put(self, table: TableId, groups: Mapping[ClassId, Group]) -> None:
        """These classes of the table become so; its others stay."""
        now = self._groups.get(table, {})
        different = {class_: group for class_, group in groups.items() if now.get(class_) != group}
        for class_, group in different.items():
            before = now.get(class_, {})
            for slot, entry in group.items():
                if before.get(slot) != entry:
                    self._puts[PolicyKey(table, class_, *slot)] = entry
            for slot in before.keys() - group.keys():
                self._deletes[PolicyKey(table, class_, *slot)] = None
        if different:
            self._groups[table] = {**now, **different}

    def replace(self, table: TableId, groups: Mapping[ClassId, Group]) -> None:
        """The table becomes exactly so."""
        now = self._groups.get(table, {})
        if now is groups:
            return
        self.put(table, {**{class_: {} for class_ in now.keys() - groups.keys()}, **groups})
        self._groups[table] = groups

    def keep(self, tables: Mapping[TableId, Table]) -> None:
        """Every table becomes exactly so, and there are no others."""
        for number in self._groups.keys() - tables.keys():
            self.replace(number, {})
        for number, table in tables.items():
            self.replace(number, table.groups)

    def write(self) -> Write | None:
        """What was asked for since the last time."""
        found = Write("policy", self._puts, tuple(self._deletes)) if self._puts or self._deletes else None
        self._puts, self._deletes = {}, {}
        return found


def grouped(tables: Tables) -> dict[TableId, Table]:
    return {number: Table.of(number, entries) for number, entries in tables.items()}
