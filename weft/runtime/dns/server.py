"""Sockets of the DNS pod: UDP and TCP, IPv4 and IPv6; the zone is read again whenever its file is replaced."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from dnslib import QTYPE, RCODE, DNSError, DNSHeader, DNSQuestion, DNSRecord

from weft.runtime.dns.answer import Elsewhere, pack, respond
from weft.runtime.dns.forward import NoAnswer, Upstream
from weft.runtime.dns.records import Zone, ZoneError, parse
from weft.runtime.inotify import Inotify

log = logging.getLogger("weft.dns")

Address = tuple[Any, ...]
"""As Python's socket module has it: (host, port) or (host, port, flow, scope)."""
_TCP_IDLE = 10.0
_TCP_AT_ONCE = 256


@dataclass
class Server:
    """Needs a running loop."""

    zone_file: Path
    upstream: Upstream
    zone: Zone | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _connections: int = 0

    async def listen(self, addresses: Sequence[str], port: int) -> list[int]:
        """Binds; returns the ports (they differ from ``port`` only if that is 0). Errors: OSError."""
        loop = asyncio.get_running_loop()
        ports = []
        for address in addresses:
            udp = _udp_socket(address, port)
            chosen = udp.getsockname()[1]
            await loop.create_datagram_endpoint(lambda: _Udp(self), sock=udp)
            await asyncio.start_server(self._connected, address, chosen)
            ports.append(chosen)
        return ports

    def watch_zone(self) -> None:
        """Reads the zone now, and again whenever the file is replaced."""
        watcher = Inotify()
        watcher.watch(self.zone_file.parent)
        self._load()

        def changed() -> None:
            if any(path is None or path == self.zone_file for path in list(watcher.read())):
                self._load()

        asyncio.get_running_loop().add_reader(watcher.fd, changed)

    def _load(self) -> None:
        """A file that is missing or broken leaves the last good zone in force."""
        try:
            serial = int(self.zone_file.stat().st_mtime) & 0xFFFFFFFF
            self.zone = parse(self.zone_file.read_text(), serial)
        except (OSError, ZoneError, UnicodeDecodeError) as error:
            log.error("zone %s: %s; the last good one stays", self.zone_file, error)
        else:
            log.info("zone %s: %d names", self.zone_file, len(self.zone.records))

    def answer_now(self, query: DNSRecord) -> DNSRecord | Elsewhere:
        return respond(self.zone, query)

    async def answer(self, pending: Elsewhere, query: DNSRecord, tcp: bool) -> DNSRecord:
        """With what upstream says: all of it, or the end of a CNAME chain that began in the cluster."""
        try:
            if not pending.reply.rr:
                return await self.upstream.ask(query, tcp)
            rest = DNSRecord(DNSHeader(id=query.header.id, rd=1), q=DNSQuestion(pending.name, query.q.qtype))
            rest = await self.upstream.ask(rest, tcp)
        except NoAnswer as error:
            log.debug("%s %s: %s", pending.name, QTYPE.get(query.q.qtype), error)
            pending.reply.header.rcode = RCODE.SERVFAIL
            return pending.reply
        pending.reply.add_answer(*rest.rr)
        pending.reply.add_auth(*rest.auth)
        pending.reply.header.rcode = rest.header.rcode
        pending.reply.header.tc = rest.header.tc
        return pending.reply

    def spawn_reply(
        self, pending: Elsewhere, query: DNSRecord, transport: asyncio.DatagramTransport, to: Address
    ) -> None:
        async def reply() -> None:
            wire = pack(await self.answer(pending, query, tcp=False), query, udp=True)
            if not transport.is_closing():
                transport.sendto(wire, to)

        task = asyncio.get_running_loop().create_task(reply())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One query after the other, as long as the client goes on (RFC 7766)."""
        self._connections += 1
        try:
            while self._connections <= _TCP_AT_ONCE:
                async with asyncio.timeout(_TCP_IDLE):
                    data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
                if (query := read_query(data)) is None:
                    break
                reply = query if isinstance(query, bytes) else await self._whole(query)
                writer.write(len(reply).to_bytes(2, "big") + reply)
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._connections -= 1
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _whole(self, query: DNSRecord) -> bytes:
        reply = self.answer_now(query)
        if isinstance(reply, Elsewhere):
            reply = await self.answer(reply, query, tcp=True)
        return pack(reply, query, udp=False)


def _udp_socket(address: str, port: int) -> socket.socket:
    """``::`` means IPv6 alone, so that ``0.0.0.0`` can be listened on beside it. Errors: OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made


class _Udp(asyncio.DatagramProtocol):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, address: Address) -> None:
        query = read_query(data)
        if query is None:
            return
        if isinstance(query, bytes):
            self._transport.sendto(query, address)
            return
        reply = self._server.answer_now(query)
        if isinstance(reply, Elsewhere):
            self._server.spawn_reply(reply, query, self._transport, address)
        else:
            self._transport.sendto(pack(reply, query, udp=True), address)


def read_query(data: bytes) -> DNSRecord | bytes | None:
    """The query; the reply to one that cannot be read (FORMERR); None for what must not be answered at all."""
    if len(data) < 12 or data[2] & 0x80:
        return None
    try:
        return DNSRecord.parse(data)
    except (DNSError, ValueError, IndexError):
        return data[:2] + bytes([0x80 | data[2] & 0x79, RCODE.FORMERR]) + bytes(8)
