"""Envoy's way to the collector of its spans: a unix socket, whose bytes the agent passes on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path

from weft.proxy.tracing import Collector

log = logging.getLogger("weft.proxy")

CONNECT_SECONDS = 5.0
_AT_ONCE = 1 << 16


class Relay:
    """For one event loop."""

    def __init__(self, target: Collector) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._reported = False

    async def open(self, path: Path, user: int) -> None:
        """Listens; only ``user`` and root may connect. Errors: OSError."""
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, path)
        os.chown(path, user, user)
        path.chmod(0o600)

    async def end(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            await self._pass_on(reader, writer)
        except OSError as error:
            if not self._reported:
                log.warning("spans are lost: %s:%d: %s", *self._target, error or "no answer")
            self._reported = True
        finally:
            self._running.discard(task)
            writer.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until either end has closed. Errors: OSError, also for a collector that does not answer."""
        there = await asyncio.wait_for(asyncio.open_connection(*self._target), CONNECT_SECONDS)
        self._reported = False
        ways = [asyncio.create_task(_copy(reader, there[1])), asyncio.create_task(_copy(there[0], writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            there[1].close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(_AT_ONCE):
            target.write(data)
            await target.drain()
