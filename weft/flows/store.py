"""The agent's flow store: the rings of layers 4 and 7, the names, and the answers to Hubble's GetFlows
(pkg/hubble/observer)."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import islice
from typing import NamedTuple

from weft.flows.decode import boot_offset_ns, decode
from weft.flows.filters import Predicate, compile_request
from weft.flows.hubble import Json, NodeInfo, lost_response, response, uuid_number
from weft.flows.join import Join
from weft.flows.l7ring import Entry, L7Ring, in_order
from weft.flows.l7view import L7View
from weft.flows.moments import parse_moment
from weft.flows.names import Names
from weft.flows.prefilter import Prefilter, layer7_possible
from weft.flows.query import FlowsRequest
from weft.flows.ring import RECORD, ByteRing, Span
from weft.flows.view import FlowView
from weft.model.l7 import L7Batch

KERNEL, PROXY, OVERWRITTEN = "PERF_EVENT_RING_BUFFER", "OBSERVER_EVENTS_QUEUE", "HUBBLE_RING_BUFFER"
"""flow.LostEventSource: lost between kernel and agent; between Envoy and agent; overwritten before a reader came."""
L7_NUMBERS = 1 << 61
"""Added to the number of a layer-7 record: its uuid is of another range than those of layer 4."""
_BREATH = 32
"""Records, or answers, in a row before the loop may do something else."""
_AT_ONCE = 512
"""Layer-7 records that a follower takes at once."""


class Breath(NamedTuple):
    """Nothing was found for a while: the loop may do something else. ``wall_ns``: how far the search is."""

    wall_ns: int


Found = FlowView | Breath


class FlowStore:
    """One event loop writes and reads.

    ``boot_offset``: what to add to CLOCK_BOOTTIME for the wall clock, asked once for each query.
    """

    def __init__(
        self,
        ring: ByteRing,
        names: Names,
        node: NodeInfo,
        boot_offset: Callable[[], int] = boot_offset_ns,
        *,
        l7_ring: L7Ring | None = None,
    ) -> None:
        self.ring, self.names, self.node = ring, names, node
        self.l7_ring = L7Ring() if l7_ring is None else l7_ring
        self._boot_offset = boot_offset
        self._news = asyncio.Event()

    def append(self, records: bytes | bytearray | memoryview) -> None:
        """Records from the kernel, oldest first; wakes followers. Errors: ValueError if they are not whole."""
        self.ring.append(records)
        self._wake()

    def take_l7(self, batch: L7Batch) -> None:
        """Entries of Envoy's access log, as they come; wakes followers. Only in the store's own loop."""
        self.l7_ring.append(batch, self._boot_offset())
        self._wake()

    def set_l7_lost(self, total: int) -> None:
        """How many entries Envoy has dropped since it started (``access_logs.grpc_access_log.logs_dropped``), over all
        Envoys since the agent's start."""
        if total != self.l7_ring.lost:
            self.l7_ring.lost = total
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

    def l7_statistics(self) -> dict[str, int]:
        """As ``statistics``; ``proxy_lost`` is what Envoy could not hand over."""
        ring = self.l7_ring
        return {
            "num_flows": len(ring),
            "seen_flows": ring.end,
            "overwritten": ring.begin,
            "proxy_lost": ring.lost,
            "bytes": ring.used_bytes,
            "max_bytes": ring.max_bytes,
        }

    def find(self, uuid: str) -> FlowView | None:
        """The record behind a flow's uuid, if the ring still has it."""
        number = uuid_number(self.node.run, uuid)
        if number is not None and number >= L7_NUMBERS:
            if not self.l7_ring.begin <= number - L7_NUMBERS < self.l7_ring.end:
                return None
            entry = self.l7_ring.entry(number - L7_NUMBERS)
            return self._l7_view(entry, entry.time_ns + self._boot_offset(), Join(self.ring))
        if number is None or not self.ring.begin <= number < self.ring.end:
            return None
        return self._view(self.ring.record(number), 0, number, self._boot_offset())

    def check(self, request: FlowsRequest) -> None:
        """Errors: ValueError that names the field."""
        _Search(self, request)

    def query(self, request: FlowsRequest) -> Iterator[Json]:
        """What the ring has, as GetFlowsResponses, oldest first. Errors: ValueError that names the field."""
        search = _Search(self, request)
        return (response(found, self.node) for found in search.stored() if isinstance(found, FlowView))

    async def stream(self, request: FlowsRequest) -> AsyncIterator[Json]:
        """``query``, and with ``request.follow`` all that comes after it, for ever; what got lost is said.

        Errors: ValueError that names the field, before the first answer.
        """
        search = _Search(self, request)
        position, kernel_lost = self.ring.end, self.ring.kernel_lost
        l7_position, proxy_lost = self.l7_ring.end, self.l7_ring.lost
        async for answer in self._answers(search.stored()):
            yield answer
        while request.follow:
            news = self._news
            if self.ring.kernel_lost > kernel_lost:
                yield self._lost(KERNEL, self.ring.kernel_lost - kernel_lost)
                kernel_lost = self.ring.kernel_lost
            if self.ring.begin > position:
                yield self._lost(OVERWRITTEN, self.ring.begin - position)
                position = self.ring.begin
            if search.layer7 and self.l7_ring.lost > proxy_lost:
                yield self._lost(PROXY, self.l7_ring.lost - proxy_lost)
                proxy_lost = self.l7_ring.lost
            if search.layer7 and self.l7_ring.begin > l7_position:
                yield self._lost(OVERWRITTEN, self.l7_ring.begin - l7_position)
                l7_position = self.l7_ring.begin
            span = next(self.ring.spans(position, self.ring.end), None)
            entries = list(islice(self.l7_ring.entries(l7_position), _AT_ONCE)) if search.layer7 else []
            if span is None and not entries:
                await news.wait()
                continue
            position = span.first + span.length if span else position
            l7_position += len(entries)
            of_layer4 = search.matches(span) if span else iter(())
            found = heapq.merge(of_layer4, search.layer7_matches(in_order(entries)), key=_moment)
            async for answer in self._answers(found):
                yield answer

    async def _answers(self, found: Iterable[Found]) -> AsyncIterator[Json]:
        for count, each in enumerate(found, 1):
            if isinstance(each, FlowView):
                yield response(each, self.node)
            if isinstance(each, Breath) or count % _BREATH == 0:
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

    def _l7_view(self, entry: Entry, wall_ns: int, join: Join) -> L7View | None:
        record = entry.unread.record()
        if record is None:
            return None
        return L7View(record, entry.time_ns, L7_NUMBERS + entry.number, self.names, join, wall_ns=wall_ns)


def _moment(found: Found) -> int:
    return found.wall_ns


class _Search:
    """One request against the ring."""

    def __init__(self, store: FlowStore, request: FlowsRequest) -> None:
        self._store, self._request = store, request
        self._offset_ns = store._boot_offset()
        self._matches: Predicate = compile_request(request, store.node)
        self._prefilter = Prefilter(request.whitelist, store.names)
        self._join = Join(store.ring)
        self.layer7 = layer7_possible(request.whitelist)
        """Whether a layer-7 flow could match."""
        self._since = parse_moment(request.since) if request.since else None
        self._until = parse_moment(request.until) if request.until else None
        if request.number < 0:
            raise ValueError(f"number: {request.number}; expected 0 or more")
        if request.follow and (request.first or request.until):
            raise ValueError(f"{'first' if request.first else 'until'} and follow cannot be combined")

    def stored(self) -> Iterator[Found]:
        """Flows oldest first."""
        request = self._request
        if request.follow and not request.number and self._since is None:
            return
        last = request.number > 0 and not request.first
        merged = heapq.merge(self._layer4(last), self._layer7(last), key=_moment, reverse=last)
        flows: list[FlowView] = []
        count = 0
        for each in merged:
            if last and isinstance(each, FlowView):
                flows.append(each)
            else:
                yield each
            count += isinstance(each, FlowView)
            if count == request.number > 0:
                break
        yield from reversed(flows)

    def _layer4(self, newest_first: bool) -> Iterator[Found]:
        ring = self._store.ring
        first = ring.begin if self._since is None else ring.at_or_after(self._since - self._offset_ns)
        for span in ring.spans(first, ring.end, newest_first=newest_first):
            yield from self.matches(span, newest_first=newest_first)

    def _layer7(self, newest_first: bool) -> Iterator[Found]:
        if not self.layer7:
            return
        entries = self._store.l7_ring.entries(newest_first=newest_first)
        yield from self.layer7_matches(in_order(entries, newest_first=newest_first))

    def layer7_matches(self, entries: Iterable[Entry]) -> Iterator[Found]:
        for count, entry in enumerate(entries, 1):
            wall_ns = entry.time_ns + self._offset_ns
            view = self._store._l7_view(entry, wall_ns, self._join) if self._in_time(wall_ns) else None
            if view is not None and self._matches(view):
                yield view
            if count % _BREATH == 0:
                yield Breath(wall_ns)

    def _in_time(self, wall_ns: int) -> bool:
        after = self._since is None or wall_ns >= self._since
        return after and (self._until is None or wall_ns <= self._until)

    def matches(self, span: Span, *, newest_first: bool = False) -> Iterator[Found]:
        """Those of a span that match. The span's bytes are copied first: a caller may let new records in between."""
        store = self._store
        candidates = self._prefilter.candidates(store.ring.data, span)
        if 1 not in candidates:
            return
        data = store.ring.data[span.start : span.start + span.length * RECORD]
        order = range(span.length - 1, -1, -1) if newest_first else range(span.length)
        for count, index in enumerate(filter(candidates.__getitem__, order), 1):
            view = store._view(data, index * RECORD, span.first + index, self._offset_ns)
            if self._in_time(view.wall_ns) and self._matches(view):
                yield view
            if count % _BREATH == 0:
                yield Breath(view.wall_ns)
