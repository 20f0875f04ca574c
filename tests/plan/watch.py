"""Applies steps one single put or delete at a time to plain maps, and looks at every flow after each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import Random
from typing import Any

from tests.plan.lookup import Maps, is_flagged
from weft.model.desired import (
    ACTION_ALLOW,
    IPCACHE_HOST,
    IPCACHE_SERVICE,
    IPCACHE_UNASSIGNED,
    Desired,
    EndpointEntry,
    PolicyKey,
    Step,
    Write,
)
from weft.model.net import IPAddress, TableId, from_wide, to_wide

Flow = tuple[bytes, bytes, int, int]
Verdict = tuple[int, int] | None
"""Of an allowed flow, the listeners of the sender's egress and the receiver's ingress policies (0 = none)."""


def at_most(one: Verdict, other: Verdict) -> bool:
    """Whether ``other`` allows whatever ``one`` allows, as far as anybody knows who does not look into listeners."""
    return one is None or (other is not None and all(b in (0, a) for a, b in zip(one, other, strict=True)))


def common(one: Verdict, other: Verdict) -> Verdict:
    """What both allow; of two listeners nobody knows, so nothing."""
    if one is None or other is None or any(a and b and a != b for a, b in zip(one, other, strict=True)):
        return None
    return one[0] or other[0], one[1] or other[1]


def single_operations(steps: Iterable[Step], random: Random) -> Iterator[tuple[str, Any, Any]]:
    """(map, key, value or None for a delete); those of one Write in any order."""
    for step in steps:
        if isinstance(step, Write):
            operations = [(step.map, key, value) for key, value in step.puts.items()]
            operations += [(step.map, key, None) for key in step.deletes]
            random.shuffle(operations)
            yield from operations


class Watch:
    """The maps, and what they say about ``flows``; lookups are remembered until something that they read changes."""

    def __init__(self, start: Desired, addresses: Iterable[IPAddress], ports: Iterable[tuple[int, int]]) -> None:
        self.maps = Maps.of(start)
        wide = [to_wide(address) for address in addresses]
        ports = tuple(ports)
        pairs = [(s, d) for s in wide for d in wide if s != d and from_wide(s).version == from_wide(d).version]
        self.flows: list[Flow] = [(s, d, protocol, port) for s, d in pairs for protocol, port in ports]
        self._who: dict[bytes, Any] = {}
        self._said: dict[tuple[int, int], dict[tuple[int, int], int | None]] = {}

    def apply(self, name: str, key: Any, value: Any) -> None:
        target: dict[Any, Any] = getattr(self.maps, name)
        if value is None:
            del target[key]
        else:
            target[key] = value
        if isinstance(key, PolicyKey):
            for place in [p for p in self._said if p[0] == key.table and key.class_ in (p[1], 0)]:
                del self._said[place]
        else:
            self._who.clear()

    def allowed(self) -> list[Verdict]:
        return [self._verdict(*flow) for flow in self.flows]

    def _verdict(self, source: bytes, destination: bytes, protocol: int, port: int) -> Verdict:
        sender, receiver = self._whose(source), self._whose(destination)
        for each in (sender, receiver):
            if is_flagged(each, IPCACHE_SERVICE | IPCACHE_UNASSIGNED):
                return None
        asks_sender = isinstance(sender, EndpointEntry)
        asks_receiver = isinstance(receiver, EndpointEntry)
        if not asks_sender and not asks_receiver:
            return None
        egress: int | None = 0
        ingress: int | None = 0
        if asks_sender:
            egress = self._says(sender.egress_table, getattr(receiver, "class_", 0), protocol, port)
        if asks_receiver and not is_flagged(sender, IPCACHE_HOST):
            ingress = self._says(receiver.ingress_table, getattr(sender, "class_", 0), protocol, port)
        return None if egress is None or ingress is None else (egress, ingress)

    def _whose(self, address: bytes) -> Any:
        if address not in self._who:
            self._who[address] = self.maps.whose(address)
        return self._who[address]

    def _says(self, table: int, class_: int, protocol: int, port: int) -> int | None:
        said = self._said.setdefault((table, class_), {})
        if (protocol, port) not in said:
            entry = self.maps.policy_entry(table, class_, protocol, port)
            said[protocol, port] = entry.l7 if entry.action == ACTION_ALLOW else None
        return said[protocol, port]

    def held(self) -> Desired:
        """What the maps hold now, as the datapath would read it back."""
        tables: dict[TableId, dict[PolicyKey, Any]] = {}
        for key, entry in self.maps.policy.items():
            tables.setdefault(key.table, {})[key] = entry
        return Desired(dict(self.maps.endpoints), dict(self.maps.ipcache), tables)

    def spell(self, flow: Flow) -> str:
        source, destination, protocol, port = flow
        return f"{from_wide(source)} -> {from_wide(destination)} {protocol}/{port}"
