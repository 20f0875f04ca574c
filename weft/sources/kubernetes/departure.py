"""Whether the DaemonSet that runs the agent is being taken away: then an agent that is told to end does so for good.

It is watched all the time, for whoever deletes it takes the agents' rights with it, and then they can no longer ask.
"""

from __future__ import annotations

import logging
import random
from typing import Any

import msgspec

from weft.sources.kubernetes.api import Api, ApiError, Status
from weft.sources.kubernetes.reflector import WATCH_SECONDS

log = logging.getLogger("weft.kubernetes")

PAUSE = 2.0
SILENCE_AFTER = 30.0
"""So long after the server should have ended the watch, it counts as out of reach: it may have nothing to say."""


class _Metadata(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    deletion_timestamp: str = ""


class _DaemonSet(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


class _List(msgspec.Struct):
    metadata: _Metadata
    items: list[_DaemonSet] | None = None


class _Event(msgspec.Struct):
    type: str
    object: msgspec.Raw


class Departure:
    """``daemonset``: its name, in the agent's own namespace."""

    def __init__(self, api: Api, daemonset: str) -> None:
        self._api = api
        self._path = f"/apis/apps/v1/namespaces/{api.namespace}/daemonsets"
        self._only = {"fieldSelector": f"metadata.name={daemonset}"}
        self.is_final = False
        """As far as the API server has said."""

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                await self._watch(await self._list())
            except (ApiError, msgspec.DecodeError) as error:
                if not isinstance(error, ApiError) or not (error.expired or self._api.problem or self.is_final):
                    log.warning("daemonsets: %s", error)
                await self._api.pause(PAUSE * random.uniform(0.5, 1))

    async def _list(self) -> str:
        """The resourceVersion to watch from."""
        found = msgspec.json.decode(await self._api.get(self._path, self._only), type=_List)
        self.is_final = all(one.metadata.deletion_timestamp for one in found.items or ())
        return found.metadata.resource_version

    async def _watch(self, version: str) -> None:
        seconds = random.randint(*WATCH_SECONDS)
        params: dict[str, Any] = {**self._only, "watch": "1", "resourceVersion": version, "timeoutSeconds": seconds}
        async with self._api.stream(self._path, params, seconds + SILENCE_AFTER) as batches:
            async for lines in batches:
                for line in filter(None, lines):
                    self._take(msgspec.json.decode(line, type=_Event))

    def _take(self, event: _Event) -> None:
        if event.type == "ERROR":
            raise msgspec.json.decode(event.object, type=Status).error()
        seen = msgspec.json.decode(event.object, type=_DaemonSet)
        self.is_final = event.type == "DELETED" or bool(seen.metadata.deletion_timestamp)
