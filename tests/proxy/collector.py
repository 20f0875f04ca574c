"""An OpenTelemetry collector: OTLP over gRPC, in a thread of the test's own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from grpclib.const import Cardinality, Handler
from grpclib.server import Server
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.lab.waiting import until


@dataclass
class Receiver:
    """What a collector has been sent, and from where."""

    spans: list[tuple[dict[str, str], Span]] = field(default_factory=list)
    """Each with its resource's attributes."""
    peers: set[str] = field(default_factory=set)

    async def export(self, stream: Any) -> None:
        request = await stream.recv_message()
        self.peers.add(stream.peer.addr()[0])
        for each in request.resource_spans:
            resource = {a.key: a.value.string_value for a in each.resource.attributes}
            # scope_spans, under the name that field 2 had in the OpenTelemetry types beside Envoy's (before OTLP 0.15).
            self.spans += [(resource, span) for scope in each.instrumentation_library_spans for span in scope.spans]
        await stream.send_message(otlp.ExportTraceServiceResponse())

    def __mapping__(self) -> dict[str, Handler]:
        types = (otlp.ExportTraceServiceRequest, otlp.ExportTraceServiceResponse)
        path = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
        return {path: Handler(self.export, Cardinality.UNARY_UNARY, *types)}

    def of(self, trace: str, count: int = 1) -> list[Span]:
        """The spans of a trace when there are so many. Envoy sends what it has every 5 s."""
        return until(
            lambda: found if len(found := self.of_now(trace)) >= count else [],
            f"{count} spans of {trace}; there are {self.spans}",
            15,
        )

    def of_now(self, trace: str) -> list[Span]:
        return [span for _, span in self.spans if span.trace_id.hex() == trace]


@contextmanager
def receiver(address: str, port: int) -> Iterator[Receiver]:
    """In the caller's network namespace."""
    made, loop = Receiver(), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)

    async def begin() -> Server:
        server = Server([made])
        await server.start(address, port)
        return server

    async def end() -> None:
        server.close()
        await server.wait_closed()

    server = loop.run_until_complete(begin())
    thread.start()
    try:
        yield made
    finally:
        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def attributes(span: Span) -> dict[str, str]:
    return {a.key: a.value.string_value for a in span.attributes}
