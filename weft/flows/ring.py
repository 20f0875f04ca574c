"""Flow records as the kernel wrote them, in a byte ring of fixed size: taken in by slice copy, read in place.

A record is 128 bytes: the BPF ring buffer's 8-byte header and ``struct flow_event`` (bpf/include/types.h). Each has a
sequence number, counted from 0 since the ring was made; it never changes and is never used twice.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import NamedTuple

RECORD = 128
"""Bytes of one record."""
DEFAULT_RECORDS = 65_536
SLACK_NS = 100_000_000
"""Records of different CPUs may arrive out of order by less than this; a search by time starts that much earlier."""

_TIME = struct.Struct("<8xQ")


class Span(NamedTuple):
    """``length`` records that lie together: the first is number ``first`` and begins at byte ``start``."""

    first: int
    length: int
    start: int


class ByteRing:
    """The newest ``records`` records. Not thread-safe: one loop appends and reads."""

    def __init__(self, records: int = DEFAULT_RECORDS) -> None:
        if records < 1:
            raise ValueError(f"a ring of {records} records; at least 1")
        self.capacity = records
        self.data = mmap(-1, records * RECORD, MAP_PRIVATE | MAP_ANONYMOUS)
        """Not a bytearray, which would be all in memory before the first record."""
        self.end = 0
        """Sequence number of the next record; so also how many were ever taken in."""
        self.kernel_lost = 0
        """Records that the kernel could not hand over (map events_lost); the reader keeps it up to date."""

    @property
    def begin(self) -> int:
        """Sequence number of the oldest record that is still here; so also how many were overwritten."""
        return max(0, self.end - self.capacity)

    def __len__(self) -> int:
        return self.end - self.begin

    def append(self, records: bytes | bytearray | memoryview) -> None:
        """Take in whole records, oldest first. Errors: ValueError if the length is not a multiple of 128."""
        view = memoryview(records)
        count, rest = divmod(view.nbytes, RECORD)
        if rest:
            raise ValueError(f"{view.nbytes} bytes of flow records; a record is {RECORD}")
        self.end += count
        if count > self.capacity:
            view = view[(count - self.capacity) * RECORD :]
            count = self.capacity
        start = (self.end - count) % self.capacity * RECORD
        before_wrap = min(view.nbytes, len(self.data) - start)
        self.data[start : start + before_wrap] = view[:before_wrap]
        self.data[: view.nbytes - before_wrap] = view[before_wrap:]

    def record(self, number: int) -> bytes:
        """A copy of one record. Errors: IndexError if it was overwritten or has not come yet."""
        start = self._start(number)
        return bytes(self.data[start : start + RECORD])

    def time_ns(self, number: int) -> int:
        """When the kernel saw it, CLOCK_BOOTTIME nanoseconds."""
        time_ns: int = _TIME.unpack_from(self.data, self._start(number))[0]
        return time_ns

    def at_or_after(self, time_ns: int) -> int:
        """A number from which on every record of ``time_ns`` or later comes (and perhaps a few of just before it)."""
        low, high = self.begin, self.end
        while low < high:
            middle = (low + high) // 2
            if self.time_ns(middle) < time_ns - SLACK_NS:
                low = middle + 1
            else:
                high = middle
        return low

    def spans(self, first: int, last: int, *, size: int = 4096, newest_first: bool = False) -> Iterator[Span]:
        """Cover the records ``first`` ≤ number < ``last`` that are here with spans of at most ``size`` records.

        What is overwritten while a caller holds the iterator is left out: each span is cut to what is there when it is
        asked for.
        """
        first = max(first, self.begin)
        last = min(last, self.end)
        while first < last:
            if newest_first:
                wrap = (last - 1) // self.capacity * self.capacity
                low = max(first, last - size, wrap)
                last, span = low, (low, last)
            else:
                wrap = (first // self.capacity + 1) * self.capacity
                high = min(last, first + size, wrap)
                first, span = high, (first, high)
            low, high = max(span[0], self.begin), span[1]
            if low < high:
                yield Span(low, high - low, low % self.capacity * RECORD)

    def _start(self, number: int) -> int:
        if not self.begin <= number < self.end:
            raise IndexError(f"flow record {number} is not in the ring ({self.begin}..{self.end - 1})")
        return number % self.capacity * RECORD
