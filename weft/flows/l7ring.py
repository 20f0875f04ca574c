"""Layer-7 records as Envoy sent them, in a ring of bounded size that grows only as far as it is used.

It keeps whole batches: when all of them together are too much, the oldest goes. Each record has a sequence number,
counted from 0 since the ring was made; it never changes and is never used twice.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import takewhile
from typing import NamedTuple

from weft.model.l7 import L7Batch, L7Entry

DEFAULT_BYTES = 8 << 20
"""About 20,000 requests."""
REORDER = 512
"""Envoy's threads send their records in batches, so they arrive out of order: so many are held back to put them right.
"""
BATCH_BYTES = 256
"""Of a batch's objects, beside its own bytes."""


class Entry(NamedTuple):
    number: int
    time_ns: int
    """CLOCK_BOOTTIME, as the kernel's records have, so that a clock that is set moves all flows alike."""
    unread: L7Entry


class _Kept(NamedTuple):
    first: int
    """Number of its first record."""
    offset_ns: int
    batch: L7Batch

    @property
    def end(self) -> int:
        return self.first + len(self.batch)

    def entries(self, low: int) -> list[Entry]:
        """Those from number ``low`` on."""
        unread = self.batch.entries()[max(low - self.first, 0) :]
        return [
            Entry(number, each.end_ns - self.offset_ns, each)
            for number, each in enumerate(unread, self.end - len(unread))
        ]


class L7Ring:
    """The newest records, in at most ``max_bytes``. Not thread-safe: one loop appends and reads."""

    def __init__(self, max_bytes: int = DEFAULT_BYTES) -> None:
        self.max_bytes, self.used_bytes = max_bytes, 0
        self._batches: deque[_Kept] = deque()
        self.end = 0
        """Sequence number of the next record; so also how many were ever taken in."""
        self.lost = 0
        """Records that the proxy could not hand over; the reader keeps it up to date."""

    @property
    def begin(self) -> int:
        """Sequence number of the oldest record that is still here; so also how many were overwritten."""
        return self._batches[0].first if self._batches else self.end

    def __len__(self) -> int:
        return self.end - self.begin

    def append(self, batch: L7Batch, offset_ns: int) -> None:
        """``offset_ns``: from CLOCK_BOOTTIME to the wall clock, now."""
        if len(batch):
            self._batches.append(_Kept(self.end, offset_ns, batch))
            self.used_bytes += batch.nbytes + BATCH_BYTES
            self.end += len(batch)
        while self.used_bytes > self.max_bytes:
            self.used_bytes -= self._batches.popleft().batch.nbytes + BATCH_BYTES

    def entry(self, number: int) -> Entry:
        """Errors: IndexError if it was overwritten or has not come yet."""
        if not self.begin <= number < self.end:
            raise IndexError(f"layer-7 record {number} is not in the ring ({self.begin}..{self.end - 1})")
        return next(self.entries(number))

    def entries(self, first: int = 0, *, newest_first: bool = False) -> Iterator[Entry]:
        """Those from number ``first`` on that are here now, as they came.

        What comes or goes while a caller holds the iterator changes nothing for it.
        """
        chosen = list(takewhile(lambda kept: kept.end > first, reversed(self._batches)))
        for kept in chosen if newest_first else reversed(chosen):
            found = kept.entries(first)
            yield from reversed(found) if newest_first else found


def in_order(entries: Iterable[Entry], *, newest_first: bool = False) -> Iterator[Entry]:
    """By time, as far as nobody is more than ``REORDER`` places from where it belongs; equal times as they came."""
    sign = -1 if newest_first else 1
    waiting: list[tuple[int, int, Entry]] = []
    for entry in entries:
        heapq.heappush(waiting, (sign * entry.time_ns, sign * entry.number, entry))
        if len(waiting) > REORDER:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]
