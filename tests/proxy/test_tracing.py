"""Requests have spans at an OpenTelemetry collector, in the trace that the client's traceparent names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.lab.waiting import until
from tests.proxy.collector import Receiver, attributes, receiver
from tests.proxy.scene import BACKENDS, SERVER, SERVER6, Scene, cluster, endpoints, rules, scene
from tests.proxy.test_routes import path, rule
from weft.model.http import HttpMatch
from weft.model.route import Retry, RouteTable
from weft.proxy.process import Limits
from weft.proxy.tracing import Collector, collector

RULES, ROUTED = 12_001, 12_002
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED, UNSAMPLED = "01", "00"


def traceparent(trace: str = TRACE, flags: str = SAMPLED) -> dict[str, str]:
    return {"traceparent": f"00-{trace}-{PARENT}-{flags}"}


def send_off(scene: Scene) -> None:
    """Envoy's one thread sends its spans when it has five (tracing.opentelemetry.min_flush_spans), or in 5 s."""
    for _ in range(5):
        scene.ask(RULES, "/a")


def trace_of(number: int) -> str:
    return f"{number:032x}"


@pytest.fixture(scope="module")
def seen(traced: Scene) -> Iterator[Receiver]:
    with receiver(SERVER, 4317) as made:
        yield made


@pytest.fixture(scope="module")
def traced() -> Iterator[Scene]:
    with scene(f"traced-{os.getpid()}", otlp=Collector(SERVER, 4317), limits=Limits(workers=1)) as made:
        made.serve(SERVER, RULES)
        made.serve(BACKENDS[0], 8080)
        assert made.ensure({RULES: rules(HttpMatch(path="/a.*"))}) == []
        made.proxy.keep_only((RULES,))
        yield made


def test_request_has_a_span_in_the_clients_trace(traced: Scene, seen: Receiver) -> None:
    passed = traced.ask(RULES, "/a?status=404", headers=traceparent() | {"x-request-id": "mine", "tracestate": "a=1"})
    refused = traced.ask(RULES, "/b", "POST", headers=traceparent())
    assert (passed.status, refused.status) == (404, 403)
    send_off(traced)
    spans = {attributes(span)["http.status_code"]: span for span in seen.of(TRACE, 2)}
    span = spans["404"]
    said = attributes(span)
    assert (span.name, span.parent_span_id.hex()) == ("GET", PARENT)
    assert (said["http.method"], said["http.url"]) == ("GET", f"http://{SERVER}:{RULES}/a?status=404")
    assert said["weft.phase"] == "egress" and said["node_id"] == "scene"
    assert attributes(spans["403"])["http.method"] == "POST"
    assert {resource["service.name"] for resource, _ in seen.spans} == {"weft"}
    assert seen.peers <= {SERVER}, "Envoy's own connection has no client's address"
    # The server's own spans are children of Envoy's, and it sees the request id that the client chose.
    assert passed.server_header("traceparent") == [f"00-{TRACE}-{span.span_id.hex()}-01"]
    assert passed.server_header("x-request-id") == ["mine"]
    assert passed.server_header("tracestate") == ["a=1"]


def test_request_without_traceparent_begins_a_trace(traced: Scene, seen: Receiver) -> None:
    _, trace, span_id, flags = traced.ask(RULES, "/a").server_header("traceparent")[0].split("-")
    send_off(traced)
    [span] = seen.of(trace)
    assert (span.span_id.hex(), span.parent_span_id, flags) == (span_id, b"", "01")


def test_unsampled_trace_has_no_span(traced: Scene, seen: Receiver) -> None:
    unsampled, later = trace_of(0xBEEF), trace_of(0xBEF0)
    answer = traced.ask(RULES, "/a", headers=traceparent(unsampled, UNSAMPLED))
    assert answer.server_header("traceparent")[0].split("-")[1::2] == [unsampled, UNSAMPLED]
    traced.ask(RULES, "/a", headers=traceparent(later))
    send_off(traced)
    seen.of(later)
    assert unsampled not in {span.trace_id.hex() for _, span in seen.spans}


def test_each_attempt_of_a_route_has_a_span(traced: Scene, seen: Receiver) -> None:
    trace = trace_of(0xA77E)
    table = RouteTable(cluster("one"), (rule(path("/"), retry=Retry((503,), 2, 10)),))
    assert traced.ensure({ROUTED: table}, {cluster("one"): endpoints(BACKENDS[0])}) == []
    answer = traced.ask(ROUTED, "/?status=503", headers=traceparent(trace))
    send_off(traced)
    spans = {span.span_id.hex(): span for span in seen.of(trace, 4)}
    [whole] = [span for span in spans.values() if span.parent_span_id.hex() == PARENT]
    attempts = [span for span in spans.values() if span.parent_span_id == whole.span_id]
    assert len(attempts) == 3 and {attributes(span)["http.status_code"] for span in attempts} == {"503"}
    assert answer.server_header("traceparent")[0].split("-")[2] in {span.span_id.hex() for span in attempts}


def test_requests_pass_without_the_collector() -> None:
    """And without its name in the DNS."""
    with scene(f"alone-{os.getpid()}", otlp=Collector("collector.invalid", 4317)) as made:
        made.serve(SERVER, RULES)
        assert made.ensure({RULES: rules(HttpMatch())}) == []
        assert [made.ask(RULES, "/a").status for _ in range(20)] == [200] * 20


@pytest.mark.parametrize(("host", "peer"), [(SERVER6, SERVER6), ("localhost", "127.0.0.1")])
def test_collector_of_ipv6_or_by_name(host: str, peer: str) -> None:
    trace = trace_of(ip_address(peer).packed[-1] + 0xC0)
    with (
        scene(f"otlp-{os.getpid()}", otlp=Collector(host, 4317), limits=Limits(workers=1)) as made,
        receiver(peer, 4317) as seen,
    ):
        made.serve(SERVER, RULES)
        assert made.ensure({RULES: rules(HttpMatch())}) == []

        def reported() -> list[Span]:
            assert made.ask(RULES, "/", headers=traceparent(trace)).status == 200
            return seen.of_now(trace)

        # What is reported before Envoy knows the name's addresses is lost.
        until(reported, "a span")


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("127.0.0.1:4317", ("127.0.0.1", 4317)),
        ("[fd00::0:1]:4317", ("fd00::1", 4317)),
        ("otel.example.com:1", ("otel.example.com", 1)),
    ],
)
def test_endpoint(text: str, meant: tuple[str, int]) -> None:
    assert collector(text) == meant


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("127.0.0.1", "port from 1 to 65535"),
        ("collector", "port from 1 to 65535"),
        ("a:0", "port from 1 to 65535"),
        ("a:65536", "port from 1 to 65535"),
        (":4317", "address or a DNS name"),
        ("300.0.0.1:4317", "address or a DNS name"),
        ("a_b:4317", "address or a DNS name"),
        ("fd00::1:4317", "IPv6 address in brackets"),
        ("http://a:4317", "without a scheme"),
        ("[10.0.0.1]:4317", "IPv6 address in the brackets"),
    ],
)
def test_endpoint_that_cannot_be_meant(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        collector(text)
