"""What the kernel counts and holds, for people and metrics."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from weft.datapath import bpf
from weft.datapath.kernel import Datapath
from weft.datapath.layouts import Flow, FlowKey

_DIRECTIONS, _CODES = 2, 256
_COUNTED = (bpf.MAP_TYPE_HASH, bpf.MAP_TYPE_LRU_HASH, bpf.MAP_TYPE_LPM_TRIE)


class Counter(NamedTuple):
    packets: int
    bytes: int


class Usage(NamedTuple):
    entries: int
    max_entries: int


def counters(datapath: Datapath) -> dict[tuple[int, int], Counter]:
    """(direction, verdict code) → packets and bytes since the maps were made; direction 0 = sent by pods, 1 = to pods.
    Codes that never occurred are left out."""
    found = {}
    for raw, value in datapath.maps["counters"].items():
        numbers = struct.unpack(f"={len(value) // 8}Q", value)
        packets, size = sum(numbers[0::2]), sum(numbers[1::2])
        if packets:
            found[divmod(int.from_bytes(raw, "little"), _CODES)] = Counter(packets, size)
    return found


def events_lost(datapath: Datapath) -> int:
    """Records that did not fit into the events ring since it was made."""
    value = datapath.maps["events_lost"].lookup(bytes(4)) or b""
    return sum(struct.unpack(f"={len(value) // 8}Q", value))


def flows(datapath: Datapath) -> Iterator[tuple[FlowKey, Flow]]:
    """The whole flow table, in no order."""
    for key, value in datapath.maps["flows"].items():
        yield FlowKey.unpack(key), Flow.unpack(value)


def map_usage(datapath: Datapath) -> dict[str, Usage]:
    """How full each map is that can be full. A full flow table takes 40 ms to count, so an event loop asks in a thread,
    where it may be done beside everything else."""
    return {
        name: Usage(opened.count(), opened.max_entries)
        for name, opened in tuple(datapath.maps.items())
        if opened.type in _COUNTED
    }
