"""What happens in the proxy's thread: Envoy's process, what it is told, and what it answers."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

from google.protobuf.json_format import ParseError

from weft.model.desired import Listener
from weft.model.l7 import L7Batch
from weft.model.route import ClusterEndpoint, ClusterRef
from weft.proxy import admin, names
from weft.proxy.accesslog import AccessLog
from weft.proxy.ads import Ads, Key
from weft.proxy.bootstrap import Paths
from weft.proxy.listening import has_v6, listens
from weft.proxy.process import Process, reap, tell
from weft.proxy.relay import Relay
from weft.proxy.resources import cluster_resources, endpoint_resources, listener_resources, references
from weft.proxy.said import ProxyStatus, Rejection
from weft.proxy.service import GrpcServer
from weft.proxy.spawn import USER, ProxyError
from weft.proxy.tracing import Collector, collector_cluster
from weft.proxy.wire import CLUSTER, ENDPOINTS, LISTENER, ROUTES, Resource, resource

log = logging.getLogger("weft.proxy")

POLL = 0.005
SHORT_LIFE = 5.0
"""Seconds; an Envoy that ends sooner than this twice in a row is started with a delay that doubles."""
FIRST_DELAY, LONGEST_DELAY = 0.1, 5.0

Endpoints = dict[ClusterRef, tuple[ClusterEndpoint, ...]]


class Worker:
    def __init__(
        self,
        paths: Paths,
        process: Process,
        on_log: Callable[[L7Batch], None],
        on_exit: Callable[[], None],
        log_headers: tuple[str, ...],
        otlp: Collector | None,
    ) -> None:
        self._paths, self._process, self._on_exit, self._log_headers = paths, process, on_exit, log_headers
        self._otlp = [resource(CLUSTER, collector_cluster(paths.otlp))] if otlp else []
        self._relay = Relay(otlp) if otlp else None
        self._ads = Ads()
        self._server = GrpcServer(self._ads, AccessLog(on_log, log_headers))
        self._handle: int | None = None
        self._started = 0.0
        self._short_lives = 0
        self._restarts = 0
        self._restart: asyncio.Task[None] | None = None
        self._idle: asyncio.TimerHandle | None = None
        self._ending: asyncio.Event | None = None
        self._contents: dict[int, Listener] = {}
        self._endpoints: Endpoints = {}
        with process.enter():
            self._v6 = has_v6()

    async def open(self) -> None:
        """Listens for Envoy. Errors: OSError."""
        self._process.prepare()
        await self._server.open(self._paths.agent, USER)
        if self._relay is not None:
            await self._relay.open(self._paths.otlp, USER)

    async def close(self) -> None:
        self._cancel_idle()
        if self._restart is not None:
            self._restart.cancel()
        if self._handle is not None:
            asyncio.get_running_loop().remove_reader(self._handle)
            os.close(self._handle)
            self._handle = None
        if self._relay is not None:
            await self._relay.end()
        await self._server.end()

    async def adopt(self, handle: int) -> None:
        """Watches this Envoy. Another handle on the one that is watched already is closed."""
        if self._handle is not None:
            os.close(handle)
            return
        loop = asyncio.get_running_loop()
        self._handle, self._started = handle, loop.time()
        loop.add_reader(handle, self._ended)

    async def ensure(self, listeners: dict[int, Listener], endpoints: Endpoints, timeout: float) -> list[Rejection]:
        rejections: dict[int, str] = {}
        wanted: dict[int, list[Resource]] = {}
        self._endpoints |= endpoints
        for number, content in listeners.items():
            try:
                wanted[number] = self._translate(number, content)
            except (ValueError, ParseError) as error:
                rejections[number] = str(error)
        if wanted:
            self._cancel_idle()
            await self._push(wanted, {number: listeners[number] for number in wanted}, rejections, timeout)
        return [Rejection(number, message) for number, message in sorted(rejections.items())]

    async def update_clusters(self, endpoints: Endpoints) -> None:
        known = self._ads.wanted(ENDPOINTS)
        refs = [ref for ref in endpoints if names.cluster_name(ref, 4) in known]
        self._endpoints |= {ref: endpoints[ref] for ref in refs}
        self._ads.put(resource(ENDPOINTS, json) for json in endpoint_resources(refs, endpoints))

    async def keep_only(self, numbers: set[int]) -> None:
        gone = [key for key in self._keys((LISTENER, ROUTES)) if names.number_of(key[1]) not in numbers]
        self._contents = {number: content for number, content in self._contents.items() if number in numbers}
        used = {ref for content in self._contents.values() for ref in references(content)}
        clusters = {names.cluster_name(ref, family) for ref in used for family in (4, 6)}
        clusters |= {item.name for item in self._otlp}
        gone += [key for key in self._keys((CLUSTER, ENDPOINTS)) if key[1] not in clusters]
        self._endpoints = {ref: value for ref, value in self._endpoints.items() if ref in used}
        self._ads.remove(gone)
        self._ads.complete()

    async def stop_if_idle(self, grace: float) -> None:
        if not self._contents and self._idle is None:
            loop = asyncio.get_running_loop()
            self._idle = loop.call_later(grace, lambda: asyncio.ensure_future(self.stop()))

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL after 2 s."""
        self._cancel_idle()
        if self._restart is not None:
            self._restart.cancel()
            self._restart = None
        if self._handle is None:
            return
        self._ending = asyncio.Event()
        tell(self._handle, signal.SIGTERM)
        try:
            await asyncio.wait_for(self._ending.wait(), 2.0)
        except TimeoutError:
            self._process.kill()
            await self._ending.wait()
        self._ending = None

    async def status(self) -> ProxyStatus:
        pid = self._process.pid() if self._handle is not None else 0
        if not pid:
            return ProxyStatus(0, restarts=self._restarts)
        try:
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
            loop = asyncio.get_running_loop()
            stats = await loop.run_in_executor(None, admin.stats, self._paths.admin)
        except (OSError, ValueError):
            return ProxyStatus(pid, restarts=self._restarts)
        return ProxyStatus(
            pid,
            pages * os.sysconf("SC_PAGE_SIZE"),
            sum(1 for name in self._ads.wanted(LISTENER) if self._has(LISTENER, name)),
            stats.get("server.total_connections", 0),
            self._restarts,
        )

    def _translate(self, number: int, content: Listener) -> list[Resource]:
        """In the order in which Envoy can be told."""
        built = listener_resources(number, content, self._log_headers, self._v6, traced=bool(self._otlp))
        refs = references(content)
        return [
            *self._otlp,
            *(resource(CLUSTER, json) for json in cluster_resources(refs)),
            *(resource(ENDPOINTS, json) for json in endpoint_resources(refs, self._endpoints)),
            resource(LISTENER, built.listener),
            *(resource(ROUTES, json) for json in built.routes),
        ]

    async def _push(
        self,
        wanted: dict[int, list[Resource]],
        contents: dict[int, Listener],
        rejections: dict[int, str],
        timeout: float,
    ) -> None:
        before: dict[Key, Resource | None] = {
            (item.type, item.name): self._ads.find(item.type, item.name) for items in wanted.values() for item in items
        }
        self._ads.put(item for items in wanted.values() for item in items)
        if self._ending is not None:
            await self._ending.wait()
        if self._handle is None and self._restart is None:
            await self._begin()
        done: set[int] = set()
        try:
            async with asyncio.timeout(timeout):
                for number, items in wanted.items():
                    message = await self._settled(items)
                    if message is None:
                        await self._listens(number)
                        self._contents[number] = contents[number]
                        done.add(number)
                    else:
                        rejections[number] = message
                        self._take_back(items, before)
        except TimeoutError:
            waiting = sorted(number for number in wanted if number not in done | set(rejections))
            raise ProxyError(f"Envoy did not take listeners {waiting} within {timeout} s{self._last_words()}") from None

    async def _settled(self, items: list[Resource]) -> str | None:
        """None when Envoy has them all; else its reason for refusing one of them."""
        while True:
            states = [self._ads.state(item) for item in items]
            for state in states:
                if isinstance(state, str):
                    return state
            if all(states):
                return None
            await self._ads.changed()

    async def _listens(self, number: int) -> None:
        """An acknowledged listener opens its sockets in Envoy's own time."""
        while not self._is_listening(number):
            await asyncio.sleep(POLL)

    def _is_listening(self, number: int) -> bool:
        with self._process.enter():
            return listens(number, self._v6)

    def _take_back(self, items: Iterable[Resource], before: dict[Key, Resource | None]) -> None:
        own = [item for item in items if item.type in (LISTENER, ROUTES)]
        self._ads.put(old for item in own if (old := before[item.type, item.name]) is not None)
        self._ads.remove((item.type, item.name) for item in own if before[item.type, item.name] is None)

    def _keys(self, types: tuple[str, ...]) -> list[Key]:
        return [(type_, name) for type_ in types for name in self._ads.wanted(type_)]

    def _has(self, type_: str, name: str) -> bool:
        item = self._ads.find(type_, name)
        return item is not None and self._ads.state(item) is True

    async def _begin(self) -> None:
        handle = self._process.find()
        await self.adopt(self._process.start() if handle is None else handle)

    def _ended(self) -> None:
        """Envoy is gone."""
        loop = asyncio.get_running_loop()
        assert self._handle is not None
        loop.remove_reader(self._handle)
        reap(self._handle)
        os.close(self._handle)
        self._handle = None
        if self._ending is not None:
            self._ending.set()
            return
        self._restarts += 1
        self._on_exit()
        lived = loop.time() - self._started
        self._short_lives = 0 if lived > SHORT_LIFE else self._short_lives + 1
        self._restart = asyncio.ensure_future(self._begin_again())

    async def _begin_again(self) -> None:
        while True:
            if self._short_lives > 1:
                await asyncio.sleep(min(FIRST_DELAY * 2 ** (self._short_lives - 2), LONGEST_DELAY))
            try:
                await self._begin()
            except (ProxyError, OSError) as error:
                self._short_lives += 1
                log.error("%s; the next attempt follows", error)
                continue
            self._restart = None
            return

    def _cancel_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None

    def _last_words(self) -> str:
        try:
            lines = self._paths.log.read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return f"; it said last: {lines[-1]}" if lines else ""
