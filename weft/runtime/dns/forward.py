"""Names that are not the cluster's: asked of upstream servers, remembered for a moment."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from typing import cast

from dnslib import QTYPE, RCODE, RR, DNSError, DNSHeader, DNSRecord

TIMEOUT = 2.0
_ROUNDS = 2
_AT_ONCE = 512
_CACHE_ENTRIES = 1000
_CACHE_SECONDS = 30
"""As kubeadm's CoreDNS: ``cache 30``."""
_Key = tuple[str, int, bool, bool]


class NoAnswer(Exception):
    """No upstream server answered, none is known, or too many questions are open."""


class _Question(asyncio.DatagramProtocol):
    """One question to one server, from a socket of its own (an unguessable port besides the unguessable id)."""

    def __init__(self, wire: bytes) -> None:
        self._wire = wire
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.DatagramTransport, transport).sendto(self._wire)

    def datagram_received(self, data: bytes, address: object) -> None:
        if not self.answer.done() and _answers(self._wire, data):
            self.answer.set_result(data)

    def error_received(self, error: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)

    def connection_lost(self, error: Exception | None) -> None:
        self.answer.cancel()


def _answers(question: bytes, data: bytes) -> bool:
    """Same id, a response, and the same question."""
    if len(data) < 12 or data[:2] != question[:2] or not data[2] & 0x80:
        return False
    try:
        return bool(DNSRecord.parse(data).q == DNSRecord.parse(question).q)
    except DNSError:
        return False


class Upstream:
    """``servers``: (address, port) in the order of preference."""

    def __init__(self, servers: Sequence[tuple[str, int]], timeout: float = TIMEOUT) -> None:
        self._servers, self._timeout = servers, timeout
        self._open = 0
        self._cache: dict[_Key, tuple[float, float, DNSRecord]] = {}
        self._clock: Callable[[], float] = asyncio.get_running_loop().time

    async def ask(self, query: DNSRecord, tcp: bool) -> DNSRecord:
        """The answer to ``query``, without OPT. ``tcp``: the client can take a long one. Errors: NoAnswer."""
        key = (str(query.q.qname).lower(), query.q.qtype, bool(query.header.cd), _wants_dnssec(query))
        if (known := self._remembered(key)) is None:
            if self._open >= _AT_ONCE:
                raise NoAnswer("too many questions are open")
            self._open += 1
            try:
                known = await self._ask_servers(query, tcp)
            finally:
                self._open -= 1
            self._remember(key, known)
            known = _copy(known, 0)
        known.header.id = query.header.id
        known.questions = query.questions
        return known

    async def _ask_servers(self, query: DNSRecord, tcp: bool) -> DNSRecord:
        for _ in range(_ROUNDS):
            for server in self._servers:
                identifier = secrets.token_bytes(2)
                wire = identifier + query.pack()[2:]
                try:
                    async with asyncio.timeout(self._timeout):
                        answer = DNSRecord.parse(await self._udp(server, wire))
                        if answer.header.tc and tcp:
                            answer = DNSRecord.parse(await _tcp(server, wire))
                except (OSError, DNSError, TimeoutError, asyncio.IncompleteReadError):
                    continue
                if answer.header.rcode not in (RCODE.SERVFAIL, RCODE.REFUSED):
                    return answer
        raise NoAnswer("no upstream server answers")

    async def _udp(self, server: tuple[str, int], wire: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(lambda: _Question(wire), remote_addr=server)
        try:
            return await protocol.answer
        finally:
            transport.close()

    def _remembered(self, key: _Key) -> DNSRecord | None:
        stored = self._cache.get(key)
        now = self._clock()
        if stored is None or now >= stored[1]:
            return None
        return _copy(stored[2], int(now - stored[0]))

    def _remember(self, key: _Key, answer: DNSRecord) -> None:
        if answer.header.tc or answer.header.rcode not in (RCODE.NOERROR, RCODE.NXDOMAIN):
            return
        lifetime = min([_CACHE_SECONDS, *(record.ttl for record in (*answer.rr, *answer.auth))])
        if not answer.rr:  # RFC 2308: as long as the SOA says, not at all without one
            negative = [min(record.ttl, record.rdata.times[4]) for record in answer.auth if record.rtype == QTYPE.SOA]
            lifetime = min([lifetime, *negative]) if negative else 0
        self._cache.pop(key, None)
        if lifetime > 0:
            now = self._clock()
            self._cache[key] = (now, now + lifetime, answer)
            while len(self._cache) > _CACHE_ENTRIES:
                del self._cache[next(iter(self._cache))]


async def _tcp(server: tuple[str, int], wire: bytes) -> bytes:
    reader, writer = await asyncio.open_connection(*server)
    try:
        writer.write(len(wire).to_bytes(2, "big") + wire)
        data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
    finally:
        writer.close()
    if not _answers(wire, data):
        raise DNSError("not an answer to the question")
    return data


def _wants_dnssec(query: DNSRecord) -> bool:
    return any(record.rtype == QTYPE.OPT and record.edns_do for record in query.ar)


def _copy(answer: DNSRecord, age: int) -> DNSRecord:
    """With the time it was kept taken off, and without OPT, which belongs to one hop (RFC 6891, 6.2.1)."""

    def aged(records: list[RR]) -> list[RR]:
        return [
            RR(record.rname, record.rtype, record.rclass, max(0, record.ttl - age), record.rdata)
            for record in records
            if record.rtype != QTYPE.OPT
        ]

    header = DNSHeader(id=answer.header.id, bitmap=answer.header.bitmap)
    header.aa = 0
    return DNSRecord(header, rr=aged(answer.rr), auth=aged(answer.auth), ar=aged(answer.ar))
