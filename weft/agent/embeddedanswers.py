"""The API of an embedded node: ``Answers``, and changing its store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from weft.agent import conditions
from weft.agent.agent import KERNEL
from weft.agent.answers import Answers, kind_of, read
from weft.agent.embedded import EmbeddedAgent
from weft.api.server import Refusal
from weft.datapath.errors import CapacityError
from weft.model.origin import ManifestError, Origin
from weft.model.world import World
from weft.proxy.spawn import ProxyError
from weft.runtime.errors import PodError
from weft.sources import table
from weft.sources.decode import decode
from weft.sources.errors import Forbidden, ManifestErrors, NotFound, StoreError
from weft.sources.objects import Change, Document, Key, Resource
from weft.sources.registry import KINDS, POD
from weft.sources.store import Applied, Guard
from weft.sources.world import updated

Json = Any
_COMMAND_LINE = Origin("<command line>")
DELETE_SECONDS = 60.0
"""How long ``delete`` waits for pods to stop; it goes on without waiting after that."""


class EmbeddedAnswers(Answers):
    """weft.api.server.Backend."""

    def __init__(self, agent: EmbeddedAgent) -> None:
        super().__init__(agent)
        self._agent: EmbeddedAgent = agent

    async def apply(self, sources: list[dict[str, str]], dry_run: bool) -> Json:
        resources, notices = read(sources)
        applied = self._apply(resources, dry_run)
        results = [{"object": table.reference(one.stored), "outcome": one.action.value} for one in applied]
        return {"results": results, "warnings": [str(notice) for notice in notices]}

    async def run(self, pod: Json) -> Json:
        resource, _ = decode(Document(_COMMAND_LINE, pod))
        if self._agent.store.has(resource.key):
            raise Refusal(f'pods "{resource.name}" already exists', status=409)
        self._apply([resource], dry_run=False)
        return {}

    def _apply(self, resources: Sequence[Resource], dry_run: bool) -> list[Applied]:
        """All or nothing: also nothing when the plan would not fit into the kernel's maps."""
        return self._store_apply(resources, dry_run, lambda changes: self._agent.check(changes, dry_run))

    def _store_apply(self, resources: Sequence[Resource], dry_run: bool, guard: Guard) -> list[Applied]:
        try:
            applied = self._agent.store.apply(resources, dry_run, guard)
        except ManifestErrors as error:
            raise Refusal(*map(str, error.errors)) from None
        except ManifestError as error:
            raise Refusal(str(error)) from None
        except ProxyError as error:
            raise Refusal(f"nothing was applied: {error}", status=503) from None
        except CapacityError as error:
            raise Refusal(f"nothing was applied: {error}", status=507) from None
        except StoreError as error:
            raise Refusal(f"nothing was applied: {error}", status=500) from None
        if not dry_run and (problem := self._agent.problems.get(KERNEL)):
            raise Refusal(f"stored, but {problem}; it is tried again until it is in force", status=500)
        return applied

    async def delete(self, body: Json) -> list[str]:
        if body["sources"]:
            keys = [resource.key for resource in read(body["sources"])[0]]
        else:
            info = kind_of(body["kind"])
            keys = [Key(info.kind, body["namespace"] if info.namespaced else "", name) for name in body["names"]]
        store = self._agent.store
        if body.get("ignoreNotFound"):
            keys = list(filter(store.has, keys))
        try:
            store.delete(keys)
        except NotFound as error:
            raise Refusal(str(error), status=404) from None
        except (Forbidden, StoreError) as error:
            raise Refusal(str(error)) from None
        grace = body.get("gracePeriodSeconds", -1)
        for key in keys if grace >= 0 else ():
            if key.kind == POD:
                self._agent.pods.set_grace(key.namespaced, grace)
        await self._agent.waiting.until(lambda: not any(map(store.has, keys)), max(DELETE_SECONDS, grace + 10))
        return [f'{KINDS[key.kind].resource} "{key.name}"' for key in keys]

    async def wait(self, pods: list[dict[str, str]], namespace: str, condition: str, timeout: float) -> None:
        wanted = conditions.parse(pods, namespace, condition)
        store = self._agent.store
        await self._agent.waiting.until(lambda: not wanted.missing(store) or wanted.hopeless(store), timeout)
        if missing := wanted.missing(store):
            raise Refusal(*missing, status=504)

    async def exec_argv(self, namespace: str, name: str) -> list[str]:
        try:
            return self._agent.pods.exec_argv(namespace, name)
        except PodError as error:
            raise Refusal(str(error), status=404) from None

    def logs(self, namespace: str, name: str, follow: bool, tail: int | None) -> AsyncIterator[bytes]:
        try:
            return self._agent.pods.logs(namespace, name, follow, tail)
        except PodError as error:
            raise Refusal(str(error), status=404) from None

    def _with(self, resources: Sequence[Resource]) -> World:
        changes: list[Change] = []
        self._store_apply(resources, True, changes.extend)
        return updated(self._agent.engine.world, changes, self._agent.pods.local)
