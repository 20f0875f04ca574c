"""One resource of the API server, followed for ever: list, then watch from there (Kubernetes API concepts, "Efficient
detection of changes")."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from weft.sources.kubernetes import shapes
from weft.sources.kubernetes.api import Api, ApiError, Status, UnreachableError
from weft.sources.kubernetes.resources import Resource
from weft.sources.kubernetes.tables import Table

log = logging.getLogger("weft.kubernetes")

PAGE = 500
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
WATCH_SECONDS = (300, 600)
"""After so many, chosen at random, the server ends a watch, and we resume it: so load spreads after its restart."""
SILENCE = 150.0
"""More than this without a line: we resume. Bookmarks come every minute, except for resources that never change."""
MISSING_SECONDS = 15.0
"""Between looks for a CRD that is not installed."""
VANISHED_SECONDS = 60.0
"""So long a resource with objects may be "not found" before they count as gone: an API server that starts may not know
its CRDs yet."""

_LIST = msgspec.json.Decoder(shapes.ObjectList)
_EVENT = msgspec.json.Decoder(shapes.WatchEvent)
_BOOKMARK = msgspec.json.Decoder(shapes.Bookmark)
_STATUS = msgspec.json.Decoder(Status)
Mark = Callable[[Table, Iterable[Any]], None]


class Reflector:
    """``mark(table, keys)``: told of values that are others now. ``problem``: what is wrong now; else empty."""

    def __init__(self, api: Api, table: Table, mark: Mark) -> None:
        self._api, self.table, self._mark = api, table, mark
        self._version = ""
        """resourceVersion that the table is at; empty: it must be listed."""
        self._api_version = table.resource.versions[0]
        self._failures = 0
        self._missing_since = 0.0
        self.problem = ""

    @property
    def resource(self) -> Resource:
        return self.table.resource

    async def sync(self) -> None:
        """Returns when the table has everything once. A CRD that is missing has nothing."""
        while not self._version and not self._missing_since:
            await self._attempt(self._list())

    async def run(self) -> None:
        while True:
            await self._attempt(self._watch() if self._version else self._list())

    async def _attempt(self, work: Any) -> None:
        """One list or one watch, and the pause after it."""
        try:
            await work
        except UnreachableError as error:
            if not self._failures:
                log.warning("%s: %s", self.resource.plural, error)
            await self._pause(error.retry_after)
        except ApiError as error:
            await self._refused(error)
        except Exception as error:  # a defect, here or there, must not end what keeps the node in step
            self.problem = f"{self.resource.plural}: cannot be read: {type(error).__name__}: {error}; trying again"
            log.exception("%s", self.problem)
            self._version = ""
            await self._pause()
        else:
            self.problem = ""

    async def _refused(self, error: ApiError) -> None:
        if error.expired:
            log.info("%s: resourceVersion %s has expired; listing again", self.resource.plural, self._version)
            self._version = ""
            await self._pause()
        elif error.code == 404 and self.resource.custom:
            await self._missing()
        else:
            self.problem = f"{self.resource.plural}: the API server refuses ({error.code} {error.reason}): {error}"
            log.error("%s", self.problem)
            await self._pause(error.retry_after)

    async def _missing(self) -> None:
        """The next version, or no CRD."""
        versions = self.resource.versions
        position = versions.index(self._api_version) + 1
        self._version, self._api_version = "", versions[position % len(versions)]
        if position < len(versions):
            return
        now = asyncio.get_running_loop().time()
        first, self._missing_since = not self._missing_since, self._missing_since or now
        if first:
            log.info("%s: no such resource (is its CRD installed?); looking again now and then", self.resource.plural)
        if now - self._missing_since >= VANISHED_SECONDS:
            self._replace(set(), [])
        if not first:
            await self._api.pause(MISSING_SECONDS * random.uniform(0.7, 1.3))

    async def _pause(self, least: float = 0) -> None:
        seconds = min(FIRST_PAUSE * 2 ** min(self._failures, 20), LONGEST_PAUSE) * random.uniform(0.5, 1)
        self._failures += 1
        await self._api.pause(max(least, seconds))

    async def _list(self) -> None:
        """Every object, consistently; those that are not among them are gone."""
        try:
            version, present, changed = await self._pages(PAGE)
        except ApiError as error:
            if not error.expired:
                raise
            version, present, changed = await self._pages(0)  # it took too long for pages
        self._replace(present, changed)
        self._version, self._missing_since = version, 0.0

    async def _pages(self, limit: int) -> tuple[str, set[Any], list[Any]]:
        present: set[Any] = set()
        changed: list[Any] = []
        more = ""
        path = self.resource.path(self._api_version)
        while True:
            params = ({"limit": limit} if limit else {}) | ({"continue": more} if more else {})
            page = _LIST.decode(await self._api.get(path, params))
            for raw in page.items or ():
                self._take(raw, present, changed)
            more = page.metadata.continue_
            if not more:
                return page.metadata.resource_version, present, changed

    def _take(self, raw: msgspec.Raw, present: set[Any], changed: list[Any]) -> None:
        try:
            key, new = self.table.take(raw, self._api_version)
        except msgspec.ValidationError as error:
            log.error("%s: an object that is none: %s", self.resource.plural, error)
            return
        present.add(key)
        if new:
            changed.append(key)

    def _replace(self, present: set[Any], changed: list[Any]) -> None:
        gone = [key for key in self.table.known() if key not in present]
        self._mark(self.table, [key for key in gone if self.table.remove(key)] + changed)

    async def _watch(self) -> None:
        params = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._version,
            "timeoutSeconds": random.randint(*WATCH_SECONDS),
        }
        loop = asyncio.get_running_loop()
        started = loop.time()
        async with self._api.stream(self.resource.path(self._api_version), params, SILENCE) as batches:
            self.problem = ""
            async for lines in batches:
                self._mark(self.table, [key for line in lines if line for key in self._event(line)])
                self._failures = 0
        if loop.time() - started < 1:  # or we would ask again and again
            await self._pause()
        else:
            self._failures = 0

    def _event(self, line: bytes) -> list[Any]:
        event = _EVENT.decode(line)
        match event.type:
            case "ADDED" | "MODIFIED":
                changed: list[Any] = []
                self._take(event.object, set(), changed)
            case "DELETED":
                key, had = self.table.drop(event.object)
                changed = [key] if had else []
            case "ERROR":
                raise _STATUS.decode(event.object).error()
            case _:
                changed = []
        self._version = _BOOKMARK.decode(event.object).metadata.resource_version
        return changed
