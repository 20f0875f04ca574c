"""Layer-7 records in the store: how many, since when, what follows, what was lost, and which filters find them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.flows import naive
from tests.flows.l7scene import SECOND, TRACE_ID, Given, GivenBatch, refused, request, routed, store_with
from tests.flows.scene import OFFSET_NS, STEADY, address, event, record
from tests.flows.test_filters import VALUES, flow_events, some
from weft.datapath.layouts import FlowEvent
from weft.flows.hubble import record_uuid, timestamp
from weft.flows.l7ring import L7Ring
from weft.flows.names import Names
from weft.flows.query import FlowsRequest
from weft.flows.store import FlowStore
from weft.flows.tracker import FilterBuilder
from weft.model.l7 import L7Record, L7Verdict, Phase


def numbered(*numbers: float, **changes: Any) -> list[L7Record]:
    """Answered at that second; the client's port is ten times the number."""
    return [
        request(time_ns=OFFSET_NS + int(each * SECOND), latency_ns=0, client_port=int(each * 10), **changes)
        for each in numbers
    ]


def layer4(*numbers: float) -> bytes:
    return b"".join(record(event(time_ns=int(each * SECOND), source_port=int(each * 10))) for each in numbers)


def ports(found: Any) -> list[float]:
    return [each["flow"]["l4"]["TCP"]["source_port"] / 10 for each in found]


def at(seconds: float) -> str:
    return timestamp(OFFSET_NS + int(seconds * SECOND))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, [1, 1.5, 2, 3, 3.5, 4, 5]),
        ({"number": 3}, [3.5, 4, 5]),
        ({"number": 3, "first": True}, [1, 1.5, 2]),
        ({"since": at(1.5), "until": at(4)}, [1.5, 2, 3, 3.5, 4]),
        ({"since": at(2), "number": 2, "first": True}, [2, 3]),
        ({"until": at(3), "number": 2}, [2, 3]),
        ({"whitelist": [{"event_type": [{"type": 129}]}], "number": 2}, [3.5, 4]),
        ({"blacklist": [{"event_type": [{"type": 129}]}]}, [1, 3, 5]),
        ({"since": at(9)}, []),
    ],
)
def test_both_layers_merged_by_time(fields: dict[str, Any], expected: list[float]) -> None:
    store = store_with(*numbered(4, 2, 3.5, 1.5))  # as several threads of Envoy's send them
    store.append(layer4(1, 3, 5))
    assert ports(store.query(FlowsRequest.from_json(fields))) == expected


def test_a_flow_s_time_is_that_of_the_answer() -> None:
    store = store_with(request(time_ns=OFFSET_NS + SECOND, latency_ns=2 * SECOND, client_port=20))
    store.append(layer4(2.5, 3.5))
    assert ports(store.query(FlowsRequest())) == [2.5, 2, 3.5]


def test_a_clock_that_is_set_moves_all_flows_alike() -> None:
    offsets = [OFFSET_NS]
    store = store_with()
    moved = FlowStore(store.ring, store.names, store.node, lambda: offsets[0])
    moved.take_l7(GivenBatch(*numbered(2)))
    moved.append(layer4(1, 3))
    offsets[0] += 3600 * SECOND
    assert ports(moved.query(FlowsRequest())) == [1, 2, 3]
    assert [each["time"] for each in moved.query(FlowsRequest())] == [at(3600 + second) for second in (1, 2, 3)]


def test_statistics_are_exact() -> None:
    store = store_with(l7_ring=L7Ring(max_bytes=4000))
    for number in range(1, 41):
        store.take_l7(GivenBatch(*numbered(number)))
    store.set_l7_lost(7)
    said = store.l7_statistics()
    assert said["seen_flows"] == 40 == said["num_flows"] + said["overwritten"] and said["overwritten"] > 20
    assert said["proxy_lost"] == 7 and said["bytes"] <= said["max_bytes"] == 4000
    kept = list(range(1, 41))[-said["num_flows"] :]
    assert ports(store.query(FlowsRequest())) == kept
    assert store.statistics()["seen_flows"] == 0


def test_uuids_lead_back_to_their_record() -> None:
    store = store_with(request(), refused())
    store.append(layer4(1))
    for found in store.query(FlowsRequest()):
        view = store.find(found["flow"]["uuid"])
        assert view is not None and (view.l7 is not None) == (found["flow"]["Type"] == "L7")
        assert view.verdict == found["flow"]["verdict"]
        uuid = found["flow"]["uuid"]
        assert [each["flow"]["uuid"] for each in store.query(asked({"uuid": [uuid]}))] == [uuid]
    assert store.find(record_uuid(store.node.run, (1 << 61) + 2)) is None


def test_queries_of_layer_4_alone_do_not_look_at_layer_7(monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_with(request(), refused())
    store.append(layer4(1))
    monkeypatch.setattr(Given, "record", None)
    for fields in ({"event_type": [{"type": 5}]}, {"tcp_flags": [{"SYN": True}]}, {"protocol": ["udp"]}):
        list(store.query(asked(fields)))
    with pytest.raises(TypeError):
        list(store.query(asked({"protocol": ["tcp"]})))


@pytest.mark.parametrize("number", [0, 5])
def test_a_search_that_finds_nothing_lets_others_work(number: int) -> None:
    async def scenario() -> None:
        store = store_with(*numbered(*range(2000)))
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(others())
        assert not [each async for each in store.stream(FlowsRequest(number=number, whitelist=NOTHING))]
        task.cancel()
        assert turns >= 2000 // 32

    asyncio.run(scenario())


# ---- following -------------------------------------------------------------------------------------------------------


async def take(stream: AsyncIterator[Any], count: int) -> list[Any]:
    return [await asyncio.wait_for(anext(stream), 5) for _ in range(count)]


def test_following_shows_both_layers() -> None:
    async def scenario() -> None:
        store = store_with(*numbered(1))
        stream = store.stream(FlowsRequest(follow=True, number=1))
        assert ports(await take(stream, 1)) == [1]
        waiting = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        assert not waiting.done()
        store.take_l7(GivenBatch(*numbered(3, 2)))
        assert ports([await asyncio.wait_for(waiting, 5), *await take(stream, 1)]) == [2, 3]
        store.append(layer4(4))
        store.take_l7(GivenBatch(*numbered(4.5)))
        assert ports(await take(stream, 2)) == [4, 4.5]

    asyncio.run(scenario())


def test_followers_learn_what_they_missed_and_what_envoy_lost() -> None:
    async def scenario() -> None:
        store = store_with(l7_ring=L7Ring(max_bytes=4000))
        every, only_layer4 = (store.stream(FlowsRequest(follow=True, whitelist=allow)) for allow in ((), LAYER_4))
        waiting = [asyncio.ensure_future(anext(stream)) for stream in (every, only_layer4)]
        await asyncio.sleep(0)
        for number in range(1, 41):
            store.take_l7(GivenBatch(*numbered(number)))
        store.set_l7_lost(5)
        missed = store.l7_statistics()["overwritten"]
        assert (await waiting[0])["lost_events"] == {"source": "OBSERVER_EVENTS_QUEUE", "num_events_lost": "5"}
        (lost,) = await take(every, 1)
        assert lost["lost_events"] == {"source": "HUBBLE_RING_BUFFER", "num_events_lost": str(missed)}
        assert ports(await take(every, 2)) == [missed + 1, missed + 2]
        await asyncio.sleep(0)
        assert not waiting[1].done()
        store.append(layer4(50))
        assert ports([await waiting[1]]) == [50]

    asyncio.run(scenario())


# ---- filters ---------------------------------------------------------------------------------------------------------


def asked(*whitelist: dict[str, Any]) -> FlowsRequest:
    return FlowsRequest.from_json({"whitelist": list(whitelist)})


LAYER_4 = asked({"event_type": [{"type": 5}]}).whitelist
NOTHING = asked({"http_path": ["/nothing"]}).whitelist
HTTP_VALUES: dict[str, list[Any]] = {
    "http_status_code": ["200", "403", "4+", "50+", "1+"],
    "http_method": ["get", "POST", "PUT"],
    "http_path": ["^/public$", "/p", "\\d", "^/$", "x=1", "a b"],
    "http_url": ["^http://product-api/", "x=1$", "https"],
    "http_header": [{"key": "X-User", "value": "anna"}, {"key": "x-user", "value": "berta"}, {"key": "x-b"}],
    "trace_id": [TRACE_ID, TRACE_ID.upper(), "0" * 32],
    "protocol": ["http", "tcp", "dns"],
    "verdict": ["FORWARDED", "DROPPED", "ERROR", "REDIRECTED"],
    "event_type": [{"type": 129}, {"type": 5}, {"type": 1}, {}],
    "drop_reason_desc": ["POLICY_DENIED", "INVALID_PACKET_DROPPED"],
}
MIXED = VALUES | {name: list(VALUES.get(name, [])) + values for name, values in HTTP_VALUES.items()}
l7_records = st.builds(
    request,
    verdict=st.sampled_from(L7Verdict),
    phase=st.sampled_from(Phase),
    protocol=st.sampled_from(["HTTP/1.1", "HTTP/2", "TCP"]),
    method=st.sampled_from(["GET", "POST", ""]),
    host=st.sampled_from(["product-api", ""]),
    status=st.sampled_from([0, 200, 403, 404, 503]),
    path=st.sampled_from(["/public", "/public?x=1", "/p/17", "/a%20b", "/", ""]),
    client=st.sampled_from([address("10.244.0.11"), address("10.244.0.200"), address("fd00:244::11")]),
    server=st.sampled_from([address("10.244.0.12"), address("10.96.0.10")]),
    server_port=st.sampled_from([80, 8080]),
    upstream=st.sampled_from([None, address("10.244.0.12"), address("10.244.0.13")]),
    trace_id=st.sampled_from(["", TRACE_ID]),
    request_headers=st.sampled_from([(), (("x-user", "anna"),), (("x-user", "berta"), ("x-b", ""))]),
)
http_filters = st.lists(st.sampled_from(sorted(MIXED)), max_size=3, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: some(MIXED[name]) for name in names})
)


def sensible(item: dict[str, Any]) -> bool:
    types = {each.get("type", 0) for each in item.get("event_type", ())}
    return not any(name.startswith("http_") for name in item) or not types or bool(types & {0, 129})


@settings(STEADY, max_examples=300)
@given(
    st.lists(l7_records, min_size=1, max_size=8),
    st.lists(flow_events(), max_size=4),
    st.lists(http_filters.filter(sensible), max_size=2),
    st.lists(http_filters.filter(bool).filter(sensible), max_size=2),
)
def test_filters_choose_what_hubble_s_rules_choose(
    records: list[L7Record], events: list[FlowEvent], allow: list[dict[str, Any]], deny: list[dict[str, Any]]
) -> None:
    store = store_with(*records)
    store.append(b"".join(map(record, events)))
    every = [found["flow"] for found in store.query(FlowsRequest())]
    assert len(every) == len(events) + len(records)
    wanted = {"whitelist": allow, "blacklist": deny}
    found = [found["flow"] for found in store.query(FlowsRequest.from_json(wanted))]
    assert found == [flow for flow in every if naive.chosen(flow, wanted)]


@settings(STEADY, max_examples=20)
@given(st.lists(l7_records, min_size=1, max_size=12))
def test_every_value_of_every_field_alone(records: list[L7Record]) -> None:
    store = store_with(*records)
    every = [found["flow"] for found in store.query(FlowsRequest())]
    for name, values in MIXED.items():
        for value in values:
            found = [found["flow"] for found in store.query(asked({name: [value]}))]
            assert found == [flow for flow in every if naive.one(flow, name, value)], (name, value)


def shown(store: FlowStore, line: str) -> list[str]:
    """The methods and paths that these flags select."""
    builder, words = FilterBuilder(), line.split()
    while words:
        name = words.pop(0).removeprefix("--")
        builder.add(name, "" if name == "not" else words.pop(0))
    allow, deny = builder.finish()
    found = store.query(FlowsRequest(whitelist=allow, blacklist=deny))
    return [f"{each['flow']['l7']['http']['method']} {each['flow']['l7']['http']['code']}" for each in found]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--type l7", ["POST 403", "GET 200", "PUT 503"]),
        ("--http-status 403", ["POST 403"]),
        ("--http-status 4+ --http-status 50+", ["POST 403", "PUT 503"]),
        ("--http-method get", ["GET 200"]),
        ("--not --http-method get --type l7", ["POST 403", "PUT 503"]),
        ("--http-path ^/pub --http-status 2+", ["GET 200"]),
        ("--http-url product-api/public$ --verdict DROPPED", ["POST 403"]),
        ("--http-header x-user:anna", ["GET 200"]),
        (f"--trace-id {TRACE_ID}", ["GET 200"]),
        ("--protocol http --from-pod frontend --to-service product-api", ["PUT 503"]),
        ("--protocol http --to-pod product-api --verdict FORWARDED", ["GET 200"]),
    ],
)
def test_flags(line: str, expected: list[str]) -> None:
    store = store_with(
        refused(time_ns=OFFSET_NS),
        request(time_ns=OFFSET_NS + 1, trace_id=TRACE_ID, request_headers=(("x-user", "anna"),)),
        routed(time_ns=OFFSET_NS + 2, method="PUT", status=503, path="/private", verdict=L7Verdict.ERROR),
    )
    store.append(layer4(1, 2))
    assert shown(store, line) == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("http-status 600", "--http-status: '600' is no HTTP status; expected one"),
        ("http-status 40", "'40' is no HTTP status"),
        ("http-status 2000", "'2000' is no HTTP status"),
        ("http-path (a", r"--http-path: '\(a' is no regular expression: missing \): \(a"),
        ("http-url (?=a)", "--http-url: .* is no regular expression"),
        ("http-header x-user", "--http-header: 'x-user' is no header; expected name:value"),
        ("trace-id 12", "--trace-id: '12' is no trace id; expected 32 hex digits"),
    ],
)
def test_wrong_values_are_refused(line: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FilterBuilder().add(*line.split())


def test_http_and_another_type_of_event_cannot_match() -> None:
    with pytest.raises(ValueError, match="http_method: only events of type l7"):
        store_with().check(asked({"http_method": ["GET"], "event_type": [{"type": 4}]}))
    names: Names = store_with().names
    assert names.listener(1) is None
