"""Statuses and Events, written to the API by the agent that leads; kept while the API server is away.

Idempotent: what already says what it should is not written.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from weft.sources.kubernetes import events
from weft.sources.kubernetes.api import MERGE_PATCH, Api, ApiError, UnreachableError
from weft.sources.kubernetes.complaints import Complaint, Complaints
from weft.sources.kubernetes.lease import Leadership
from weft.sources.kubernetes.resources import Resource, Seen
from weft.sources.kubernetes.statuses import merged
from weft.sources.objects import Json, Key
from weft.sources.status import timestamp

log = logging.getLogger("weft.kubernetes")

PACE = 0.02
"""Seconds between two writes at least."""
REPEAT_SECONDS = 1800.0
"""API servers forget Events after an hour: those that still hold are told again."""
_ATTEMPTS = 5
"""Against others that write the same object."""


class StatusWriter:
    """``seen``: an object as the API server has it. Use from one event loop."""

    def __init__(
        self,
        api: Api,
        node: str,
        leadership: Leadership,
        complaints: Complaints,
        resource: Callable[[str], Resource],
        seen: Callable[[Key], Seen | None],
    ) -> None:
        self._api, self._node, self._leadership, self._complaints = api, node, leadership, complaints
        self._resource, self._seen = resource, seen
        self._wanted: dict[Key, Json] = {}
        self._answered: dict[Key, tuple[Json, Json]] = {}
        """What was wanted, and what the API server made of it: a CRD may leave something out, and that is that."""
        self._due: dict[Key, None] = {}
        self._due_events: dict[Key, tuple[Complaint, bool]] = {}
        self._wake = asyncio.Event()
        self._failures = 0
        complaints.on_new = self._complain

    def want(self, key: Key, status: Json) -> None:
        """The object's status should say this, as ``statuses`` has it."""
        self._wanted[key] = status
        self.look(key)

    def look(self, key: Key) -> None:
        """The object may be another one by now."""
        if key in self._wanted:
            self._due[key] = None
            self._wake.set()

    def forget(self, key: Key) -> None:
        self._wanted.pop(key, None)
        self._answered.pop(key, None)
        self._due.pop(key, None)

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._leadership.run())
            group.create_task(self._lead())
            group.create_task(self._repeat())

    async def _lead(self) -> None:
        held = self._leadership.is_held
        while True:
            if not held.is_set():
                await held.wait()
                for complaint in self._complaints.all():
                    self._complain(complaint, new=False)
            while held.is_set() and (self._due or self._due_events):
                if await self._one():
                    await asyncio.sleep(PACE)
            if held.is_set():
                self._wake.clear()
                try:
                    async with asyncio.timeout(1):  # or nobody would see that it is held no more
                        await self._wake.wait()
                except TimeoutError:
                    pass

    async def _repeat(self) -> None:
        while True:
            await asyncio.sleep(REPEAT_SECONDS)
            for complaint in self._complaints.all():
                self._complain(complaint)

    def _complain(self, complaint: Complaint, new: bool = True) -> None:
        asyncio.get_running_loop().call_later(complaint.delay, self._complain_now, complaint, new)

    def _complain_now(self, complaint: Complaint, new: bool) -> None:
        if not self._complaints.is_open(complaint):
            return
        if complaint.delay and new:
            log.warning("%s %s: %s", complaint.object.key.kind, complaint.object.key.namespaced, complaint.message)
        if self._leadership.is_held.is_set():  # else who leads tells it, and who leads next tells all there are
            self._due_events[complaint.object.key] = (complaint, new)
            self._wake.set()

    async def _one(self) -> bool:
        """Do the first thing that is due; whether anything was sent."""
        try:
            if self._due:
                key = next(iter(self._due))
                sent = await self._write_status(key)
                self._due.pop(key, None)
            else:
                key, (complaint, new) = next(iter(self._due_events.items()))
                sent = self._complaints.is_open(complaint)
                if sent:
                    await self._write_event(complaint, new)
                if self._due_events.get(key) == (complaint, new):
                    del self._due_events[key]
        except UnreachableError as error:
            await self._api.pause(max(error.retry_after, self._backoff()))
            return False
        except ApiError as error:
            log.warning("what came of %s %s cannot be written: %s", key.kind, key.namespaced, error)
            if error.code == 429:
                await asyncio.sleep(max(error.retry_after, self._backoff()))
            else:
                self._give_up(key)
            return True
        except Exception:  # a defect here must not end what reads
            log.exception("what came of %s %s cannot be written", key.kind, key.namespaced)
            self._give_up(key)
            return True
        self._failures = 0
        return sent

    def _give_up(self, key: Key) -> None:
        self._due.pop(key, None)
        self._due_events.pop(key, None)

    def _backoff(self) -> float:
        self._failures += 1
        longest: float = min(0.1 * 2.0 ** min(self._failures, 20), 30.0)
        return longest * random.uniform(0.5, 1)

    async def _write_status(self, key: Key) -> bool:
        found = self._seen(key)
        for _ in range(_ATTEMPTS):
            wanted = self._wanted.get(key)
            if found is None or wanted is None:
                return False
            new = merged(key.kind, found.status, wanted, timestamp(datetime.now(UTC)))
            if all(found.status.get(name, []) == value for name, value in new.items()):
                return False
            if self._answered.get(key) == (wanted, found.status):
                return False
            path = self._resource(key.kind).path(found.reference.api_version, key.namespace, key.name, "status")
            patch = {"metadata": {"resourceVersion": found.revision, "uid": found.reference.uid}, "status": new}
            try:
                answer = msgspec.json.decode(await self._api.send("PATCH", path, patch, MERGE_PATCH))
            except ApiError as error:
                if error.code == 404:  # gone, and the watch will tell
                    return True
                if error.code != 409:
                    raise
                found = await self._fresh(key, found)
            else:
                self._answered[key] = (wanted, answer.get("status") or {})
                return True
        raise ApiError(409, "Conflict", "others write it all the time")

    async def _fresh(self, key: Key, old: Seen) -> Seen | None:
        """As it is at this moment; None: gone, or another object of the name."""
        version = old.reference.api_version
        try:
            body = await self._api.get(self._resource(key.kind).path(version, key.namespace, key.name))
        except ApiError as error:
            if error.code == 404:
                return None
            raise
        data: Any = msgspec.json.decode(body)
        if data["metadata"]["uid"] != old.reference.uid:
            return None
        return Seen(old.reference, data["metadata"]["resourceVersion"], data.get("status") or {})

    async def _write_event(self, complaint: Complaint, new: bool) -> None:
        path, now = events.folder(complaint), datetime.now(UTC)
        try:
            await self._api.send("POST", path, events.event(complaint, self._node, now))
        except ApiError as error:
            if error.code == 409 and new:
                one = f"{path}/{events.name(complaint)}"
                there: Any = msgspec.json.decode(await self._api.send("PATCH", one, events.again(now), MERGE_PATCH))
                await self._api.send("PATCH", one, {"count": (there.get("count") or 1) + 1}, MERGE_PATCH)
            elif error.code != 409 and not _is_ending(error):
                raise


def _is_ending(error: ApiError) -> bool:
    """The namespace is going or gone, and what is in it goes with it."""
    return error.code == 404 or (error.code == 403 and "being terminated" in str(error))
