"""The ring of layer-7 records against a list that keeps everything."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.flows.l7scene import GivenBatch, request
from tests.flows.scene import STEADY
from weft.flows.l7ring import BATCH_BYTES, REORDER, Entry, L7Ring, in_order
from weft.model.l7 import L7Record

OFFSET = 1000


def at(number: int) -> L7Record:
    """Its client's port is its number, and so is its time (less ``OFFSET``)."""
    return request(time_ns=OFFSET + number, latency_ns=0, client_port=number)


def batch(first: int, count: int, nbytes: int = 50) -> GivenBatch:
    return GivenBatch(*map(at, range(first, first + count)), nbytes=nbytes)


def numbers(entries: object) -> list[int]:
    found = []
    for entry in entries:  # type: ignore[attr-defined]
        record = entry.unread.record()
        assert entry.number == entry.time_ns == record.client_port
        found.append(entry.number)
    return found


@STEADY
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 900)), max_size=30), st.booleans())
def test_holds_the_newest_within_its_bounds_and_counts_the_rest(sizes: list[tuple[int, int]], newest: bool) -> None:
    ring = L7Ring(max_bytes=2000)
    for count, nbytes in sizes:
        before = ring.begin
        ring.append(batch(ring.end, count, nbytes), OFFSET)
        assert ring.used_bytes <= 2000
        if count and ring.used_bytes + nbytes + BATCH_BYTES < 2000 - 900 - BATCH_BYTES:
            assert ring.begin == before  # nothing goes without need
    every = list(range(sum(count for count, _ in sizes)))
    assert (ring.end, len(ring)) == (len(every), len(every) - ring.begin)
    kept = every[ring.begin :]
    found = numbers(ring.entries(newest_first=newest))
    assert found == (kept[::-1] if newest else kept)
    assert numbers(ring.entry(number) for number in kept) == kept
    for low in range(ring.begin, ring.end):
        assert numbers(ring.entries(low)) == every[low:]
    for number in (ring.begin - 1, ring.end):
        with pytest.raises(IndexError):
            ring.entry(number)


def test_a_batch_larger_than_the_ring_is_counted_and_gone() -> None:
    ring = L7Ring(max_bytes=1000)
    ring.append(batch(0, 2), OFFSET)
    ring.append(batch(2, 3, 1000), OFFSET)
    assert (ring.begin, ring.end, len(ring), ring.used_bytes) == (5, 5, 0, 0)
    ring.append(batch(5, 1), OFFSET)
    assert numbers(ring.entries()) == [5]


def test_what_comes_and_goes_meanwhile_changes_nothing_for_a_reader() -> None:
    ring = L7Ring(max_bytes=4 * (50 + BATCH_BYTES))
    for number in range(4):
        ring.append(batch(number, 1), OFFSET)
    reader = ring.entries()
    assert next(reader).number == 0
    for number in range(4, 12):
        ring.append(batch(number, 1), OFFSET)
    assert numbers(reader) == [1, 2, 3]
    assert ring.begin == 8


@STEADY
@given(st.lists(st.integers(0, REORDER // 2), max_size=40), st.booleans())
def test_records_that_came_late_are_put_in_order(delays: list[int], newest_first: bool) -> None:
    (unread,) = GivenBatch(at(0)).entries()
    every = [Entry(number, number - delay, unread) for number, delay in enumerate(delays)]
    found = list(in_order(every[::-1] if newest_first else every, newest_first=newest_first))
    expected = sorted(every, key=lambda entry: (entry.time_ns, entry.number))
    assert found == (expected[::-1] if newest_first else expected)


def test_putting_in_order_reads_only_so_far_ahead() -> None:
    read = []
    (unread,) = GivenBatch(at(0)).entries()
    entries = (read.append(number) or Entry(number, number, unread) for number in range(10_000))  # type: ignore[func-returns-value]
    assert next(in_order(entries)).number == 0 and len(read) == REORDER + 1
