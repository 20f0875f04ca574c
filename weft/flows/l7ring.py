"""Layer-7 records as bytes, in a ring of bounded size that grows only as far as it is used.

Records differ in length, so the ring is a queue of segments: the newest grows, older ones are fixed, and when all of
them together are too much the oldest goes as a whole. Each record has a sequence number, counted from 0 since the ring
was made; it never changes and is never used twice.
"""

from __future__ import annotations

import heapq
from array import array
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

DEFAULT_BYTES = 4 << 20
"""About 20,000 requests."""
SEGMENT_BYTES = 64 << 10
REORDER = 512
"""Envoy's threads send their records in batches, so they arrive out of order: so many are held back to put them right.
"""
_INDEX_BYTES = array("I").itemsize + array("q").itemsize


class Entry(NamedTuple):
    number: int
    time_ns: int
    data: bytes


class Segment:
    """Records ``first`` and following. ``oldest_ns`` and ``newest_ns`` bound their times."""

    __slots__ = ("data", "ends", "first", "newest_ns", "oldest_ns", "times")

    def __init__(self, first: int, time_ns: int) -> None:
        self.first = first
        self.data: bytearray | bytes = bytearray()
        self.ends, self.times = array("I"), array("q")
        self.oldest_ns = self.newest_ns = time_ns

    @property
    def size(self) -> int:
        return len(self.data) + len(self.ends) * _INDEX_BYTES

    def entry(self, index: int) -> Entry:
        start = self.ends[index - 1] if index else 0
        return Entry(self.first + index, self.times[index], bytes(self.data[start : self.ends[index]]))


class L7Ring:
    """The newest records, in at most ``max_bytes``. Not thread-safe: one loop appends and reads."""

    def __init__(self, max_bytes: int = DEFAULT_BYTES, segment_bytes: int = SEGMENT_BYTES) -> None:
        """``segment_bytes``: how much is forgotten at once."""
        if not 0 < segment_bytes <= max_bytes // 2:
            raise ValueError(f"a ring of {max_bytes} bytes in segments of {segment_bytes}; at least two must fit")
        self.max_bytes, self._segment_bytes = max_bytes, segment_bytes
        self._segments: deque[Segment] = deque()
        self._closed_bytes = 0
        self.end = 0
        """Sequence number of the next record; so also how many were ever taken in."""
        self.lost = 0
        """Records that the proxy could not hand over; the reader keeps it up to date."""

    @property
    def begin(self) -> int:
        """Sequence number of the oldest record that is still here; so also how many were overwritten."""
        return self._segments[0].first if self._segments else self.end

    @property
    def used_bytes(self) -> int:
        return self._closed_bytes + (self._segments[-1].size if self._segments else 0)

    def __len__(self) -> int:
        return self.end - self.begin

    def append(self, time_ns: int, data: bytes) -> None:
        """``time_ns``: when it was, 64 bits. Errors: ValueError if it is longer than a segment."""
        size = len(data) + _INDEX_BYTES
        if size > self._segment_bytes:
            raise ValueError(f"a record of {size} bytes; at most {self._segment_bytes}")
        if not self._segments or self._segments[-1].size + size > self._segment_bytes:
            self._open(time_ns)
        segment = self._segments[-1]
        segment.data += data
        segment.ends.append(len(segment.data))
        segment.times.append(time_ns)
        segment.oldest_ns, segment.newest_ns = min(segment.oldest_ns, time_ns), max(segment.newest_ns, time_ns)
        self.end += 1

    def _open(self, time_ns: int) -> None:
        if self._segments:
            full = self._segments[-1]
            full.data, full.ends, full.times = bytes(full.data), full.ends[:], full.times[:]  # without room to grow
            self._closed_bytes += full.size
        while self._closed_bytes + self._segment_bytes > self.max_bytes:
            self._closed_bytes -= self._segments.popleft().size
        self._segments.append(Segment(self.end, time_ns))

    def entry(self, number: int) -> Entry:
        """Errors: IndexError if it was overwritten or has not come yet."""
        if not self.begin <= number < self.end:
            raise IndexError(f"layer-7 record {number} is not in the ring ({self.begin}..{self.end - 1})")
        segment = next(each for each in reversed(self._segments) if each.first <= number)
        return segment.entry(number - segment.first)

    def entries(
        self, first: int = 0, *, since_ns: int | None = None, until_ns: int | None = None, newest_first: bool = False
    ) -> Iterator[Entry]:
        """Those from number ``first`` on that are here now and of the time (bounds included), as they came.

        What comes or goes while a caller holds the iterator changes nothing for it.
        """
        chosen = [
            (segment, max(first - segment.first, 0), len(segment.ends))
            for segment in self._segments
            if (since_ns is None or segment.newest_ns >= since_ns)
            and (until_ns is None or segment.oldest_ns <= until_ns)
        ]
        for segment, low, high in reversed(chosen) if newest_first else chosen:
            for index in range(high - 1, low - 1, -1) if newest_first else range(low, high):
                time_ns = segment.times[index]
                if (since_ns is None or time_ns >= since_ns) and (until_ns is None or time_ns <= until_ns):
                    yield segment.entry(index)


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
