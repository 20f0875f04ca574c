"""The byte ring against a list that keeps everything."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.flows.scene import STEADY
from weft.flows.ring import RECORD, SLACK_NS, ByteRing


def numbered(first: int, count: int, step_ns: int = 1) -> bytes:
    """Records whose time is their number × ``step_ns``."""
    return b"".join(
        struct.pack("<8xQ", number * step_ns).ljust(RECORD, b"\0") for number in range(first, first + count)
    )


def read(ring: ByteRing, *, newest_first: bool = False, size: int = 5) -> list[int]:
    """The times of all records, by the spans that cover them."""
    found: list[int] = []
    for span in ring.spans(0, ring.end, size=size, newest_first=newest_first):
        assert 0 < span.length <= size
        assert span.start + span.length * RECORD <= len(ring.data)
        times = [struct.unpack_from("<8xQ", ring.data, span.start + index * RECORD)[0] for index in range(span.length)]
        assert times == list(range(span.first, span.first + span.length))
        found += reversed(times) if newest_first else times
    return found


@STEADY
@given(st.integers(1, 20), st.lists(st.integers(0, 50), max_size=12), st.integers(1, 25))
def test_holds_the_newest_and_counts_the_rest(capacity: int, batches: list[int], size: int) -> None:
    ring = ByteRing(capacity)
    for count in batches:
        ring.append(numbered(ring.end, count))
    total = sum(batches)
    kept = list(range(max(0, total - capacity), total))
    assert (ring.end, ring.begin, len(ring)) == (total, total - len(kept), len(kept))
    assert read(ring, size=size) == kept
    assert read(ring, newest_first=True, size=size) == kept[::-1]
    assert [ring.time_ns(number) for number in kept] == kept
    for gone in (ring.begin - 1, ring.end):
        with pytest.raises(IndexError):
            ring.record(gone)


@STEADY
@given(st.integers(1, 40), st.integers(0, 90), st.integers(-1, 95))
def test_search_by_time_misses_nothing(capacity: int, total: int, when: int) -> None:
    ring = ByteRing(capacity)
    ring.append(numbered(0, total, SLACK_NS))
    number = ring.at_or_after(when * SLACK_NS)
    assert ring.begin <= number <= ring.end
    assert number <= max(when, ring.begin)
    assert number == ring.end or number >= min(when - 1, ring.end)


def test_search_by_time_survives_records_that_came_out_of_order() -> None:
    ring = ByteRing(100)
    ring.append(b"".join(numbered(number ^ 1, 1) for number in range(50)))
    assert ring.at_or_after(30) == 0  # all of it is within the slack: the exact time is tested later


def test_spans_leave_out_what_is_overwritten_while_they_are_read() -> None:
    ring = ByteRing(10)
    ring.append(numbered(0, 10))
    spans = ring.spans(0, 10, size=4)
    assert next(spans).first == 0
    ring.append(numbered(10, 7))
    assert [(span.first, span.length) for span in spans] == [(7, 1), (8, 2)]


def test_refuses_parts_of_records() -> None:
    ring = ByteRing(4)
    with pytest.raises(ValueError, match="a record is 128"):
        ring.append(b"x" * (RECORD + 1))
    assert ring.end == 0
    with pytest.raises(ValueError, match="at least 1"):
        ByteRing(0)


def test_a_record_is_a_copy() -> None:
    ring = ByteRing(1)
    ring.append(memoryview(numbered(0, 1)))
    before = ring.record(0)
    ring.append(numbered(1, 1))
    assert before == numbered(0, 1)


def _anonymous() -> int:
    """Bytes of this process that no file backs."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("Anonymous:"))


def test_room_for_records_that_have_not_come_costs_nothing() -> None:
    before, ring = _anonymous(), ByteRing(1_000_000)
    assert _anonymous() - before < 8 << 20
    ring.append(numbered(0, 100_000))
    assert 12 << 20 < _anonymous() - before < 32 << 20  # 12.8 MB of records, and what made them
