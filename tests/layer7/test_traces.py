"""A request's trace through a whole node: its traceparent reaches the server, and its spans the collector."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.lab import Lab, until
from tests.layer7.scene import POLICY, PUBLIC, Scene
from tests.layer7.test_edits import ROUTE
from tests.proxy.collector import Receiver, attributes, receiver
from weft.datapath.netns import entered

PARENT = "b7ad6b7169203331"
COLLECTOR = ("127.0.0.1", 4317)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab(agent_options=("--otlp-endpoint", f"{COLLECTOR[0]}:{COLLECTOR[1]}")) as lab:
        made = Scene(lab)
        lab.apply(f"{POLICY}---{ROUTE}")
        yield made


@pytest.fixture(scope="module")
def seen(scene: Scene) -> Iterator[Receiver]:
    with ExitStack() as stack:
        with entered(Path("/run/netns", scene.lab.namespaces.node)):
            made = stack.enter_context(receiver(*COLLECTOR))
        yield made


def ask(scene: Scene, trace: str) -> str:
    """The traceparent that the server got."""
    more = {"headers": f"traceparent: 00-{trace}-{PARENT}-01\r\n", "content": True}
    _, headers = json.loads(scene.client.ask((*scene.by_service[0], PUBLIC, 5.0, more))[0])
    return str(dict(headers)["traceparent"])


def test_a_request_is_one_trace(scene: Scene, seen: Receiver) -> None:
    trace = f"{0xBEEF:032x}"
    at_server = ask(scene, trace).split("-")
    spans = {span.span_id.hex(): span for span in seen.of(trace, 3)}
    assert at_server[1] == trace
    # From the server back: the rule's span, the attempt to reach the backend, the route's, the client's own.
    chain: list[Span] = []
    number = at_server[2]
    while number in spans:
        chain.append(spans[number])
        number = chain[-1].parent_span_id.hex()
    assert len(chain) == 3 and number == PARENT, spans
    assert [attributes(span)["weft.phase"] for span in (chain[0], chain[-1])] == ["ingress", "route"]
    assert {attributes(span)["node_id"] for span in (chain[0], chain[-1])} == {scene.lab.name}
    until(lambda: trace in scene.lab.weft("observe", "--trace-id", trace, "-o", "json"), "flows know the trace")


def test_spans_come_again_after_the_agent_was_away(scene: Scene, seen: Receiver) -> None:
    """Requests are served meanwhile, and pass the trace on; their spans may be lost (decision 7)."""
    scene.lab.kill_agent()
    try:
        away = f"{0xA1A1:032x}"
        assert ask(scene, away).split("-")[1] == away
    finally:
        scene.lab.start_agent()
    traces = (f"{number:032x}" for number in count(0xC0DE))

    def reported() -> bool:
        asked.append(next(traces))
        ask(scene, asked[-1])
        return any(seen.of_now(trace) for trace in asked)

    asked: list[str] = []
    until(reported, "spans of new requests", 60)
