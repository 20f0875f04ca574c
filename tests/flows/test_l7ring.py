"""The ring of layer-7 records against a list that keeps everything, and what is never stored."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.flows.l7scene import ROUTE, TRACE_ID, request
from tests.flows.scene import OFFSET_NS, STEADY, address
from weft.flows.l7codec import CREDENTIALS, decode, encode
from weft.flows.l7ring import REORDER, SEGMENT_BYTES, Entry, L7Ring, in_order
from weft.model.l7 import L7Record, L7Verdict, Phase, PolicyRuleRef, RouteRuleRef


@STEADY
@given(st.lists(st.integers(0, 60), max_size=60), st.booleans())
def test_holds_the_newest_within_its_bounds_and_counts_the_rest(sizes: list[int], newest_first: bool) -> None:
    ring = L7Ring(max_bytes=420, segment_bytes=140)
    every = [bytes([number]) * size for number, size in enumerate(sizes)]
    for number, data in enumerate(every):
        ring.append(number, data)
        assert ring.used_bytes <= 420
    assert (ring.end, len(ring)) == (len(every), len(every) - ring.begin)
    kept = [(number, number, data) for number, data in enumerate(every)][ring.begin :]
    assert sum(len(data) + 12 for *_, data in kept) == ring.used_bytes
    found = [tuple(entry) for entry in ring.entries(newest_first=newest_first)]
    assert found == (kept[::-1] if newest_first else kept)
    assert [tuple(ring.entry(number)) for number, *_ in kept] == kept
    assert [tuple(entry) for entry in ring.entries(ring.end - 2)] == kept[-2:]
    if sum(len(data) + 12 for data in every) > 420:
        assert ring.used_bytes > 140  # a whole segment goes, not all of them
    for number in (ring.begin - 1, ring.end):
        with pytest.raises(IndexError):
            ring.entry(number)


def test_time_is_exact() -> None:
    ring = L7Ring(max_bytes=1000, segment_bytes=100)
    for number in range(20):
        ring.append(number * 10, bytes(36))  # two a segment
    assert [entry.number for entry in ring.entries(since_ns=95, until_ns=125)] == [10, 11, 12]
    assert [entry.number for entry in ring.entries(since_ns=180)] == [18, 19]
    assert [entry.number for entry in ring.entries(until_ns=0)] == [0]


def test_what_comes_and_goes_meanwhile_changes_nothing_for_a_reader() -> None:
    ring = L7Ring(max_bytes=200, segment_bytes=100)
    for number in range(4):
        ring.append(number, bytes([number]) * 36)
    reader = ring.entries()
    assert next(reader).number == 0
    for number in range(4, 12):
        ring.append(number, bytes([number]) * 36)
    assert [tuple(entry) for entry in reader] == [(number, number, bytes([number]) * 36) for number in (1, 2, 3)]
    assert ring.begin == 8


@STEADY
@given(st.lists(st.integers(0, REORDER // 2), max_size=40), st.booleans())
def test_records_that_came_late_are_put_in_order(delays: list[int], newest_first: bool) -> None:
    every = [Entry(number, number - delay, b"") for number, delay in enumerate(delays)]
    found = list(in_order(every[::-1] if newest_first else every, newest_first=newest_first))
    expected = sorted(every, key=lambda entry: (entry.time_ns, entry.number))
    assert found == (expected[::-1] if newest_first else expected)


def test_putting_in_order_reads_only_so_far_ahead() -> None:
    read = []
    entries = (read.append(number) or Entry(number, number, b"") for number in range(10_000))  # type: ignore[func-returns-value]
    assert next(in_order(entries)).number == 0 and len(read) == REORDER + 1


def test_an_empty_ring_takes_no_memory_and_a_full_one_no_more_than_its_bound() -> None:
    import tracemalloc

    tracemalloc.start()
    try:
        ring = L7Ring()
        assert tracemalloc.get_traced_memory()[0] < 2_000
        data = encode(request(request_headers=(("x-user", "anna"),), trace_id=TRACE_ID), {"x-user"})
        for number in range(30_000):
            ring.append(number, data)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ring.begin > 0 and ring.max_bytes * 0.9 < ring.used_bytes <= ring.max_bytes
    assert held < ring.max_bytes * 1.05
    assert len(data) < 250, "a request is kept in few bytes"


@pytest.mark.parametrize(("most", "segment"), [(100, 0), (100, 51)])
def test_a_ring_that_makes_no_sense(most: int, segment: int) -> None:
    with pytest.raises(ValueError, match="at least two must fit"):
        L7Ring(most, segment)


# ---- what is stored --------------------------------------------------------------------------------------------------

RECORDS: list[dict[str, Any]] = [
    {},
    {"client": address("fd00:244::11"), "server": address("fd00:244::12"), "upstream": None, "rule": None},
    {"rule": RouteRuleRef(ROUTE, 3), "phase": Phase.ROUTE, "grpc_status": 0, "status": 0},
    {"mismatches": ("x-a", "x-b"), "details": "client went away", "original_path": "/äö", "traceparent": "00-a-b-01"},
    {"request_bytes": 2**40, "response_bytes": 7, "request_id": "r-1", "trace_id": TRACE_ID, "protocol": "HTTP/2"},
    *({"verdict": verdict} for verdict in L7Verdict),
    *({"phase": phase, "rule": PolicyRuleRef(2**31, 9)} for phase in Phase),
]


@pytest.mark.parametrize("changes", RECORDS)
def test_every_field_comes_back(changes: dict[str, Any]) -> None:
    record = request(request_headers=(("x-user", "anna"),), **changes)
    found = decode(encode(record, {"x-user"}), record.time_ns + record.latency_ns)
    assert found == record and type(found.rule) is type(record.rule)


def stored(record: L7Record, *allowed: str) -> tuple[L7Record, bytes]:
    data = encode(record, allowed)
    return decode(data, OFFSET_NS), data


@pytest.mark.parametrize("name", sorted(CREDENTIALS | {"Authorization", "COOKIE", "Set-Cookie", "X-Api-Key"}))
def test_credentials_are_never_stored(name: str) -> None:
    record = request(request_headers=((name, "s3cret"), ("x-user", "anna")))
    found, data = stored(record, name.lower(), "x-user")
    assert b"s3cret" not in data
    assert found.request_headers == ((name.lower(), "HUBBLE_REDACTED"), ("x-user", "anna"))
    assert stored(record, "x-user")[0].request_headers == (("x-user", "anna"),)


def test_what_must_be_redacted_is_listed() -> None:
    assert {"authorization", "cookie", "set-cookie", "proxy-authorization", "x-api-key"} <= CREDENTIALS


def test_headers_that_nobody_allowed_are_not_stored() -> None:
    found, data = stored(request(request_headers=(("x-user", "anna"), ("x-other", "berta"))), "x-other")
    assert found.request_headers == (("x-other", "berta"),) and b"anna" not in data
    assert stored(request(request_headers=(("X-User", "anna"),)))[0].request_headers == ()


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("user:s3cret@product-api", "user:HUBBLE_REDACTED@product-api"),
        (":s3cret@product-api:80", ":HUBBLE_REDACTED@product-api:80"),
        ("user@product-api", "user@product-api"),
        ("product-api:8080", "product-api:8080"),
        ("[fd00::1]:8080", "[fd00::1]:8080"),
    ],
)
def test_passwords_in_a_host_are_not_stored(host: str, expected: str) -> None:
    assert stored(request(host=host))[0].host == expected


def test_hostile_texts_fit_and_are_text() -> None:
    long = "\udcff" * 100_000
    headers = tuple((f"x-{number}", "ü" * 100_000) for number in range(500))
    record = request(path=long, original_path=long, host=long, method=long, details=long, request_headers=headers)
    record = record._replace(mismatches=(long,) * 500, request_id=long, trace_id=long, traceparent=long, scheme=long)
    found, data = stored(record, *(name for name, _ in headers))
    L7Ring(segment_bytes=SEGMENT_BYTES).append(1, data)
    assert found.path.startswith("\\xff\\xff") and found.path.endswith("…")
    assert len(found.path.encode()) <= 4096
    assert stored(request(path="/a\udce4\udcff?ö"))[0].path == "/a\\xe4\\xff?ö"
