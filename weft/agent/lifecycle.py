"""Pods of the store ↔ processes: one task for each pod, from its creation to its last trace.

    stored ─► prepared (nothing up) ─► in the kernel's maps ─► started ─► ... ─► deleting ─► stopped ─► out of the maps
           ─► removed ─► forgotten

The two steps in the middle of each half are why no packet of a pod is ever seen without its policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence

from weft.datapath.errors import DatapathError
from weft.model.kinds.core import Pod
from weft.model.objects import LocalEndpoint, NamespacedName
from weft.runtime.errors import PodError
from weft.runtime.ipam import AddressesExhausted
from weft.runtime.pods import PodRuntime
from weft.runtime.probes import Readiness
from weft.runtime.state import Found, PodState, Recovered
from weft.sources.errors import NotFound, StoreError
from weft.sources.objects import Change, Json, Key, Stored
from weft.sources.registry import POD
from weft.sources.status import ContainerStatus, pod_status
from weft.sources.store import Store

log = logging.getLogger("weft.pods")

RETRY_SECONDS = 2.0
Check = Callable[[Sequence[Change]], None]


class Pods:
    """``local``: how the node's own pods are reached; the world is built with it."""

    def __init__(self, store: Store, runtime: PodRuntime, is_ours: Callable[[Stored], bool] = lambda pod: True) -> None:
        """``is_ours``: whether a pod of the store is to run on this node."""
        self._store, self.runtime, self._is_ours = store, runtime, is_ours
        self._readiness = Readiness(runtime.status, runtime.exec_argv, self.publish)
        self.local: dict[NamespacedName, LocalEndpoint] = {}
        self._found: dict[NamespacedName, Recovered] = {}
        self._lives: dict[NamespacedName, asyncio.Task[None]] = {}
        self._leaving: dict[NamespacedName, asyncio.Event] = {}
        self._grace: dict[NamespacedName, float] = {}
        self._ending: set[NamespacedName] = set()
        self._hurries: set[asyncio.Task[None]] = set()
        self._check: Check = lambda changes: None

    # ---- the agent's own life ----------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """What an earlier agent left. After this the store's statuses and ``local`` are true; nothing runs yet."""
        self._found = {one.state.key: one for one in await self.runtime.recover()}
        statuses: dict[Key, Json] = {}
        for stored in filter(self._is_ours, self._store.objects(POD)):
            found = self._found.get(stored.key.namespaced)
            if found and found.state.uid == stored.uid and found.found is not Found.BROKEN:
                if found.state.endpoint:
                    self.local[found.state.key] = found.state.endpoint
                ready = [one["name"] for one in stored.status.get("containerStatuses", ()) if one["ready"]]
                self._readiness.restore(found.state.key, ready)
                statuses[stored.key] = self._status(found.state, stored)
            else:
                statuses[stored.key] = _pending(stored, "ContainerCreating", "")
        self._store.set_status(statuses)

    def start(self, check: Check) -> None:
        """Take up every pod of the store, and take away what belongs to none. ``check``: whether a plan would fit."""
        self._check = check
        self.runtime.get_ready()
        for stored in filter(self._is_ours, self._store.objects(POD)):
            self._begin(stored)
        for key in set(self._found) - set(self._lives):
            self._lives[key] = asyncio.get_running_loop().create_task(self._orphan(key))

    async def close(self) -> None:
        """Stop looking after pods; they live on."""
        for task in self._lives.values():
            task.cancel()
        await asyncio.gather(*self._lives.values(), return_exceptions=True)
        self._readiness.close()
        self.runtime.close()

    def on_changes(self, changes: Sequence[Change]) -> None:
        for change in changes:
            if change.key.kind != POD or change.new is None or not self._is_ours(change.new):
                continue
            key = change.key.namespaced
            if change.new.deleting and key in self._leaving:
                self._leaving[key].set()
            elif change.old is None:
                self._begin(change.new)

    def set_grace(self, key: NamespacedName, seconds: float) -> None:
        """For a pod that is being deleted: so long from SIGTERM to SIGKILL, instead of its own grace period. One that
        is ending already can only be given less time."""
        if key in self._ending:
            hurry = asyncio.get_running_loop().create_task(self.runtime.stop(key, seconds))
            self._hurries.add(hurry)
            hurry.add_done_callback(self._hurries.discard)
        elif key in self._leaving:
            self._grace[key] = seconds

    # ---- one pod -----------------------------------------------------------------------------------------------------

    def _begin(self, stored: Stored) -> None:
        key = stored.key.namespaced
        leaving = self._leaving[key] = asyncio.Event()
        if stored.deleting:
            leaving.set()
        self._lives[key] = asyncio.get_running_loop().create_task(self._life(stored, leaving))

    async def _life(self, stored: Stored, leaving: asyncio.Event) -> None:
        key = stored.key.namespaced
        try:
            while not leaving.is_set():
                try:
                    await self._run(stored)
                    await leaving.wait()
                except (PodError, AddressesExhausted, DatapathError, NotFound, StoreError, OSError) as error:
                    log.warning("pod %s: %s", key, error)
                    await self._take_back(stored, str(error))
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(leaving.wait(), RETRY_SECONDS)
            while not await self._ended(stored):
                await asyncio.sleep(RETRY_SECONDS)
        finally:
            self._ending.discard(key)
            self._grace.pop(key, None)
            if self._leaving.get(key) is leaving:
                del self._leaving[key], self._lives[key]

    async def _run(self, stored: Stored) -> None:
        """To a running pod, from wherever it is."""
        key, pod = stored.key.namespaced, stored.obj
        found = self._found.pop(key, None)
        state = found.found if found and found.state.uid == stored.uid else None
        if found and state in (None, Found.BROKEN):
            await self.runtime.remove(key)
        if state is Found.FINISHED:
            return
        if state in (None, Found.BROKEN):
            await self._prepare(stored, pod)
        if state is not Found.STARTED:
            await self.runtime.start(key)
        self._readiness.begin(key, pod, self.runtime.status(key).addresses)
        self.publish(key)

    async def _prepare(self, stored: Stored, pod: Pod) -> None:
        """Ready to start, and known to the kernel. Errors: also CapacityError when the kernel's maps have no room."""
        key = stored.key.namespaced
        prepared = await self.runtime.prepare(key, pod, stored.uid)
        self.local[key] = prepared.endpoint
        status = self._status(self.runtime.status(key), self._store.get(stored.key))
        self._store.set_status({stored.key: status}, self._check)

    async def _take_back(self, stored: Stored, problem: str) -> None:
        """What there is of a pod that did not start: out of the maps, then away, so that it can be tried again."""
        key = stored.key.namespaced
        self.local.pop(key, None)
        try:
            self._store.set_status({stored.key: _pending(stored, "FailedCreatePodSandBox", problem)})
            await self.runtime.remove(key)
        except (PodError, DatapathError, StoreError) as error:
            log.warning("pod %s is not taken back: %s", key, error)

    async def _ended(self, stored: Stored) -> bool:
        """False: something is in the way; every step may be repeated."""
        try:
            await self._end(stored)
        except (PodError, DatapathError, StoreError) as error:
            log.warning("pod %s does not go: %s", stored.key.namespaced, error)
            return False
        return True

    async def _end(self, stored: Stored) -> None:
        """The services have let it go when it was marked; now its process, its policy, its traces, in this order."""
        key = stored.key.namespaced
        self._readiness.end(key)
        self._ending.add(key)
        await self.runtime.stop(key, self._grace.get(key))
        self.local.pop(key, None)
        self._store.set_status({stored.key: _pending(stored, "Terminated", "")})
        await self.runtime.remove(key)
        with contextlib.suppress(NotFound):
            self._store.remove(stored.key)

    async def _orphan(self, key: NamespacedName) -> None:
        """Left by an earlier agent, and nobody wants it: deleted meanwhile, or its store is gone."""
        log.info("pod %s belongs to nothing that is stored: removed", key)
        await self.runtime.stop(key)
        await self.runtime.remove(key)
        del self._lives[key]

    # ---- status ------------------------------------------------------------------------------------------------------

    def publish(self, key: NamespacedName) -> None:
        """A container or a probe has changed: say so in the store."""
        stored_key = Key(POD, key.namespace, key.name)
        leaving = self._leaving.get(key)
        if leaving is None or key not in self.local:
            return
        try:
            stored = self._store.get(stored_key)
            self._store.set_status({stored_key: self._status(self.runtime.status(key), stored)})
        except (NotFound, PodError):
            return
        except StoreError as error:
            log.warning("the state of pod %s is not stored: %s", key, error)

    def _status(self, state: PodState, stored: Stored) -> Json:
        containers = [
            ContainerStatus(
                name=one.name,
                ready=one.state == "Running" and self._readiness.is_ready(state.key, one.name, stored.obj),
                restarts=one.restarts,
                started=one.started if one.state == "Running" else None,
                reason=one.reason,
                message=one.message,
                exit_code=one.exit_code if one.state == "Terminated" else None,
            )
            for one in state.containers
        ]
        return pod_status(state.phase, state.addresses, containers)

    # ---- questions ---------------------------------------------------------------------------------------------------

    def exec_argv(self, namespace: str, name: str) -> list[str]:
        """Errors: PodError."""
        return self.runtime.exec_argv(NamespacedName(namespace, name))

    def logs(self, namespace: str, name: str, follow: bool, tail: int | None) -> AsyncIterator[bytes]:
        """Errors: PodError."""
        return self.runtime.logs(NamespacedName(namespace, name), follow, tail)


def _pending(stored: Stored, reason: str, message: str) -> Json:
    containers = stored.obj.spec.containers
    return pod_status("Pending", (), [ContainerStatus(one.name, reason=reason, message=message) for one in containers])
