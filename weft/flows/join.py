"""The layer-4 record of a layer-7 record's connection: same client, same server, not later."""

from __future__ import annotations

import struct

from weft.flows.decode import OFFSETS, decode
from weft.flows.ring import RECORD, SLACK_NS, ByteRing
from weft.model.flow import Packet
from weft.model.l7 import L7Record
from weft.model.net import TCP, to_wide

_PORT = struct.Struct(">H")
_START, _END = OFFSETS["source"], OFFSETS["tcp_flags"]
"""Addresses, ports and protocol lie together in a record."""


class Join:
    """Looks for records of the ring by the client's port: that column is copied once (2 bytes a record), and again
    when records came since."""

    def __init__(self, ring: ByteRing) -> None:
        self._ring = ring
        self._ports, self._end = b"", -1
        self._known: dict[bytes, Packet | None] = {}

    def find(self, record: L7Record, end_ns: int) -> Packet | None:
        """The newest up to ``end_ns`` (CLOCK_BOOTTIME) that went from this client to this server."""
        ring = self._ring
        if self._end != ring.end:
            used = memoryview(ring.data)[: min(ring.end, ring.capacity) * RECORD].cast("H")
            column = used[OFFSETS["source_port"] // 2 :: RECORD // 2]
            self._ports, self._end = column.tobytes(), ring.end
            self._known.clear()
        ports = struct.pack(">HHB", record.client_port, record.server_port, TCP)
        tuple_ = to_wide(record.client) + to_wide(record.server) + ports
        if tuple_ not in self._known:
            self._known[tuple_] = self._search(tuple_, _PORT.pack(record.client_port), end_ns + SLACK_NS)
        return self._known[tuple_]

    def _search(self, tuple_: bytes, port: bytes, until_ns: int) -> Packet | None:
        data, best = self._ring.data, None
        at = self._ports.find(port)
        while at >= 0:
            start = at // 2 * RECORD
            if at % 2 == 0 and data[start + _START : start + _END] == tuple_:
                packet = decode(data, start)
                if packet.time_ns <= until_ns and (best is None or packet.time_ns > best.time_ns):
                    best = packet
            at = self._ports.find(port, at + 1)
        return best
