"""What the kernel's maps answer, in plain Python: longest-prefix matches over a Desired."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from weft.model.desired import (
    ACTION_ALLOW,
    FLAG_OTHER,
    IPCACHE_HOST,
    IPCACHE_SERVICE,
    IPCACHE_UNASSIGNED,
    TABLE_OPEN,
    Desired,
    EndpointEntry,
    IpcacheEntry,
    PolicyEntry,
    PolicyKey,
)
from weft.model.net import Prefix, RuleId


@dataclass
class Maps:
    endpoints: dict[bytes, EndpointEntry] = field(default_factory=dict)
    ipcache: dict[Prefix, IpcacheEntry] = field(default_factory=dict)
    policy: dict[PolicyKey, PolicyEntry] = field(default_factory=dict)

    @classmethod
    def of(cls, desired: Desired) -> Maps:
        entries = {key: entry for table in desired.tables.values() for key, entry in table.items()}
        return cls(dict(desired.endpoints), dict(desired.ipcache), entries)

    def whose(self, address: bytes) -> EndpointEntry | IpcacheEntry | None:
        if address in self.endpoints:
            return self.endpoints[address]
        number = int.from_bytes(address, "big")
        for bits in range(128, -1, -1):
            start = (number >> (128 - bits) << (128 - bits)).to_bytes(16, "big")
            if (found := self.ipcache.get(Prefix(start, bits))) is not None:
                return found
        return None

    def policy_entry(self, table: int, class_: int, protocol: int, port: int) -> PolicyEntry:
        if table == TABLE_OPEN:
            return PolicyEntry(ACTION_ALLOW, RuleId(0))
        found = self._longest(table, class_, protocol, port)
        if found.flags & FLAG_OTHER:
            found = self._longest(table, 0, protocol, port)
        return found

    def _longest(self, table: int, class_: int, protocol: int, port: int) -> PolicyEntry:
        keys = [(class_, protocol, port >> (88 - bits) << (88 - bits), bits) for bits in range(88, 72, -1)]
        for rest in (*keys, (class_, protocol, 0, 72), (class_, 0, 0, 64), (0, 0, 0, 32)):
            if (found := self.policy.get(PolicyKey(table, *rest))) is not None:
                return found
        return PolicyEntry(0, RuleId(0))

    def sides(
        self, source: bytes, destination: bytes, protocol: int, port: int
    ) -> tuple[PolicyEntry | None, PolicyEntry | None]:
        """(egress of the source, ingress of the destination); None = no policy is asked."""
        sender, receiver = self.whose(source), self.whose(destination)
        assert sender is not None and receiver is not None
        egress = ingress = None
        if isinstance(sender, EndpointEntry):
            egress = self.policy_entry(sender.egress_table, receiver.class_, protocol, port)
        if isinstance(receiver, EndpointEntry) and not is_flagged(sender, IPCACHE_HOST):
            ingress = self.policy_entry(receiver.ingress_table, sender.class_, protocol, port)
        return egress, ingress

    def allows(self, source: bytes, destination: bytes, protocol: int, port: int) -> bool:
        receiver = self.whose(destination)
        if receiver is None or is_flagged(receiver, IPCACHE_SERVICE | IPCACHE_UNASSIGNED):
            return False
        if is_flagged(self.whose(source), IPCACHE_SERVICE | IPCACHE_UNASSIGNED):
            return False
        sides = self.sides(source, destination, protocol, port)
        return all(side is None or side.action == ACTION_ALLOW for side in sides)


def is_flagged(entry: EndpointEntry | IpcacheEntry | None, flags: int) -> bool:
    return isinstance(entry, IpcacheEntry) and bool(entry.flags & flags)


def tables_of(desired: Desired) -> Mapping[PolicyKey, PolicyEntry]:
    return Maps.of(desired).policy
