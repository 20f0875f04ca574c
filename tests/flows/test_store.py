"""What the store answers: how many, since when, what follows, what was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.flows.scene import OFFSET_NS, STEADY, event, record, store_of
from weft.flows.hubble import timestamp
from weft.flows.query import FlowFilter, FlowsRequest
from weft.flows.store import FlowStore
from weft.model.verdicts import Verdict

SECOND = 10**9


def ports(found: Any) -> list[int]:
    return [each["flow"]["l4"]["TCP"]["destination_port"] for each in found]


def numbered(*numbers: int, **fields: Any) -> list[Any]:
    """One event a second; its port is its number."""
    return [event(port=number, time_ns=number * SECOND, **fields) for number in numbers]


def at(seconds: float) -> str:
    return timestamp(OFFSET_NS + int(seconds * SECOND))


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (FlowsRequest(), [1, 2, 3, 4, 5, 6]),
        (FlowsRequest(number=2), [5, 6]),
        (FlowsRequest(number=9), [1, 2, 3, 4, 5, 6]),
        (FlowsRequest(number=2, first=True), [1, 2]),
        (FlowsRequest(since=at(3)), [3, 4, 5, 6]),
        (FlowsRequest(since=at(3.5), until=at(5)), [4, 5]),
        (FlowsRequest(until=at(2)), [1, 2]),
        (FlowsRequest(since=at(2), number=2), [5, 6]),
        (FlowsRequest(since=at(5), number=4), [5, 6]),
        (FlowsRequest(since=at(3), number=2, first=True), [3, 4]),
        (FlowsRequest(until=at(4), number=2), [3, 4]),
        (FlowsRequest(since=at(99)), []),
        (FlowsRequest(number=2, blacklist=(FlowFilter(destination_port=("6", "4")),)), [3, 5]),
    ],
)
def test_how_many_and_since_when(request_: FlowsRequest, expected: list[int]) -> None:
    assert ports(store_of(*numbered(1, 2, 3, 4, 5, 6)).query(request_)) == expected


@STEADY
@given(st.integers(1, 12), st.integers(0, 30), st.integers(1, 8), st.booleans())
def test_last_and_first_over_a_ring_that_wrapped(capacity: int, total: int, number: int, first: bool) -> None:
    events = [
        event(port=each + 1, reason=Verdict.POLICY_DENIED if each % 3 else Verdict.FORWARDED) for each in range(total)
    ]
    store = store_of(*events, records=capacity)
    request = FlowsRequest(number=number, first=first, whitelist=(FlowFilter(verdict=("DROPPED",)),))
    kept = [each + 1 for each in range(max(0, total - capacity), total) if each % 3]
    assert ports(store.query(request)) == (kept[:number] if first else kept[-number:])


def test_records_a_little_out_of_order_are_found_by_time() -> None:
    events = [event(port=1, time_ns=SECOND), event(port=3, time_ns=SECOND + 2000), event(port=2, time_ns=SECOND + 1000)]
    store = store_of(*events, event(port=4, time_ns=5 * SECOND))
    since = timestamp(OFFSET_NS + SECOND + 2000)
    assert ports(store.query(FlowsRequest(since=since))) == [3, 4]


def test_statistics_are_exact() -> None:
    store = store_of(*numbered(*range(1, 11)), records=4)
    store.set_kernel_lost(7)
    assert store.statistics() == {
        "num_flows": 4,
        "max_flows": 4,
        "seen_flows": 10,
        "overwritten": 6,
        "kernel_lost": 7,
    }


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (FlowsRequest(number=-1), "number: -1"),
        (FlowsRequest(follow=True, first=True), "first and follow"),
        (FlowsRequest(follow=True, until=at(1)), "until and follow"),
        (FlowsRequest(since="today"), "'today' is no moment"),
    ],
)
def test_requests_that_make_no_sense(request_: FlowsRequest, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        store_of().query(request_)


async def take(stream: AsyncIterator[Any], count: int) -> list[Any]:
    return [await asyncio.wait_for(anext(stream), 5) for _ in range(count)]


def follow(store: FlowStore, **fields: Any) -> AsyncIterator[Any]:
    return store.stream(FlowsRequest(follow=True, **fields))


def test_following_shows_only_what_is_new() -> None:
    async def scenario() -> None:
        store = store_of(*numbered(1, 2))
        stream = follow(store)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        assert not waiting.done()
        store.append(b"".join(record(each) for each in numbered(3, 4)))
        assert ports([await asyncio.wait_for(waiting, 5), *await take(stream, 1)]) == [3, 4]
        store.append(record(numbered(5)[0]))
        assert ports(await take(stream, 1)) == [5]

    asyncio.run(scenario())


def test_following_may_begin_in_the_past_and_filters() -> None:
    async def scenario() -> None:
        store = store_of(*numbered(1, 2, 3, 4))
        deny = (FlowFilter(destination_port=("4", "5")),)
        stream = follow(store, number=2, blacklist=deny)
        assert ports(await take(stream, 2)) == [2, 3]
        store.append(b"".join(record(each) for each in numbered(5, 6)))
        assert ports(await take(stream, 1)) == [6]
        assert ports(await take(follow(store, since=at(3), blacklist=deny), 2)) == [3, 6]

    asyncio.run(scenario())


def test_nothing_falls_between_the_stored_and_the_new() -> None:
    async def scenario() -> None:
        store = store_of(*numbered(1, 2))
        stream = follow(store, number=2)
        first = await take(stream, 1)
        store.append(record(numbered(3)[0]))  # while the answer is on its way
        assert ports([*first, *await take(stream, 2)]) == [1, 2, 3]

    asyncio.run(scenario())


def test_a_slow_follower_learns_how_many_it_missed() -> None:
    async def scenario() -> None:
        store = store_of(records=4)
        stream = follow(store)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        store.append(b"".join(record(each) for each in numbered(*range(1, 11))))
        lost = (await waiting)["lost_events"]
        assert lost == {"source": "HUBBLE_RING_BUFFER", "num_events_lost": "6"}
        assert ports(await take(stream, 4)) == [7, 8, 9, 10]

    asyncio.run(scenario())


def test_followers_learn_what_the_kernel_lost() -> None:
    async def scenario() -> None:
        store = store_of()
        store.set_kernel_lost(5)
        stream = follow(store)
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        store.set_kernel_lost(8)
        assert (await waiting)["lost_events"] == {"source": "PERF_EVENT_RING_BUFFER", "num_events_lost": "3"}
        store.append(record(numbered(1)[0]))
        assert ports(await take(stream, 1)) == [1]

    asyncio.run(scenario())


def test_a_span_is_a_snapshot() -> None:
    """Records that arrive while an answer is being read do not show up in the middle of it."""
    store = store_of(*numbered(1, 2, 3, 4), records=4)
    answer = store.query(FlowsRequest())
    first = next(answer)
    store.append(b"".join(record(each) for each in numbered(5, 6, 7)))
    assert ports([first, *answer]) == [1, 2, 3, 4]


def test_streaming_without_follow_ends() -> None:
    async def scenario() -> None:
        store = store_of(*numbered(*range(1, 61)))
        assert ports([each async for each in store.stream(FlowsRequest())]) == list(range(1, 61))

    asyncio.run(scenario())
