"""The agent's flow store: the ring, the names, and the answers to Hubble's GetFlows (pkg/hubble/observer)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator

from weft.flows.decode import boot_offset_ns, decode
from weft.flows.filters import Predicate, compile_request
from weft.flows.hubble import Json, NodeInfo, lost_response, response, uuid_number
from weft.flows.moments import parse_moment
from weft.flows.names import Names
from weft.flows.prefilter import Prefilter
from weft.flows.query import FlowsRequest
from weft.flows.ring import RECORD, ByteRing, Span
from weft.flows.view import FlowView

KERNEL, OVERWRITTEN = "PERF_EVENT_RING_BUFFER", "HUBBLE_RING_BUFFER"
"""flow.LostEventSource: lost between kernel and agent; overwritten before a reader came to it."""
_BREATH = 32
"""Answers in a row before the loop may do something else."""


class FlowStore:
    """One event loop writes and reads.

    ``boot_offset``: what to add to CLOCK_BOOTTIME for the wall clock, asked once for each query.
    """

    def __init__(
        self, ring: ByteRing, names: Names, node: NodeInfo, boot_offset: Callable[[], int] = boot_offset_ns
    ) -> None:
        self.ring, self.names, self.node = ring, names, node
        self._boot_offset = boot_offset
        self._news = asyncio.Event()

    def append(self, records: bytes | bytearray | memoryview) -> None:
        """Records from the kernel, oldest first; wakes followers. Errors: ValueError if they are not whole."""
        self.ring.append(records)
        self._wake()

    def set_kernel_lost(self, total: int) -> None:
        """How many records the kernel has dropped since its maps were made (map events_lost)."""
        if total != self.ring.kernel_lost:
            self.ring.kernel_lost = total
            self._wake()

    def statistics(self) -> dict[str, int]:
        """Exact: ``seen_flows`` = ``num_flows`` + ``overwritten``; ``kernel_lost`` come on top."""
        ring = self.ring
        return {
            "num_flows": len(ring),
            "max_flows": ring.capacity,
            "seen_flows": ring.end,
            "overwritten": ring.begin,
            "kernel_lost": ring.kernel_lost,
        }

    def find(self, uuid: str) -> FlowView | None:
        """The record behind a flow's uuid, if the ring still has it."""
        number = uuid_number(self.node.run, uuid)
        if number is None or not self.ring.begin <= number < self.ring.end:
            return None
        return self._view(self.ring.record(number), 0, number, self._boot_offset())

    def check(self, request: FlowsRequest) -> None:
        """Errors: ValueError that names the field."""
        _Search(self, request)

    def query(self, request: FlowsRequest) -> Iterator[Json]:
        """What the ring has, as GetFlowsResponses, oldest first. Errors: ValueError that names the field."""
        search = _Search(self, request)
        return (response(view, self.node) for view in search.stored())

    async def stream(self, request: FlowsRequest) -> AsyncIterator[Json]:
        """``query``, and with ``request.follow`` all that comes after it, for ever; what got lost is said.

        Errors: ValueError that names the field, before the first answer.
        """
        search = _Search(self, request)
        position, kernel_lost = self.ring.end, self.ring.kernel_lost
        for count, view in enumerate(search.stored(), 1):
            yield response(view, self.node)
            if count % _BREATH == 0:
                await asyncio.sleep(0)
        while request.follow:
            news = self._news
            if self.ring.kernel_lost > kernel_lost:
                yield self._lost(KERNEL, self.ring.kernel_lost - kernel_lost)
                kernel_lost = self.ring.kernel_lost
            if self.ring.begin > position:
                yield self._lost(OVERWRITTEN, self.ring.begin - position)
                position = self.ring.begin
            span = next(self.ring.spans(position, self.ring.end), None)
            if span is None:
                await news.wait()
                continue
            position = span.first + span.length
            for count, view in enumerate(search.matches(span), 1):
                yield response(view, self.node)
                if count % _BREATH == 0:
                    await asyncio.sleep(0)

    def _lost(self, source: str, count: int) -> Json:
        time_ns = self.ring.time_ns(self.ring.end - 1) if len(self.ring) else 0
        return lost_response(source, count, self.node, time_ns + self._boot_offset())

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    def _view(self, data: bytes | bytearray, start: int, number: int, offset_ns: int) -> FlowView:
        packet = decode(data, start)
        return FlowView(packet, number, packet.time_ns + offset_ns, self.names)


class _Search:
    """One request against the ring."""

    def __init__(self, store: FlowStore, request: FlowsRequest) -> None:
        self._store, self._request = store, request
        self._offset_ns = store._boot_offset()
        self._matches: Predicate = compile_request(request, store.node)
        self._prefilter = Prefilter(request.whitelist, store.names)
        self._since = parse_moment(request.since) if request.since else None
        self._until = parse_moment(request.until) if request.until else None
        if request.number < 0:
            raise ValueError(f"number: {request.number}; expected 0 or more")
        if request.follow and (request.first or request.until):
            raise ValueError(f"{'first' if request.first else 'until'} and follow cannot be combined")

    def stored(self) -> Iterator[FlowView]:
        """Oldest first."""
        request, ring = self._request, self._store.ring
        if request.follow and not request.number and self._since is None:
            return
        first = ring.begin if self._since is None else ring.at_or_after(self._since - self._offset_ns)
        if request.number and not request.first:
            yield from self._last(first, request.number)
            return
        left = request.number or ring.end
        for span in ring.spans(first, ring.end):
            for view in self.matches(span):
                yield view
                left -= 1
                if not left:
                    return

    def _last(self, first: int, number: int) -> list[FlowView]:
        found: list[FlowView] = []
        for span in self._store.ring.spans(first, self._store.ring.end, newest_first=True):
            for view in self.matches(span, newest_first=True):
                found.append(view)
                if len(found) == number:
                    return found[::-1]
        return found[::-1]

    def matches(self, span: Span, *, newest_first: bool = False) -> Iterator[FlowView]:
        """Those of a span that match. The span's bytes are copied first: a caller may let new records in between."""
        store = self._store
        candidates = self._prefilter.candidates(store.ring.data, span)
        if 1 not in candidates:
            return
        data = store.ring.data[span.start : span.start + span.length * RECORD]
        order = range(span.length - 1, -1, -1) if newest_first else range(span.length)
        for index in order:
            if not candidates[index]:
                continue
            view = store._view(data, index * RECORD, span.first + index, self._offset_ns)
            in_time = (self._since is None or view.wall_ns >= self._since) and (
                self._until is None or view.wall_ns <= self._until
            )
            if in_time and self._matches(view):
                yield view
