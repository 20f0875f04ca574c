"""What is kept of Envoy's access log, and what of it a record shows. No Envoy runs here."""

from __future__ import annotations

import tracemalloc

import pytest
from envoy.data.accesslog.v3.accesslog_pb2 import AccessLogCommon, HTTPAccessLogEntry
from envoy.service.accesslog.v3.als_pb2 import StreamAccessLogsMessage
from google.protobuf.wrappers_pb2 import StringValue

from weft.flows.l7ring import L7Ring
from weft.model.l7 import L7Batch, L7Record, Phase, PolicyRuleRef
from weft.proxy import names
from weft.proxy.accesslog import AccessLog, Batch
from weft.proxy.listeners import SECRET_HEADERS

BEGAN = 1_700_000_000 * 10**9


def fill(common: AccessLogCommon, number: int) -> None:
    """Began ``number`` seconds after BEGAN, took half a second, of the listener 10000."""
    common.start_time.FromNanoseconds(BEGAN + number * 10**9)
    common.time_to_last_downstream_tx_byte.FromNanoseconds(500_000_000)
    common.duration.FromNanoseconds(700_000_000)
    common.filter_state_objects[names.ORIGIN_KEY].Pack(StringValue(value="10000 ingress http"))
    for address, port in (
        (common.downstream_direct_remote_address, 40_000 + number),
        (common.downstream_local_address, 8080),
        (common.upstream_remote_address, 8080),
    ):
        address.socket_address.address, address.socket_address.port_value = "10.244.0.12", port
    common.route_name = names.policy_route(1, 0)


def http(number: int = 0, **request: object) -> HTTPAccessLogEntry:
    entry = HTTPAccessLogEntry(protocol_version=HTTPAccessLogEntry.HTTP11)
    fill(entry.common_properties, number)
    entry.response.response_code.value = 200
    entry.request.request_method = 1
    entry.request.scheme, entry.request.authority, entry.request.path = "http", "product-api", "/public"
    headers = request.pop("headers", {})
    assert isinstance(headers, dict)
    entry.request.request_headers.update(headers)
    for name, value in request.items():
        setattr(entry.request, name, value)
    return entry


def message(*entries: HTTPAccessLogEntry) -> bytes:
    made = StreamAccessLogsMessage()
    made.http_logs.log_entry.extend(entries)
    data: bytes = made.SerializeToString()
    return data


def records(batch: L7Batch) -> list[L7Record]:
    return [record for each in batch.entries() if (record := each.record())]


def test_entries_are_read_one_by_one() -> None:
    batch = Batch(message(*map(http, range(5))))
    assert len(batch) == len(batch.entries()) == 5
    assert [each.end_ns - BEGAN for each in batch.entries()] == [n * 10**9 + 500_000_000 for n in range(5)]
    assert [each.client_port for each in records(batch)] == [40_000 + n for n in range(5)]
    first = records(batch)[0]
    assert (first.time_ns, first.latency_ns, first.status) == (BEGAN, 500_000_000, 200)
    assert (first.listener, first.phase, first.rule) == (10_000, Phase.INGRESS, PolicyRuleRef(1, 0))
    assert (first.method, first.url) == ("GET", "http://product-api/public")


def test_a_request_without_an_answer_ends_when_it_began() -> None:
    entry = http(3)
    entry.response.response_code.value = 0
    (found,) = Batch(message(entry)).entries()
    record = found.record()
    assert record is not None and found.end_ns == record.time_ns == BEGAN + 3 * 10**9 and record.latency_ns == 0


def test_connections() -> None:
    made = StreamAccessLogsMessage()
    connection = made.tcp_logs.log_entry.add()
    fill(connection.common_properties, 2)
    connection.connection_properties.received_bytes = 7
    batch = Batch(made.SerializeToString())
    assert len(batch) == 1 and batch.entries()[0].end_ns == BEGAN + 2_500_000_000
    (record,) = records(batch)
    assert (record.protocol, record.request_bytes, record.latency_ns) == ("TCP", 7, 500_000_000)


def test_what_is_no_listener_s_of_weft_s_is_no_record() -> None:
    entry = http()
    del entry.common_properties.filter_state_objects[names.ORIGIN_KEY]
    batch = Batch(message(entry, http(1)))
    assert len(batch) == 2 and [each.client_port for each in records(batch)] == [40_001]


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
def test_passwords_in_a_host_are_not_kept(host: str, expected: str) -> None:
    batch = Batch(message(http(), http(authority=host, path="/user@example")))
    assert b"s3cret" not in batch._data
    assert [record.host for record in records(batch)] == ["product-api", expected]


def test_only_headers_that_were_asked_for_are_shown_and_never_credentials() -> None:
    assert {"authorization", "cookie", "set-cookie", "proxy-authorization", "x-api-key"} <= SECRET_HEADERS
    asked = AccessLog(lambda batch: None, ["X-User", "Cookie", "Authorization"])._headers
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    entry = http(headers={"x-user": "anna", "x-other": "berta", "cookie": "s3cret", "traceparent": trace})
    (record,) = records(Batch(message(entry), asked))
    assert record.request_headers == (("x-user", "anna"),)
    assert record.traceparent == trace and record.trace_id == "0af7651916cd43dd8448eb211c80319c"


def test_hostile_texts_are_cut_and_are_text() -> None:
    long = "ü" * 30_000
    entry = http(path=long, original_path="/x" + long, authority=long + "@", scheme=long, headers={"x-user": long})
    (record,) = records(Batch(message(entry), {"x-user"}))
    assert record.path.endswith("…") and len(record.path.encode()) <= 4096
    for text, most in ((record.host, 4096), (record.original_path, 4096), (record.scheme, 512)):
        assert text.endswith("…") and len(text.encode()) <= most
    assert record.request_headers == (("x-user", record.request_headers[0][1]),)
    assert len(record.request_headers[0][1].encode()) <= 512


def test_an_empty_ring_takes_no_memory_and_a_full_one_no_more_than_its_bound() -> None:
    """Of many small batches, whose objects weigh most."""
    data = message(http(headers={"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}))
    made = Batch(data)
    tracemalloc.start()
    try:
        ring = L7Ring()
        assert tracemalloc.get_traced_memory()[0] < 2_000
        for _ in range(3 * ring.max_bytes // made.nbytes):
            ring.append(Batch(bytes(bytearray(data))), 0)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert ring.begin > 0 and ring.max_bytes * 0.9 < ring.used_bytes <= ring.max_bytes
    assert held < ring.max_bytes * 1.05
