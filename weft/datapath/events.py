"""The events ring, read in bulk through shared memory: whole stretches of records, no call for each.

Layout (Documentation/bpf/ringbuf.rst): page 0 the consumer's position, page 1 the producer's, then the data, mapped
twice in a row so that a stretch never wraps. Positions are byte counts that only grow.
"""

from __future__ import annotations

import mmap
import struct

from weft.datapath import layouts
from weft.datapath.errors import DatapathError
from weft.datapath.maps import Map

HEADER = 8
RECORD = HEADER + layouts.FLOW_EVENT_SIZE
"""Bytes of a record with the ring's header in front: 128."""
_PAGE = mmap.PAGESIZE
_POSITION = struct.Struct("=Q")
_WHOLE = layouts.FLOW_EVENT_SIZE
"""A header's first word when the record is complete: its length, without the busy and the discard bit."""
_BUSY = 1 << 31


class EventReader:
    """The only consumer of a node's events ring. ``fileno()`` is readable (epoll, asyncio) while there are records."""

    def __init__(self, ring: Map) -> None:
        if RECORD % 8 or ring.max_entries % _PAGE:
            raise DatapathError(f"read map {ring.name}", f"{ring.max_entries} bytes are no ring of records")
        self._ring, self.size = ring, ring.max_entries
        self._position = mmap.mmap(ring.fd, _PAGE, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self._data = mmap.mmap(ring.fd, _PAGE + 2 * self.size, mmap.MAP_SHARED, mmap.PROT_READ, offset=_PAGE)
        self._bytes = memoryview(self._data)[_PAGE:]
        self._words = self._bytes.cast("I")

    def fileno(self) -> int:
        return self._ring.fd

    def close(self) -> None:
        self._words.release()
        self._bytes.release()
        self._data.close()
        self._position.close()

    def read(self) -> bytes:
        """All complete records, oldest first: a multiple of 128 bytes, each record with its 8-byte header in front.
        Empty if there is none. The ring has room again when this returns."""
        consumed, produced = self._positions()
        start = consumed % self.size
        length = produced - consumed
        if not length:
            return b""
        headers = self._words[start // 4 : (start + length) // 4 : RECORD // 4].tolist()
        if headers.count(_WHOLE) != len(headers):
            busy = next((i for i, header in enumerate(headers) if header & _BUSY), len(headers))
            headers, length = headers[:busy], busy * RECORD
        stretch = bytes(self._bytes[start : start + length])
        _POSITION.pack_into(self._position, 0, consumed + length)
        if headers.count(_WHOLE) != len(headers):  # given up by a program
            kept = (i for i, header in enumerate(headers) if header == _WHOLE)
            return b"".join(stretch[i * RECORD : (i + 1) * RECORD] for i in kept)
        return stretch

    def _positions(self) -> tuple[int, int]:
        return _POSITION.unpack_from(self._position)[0], _POSITION.unpack_from(self._data)[0]
