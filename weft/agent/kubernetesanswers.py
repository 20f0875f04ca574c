"""The API of a Kubernetes node: what changes objects or pods is kubectl's."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

from weft.agent.answers import Answers
from weft.agent.kubernetes import KubernetesAgent
from weft.api.server import Refusal
from weft.model.origin import ManifestError
from weft.model.world import World
from weft.sources.errors import ManifestErrors
from weft.sources.objects import Change, Resource, Stored
from weft.sources.registry import DEPLOYMENT, POD, POLICIES, REFERENCE_GRANT, ROUTES, find
from weft.sources.world import updated

Json = Any


class KubernetesAnswers(Answers):
    """weft.api.server.Backend."""

    def __init__(self, agent: KubernetesAgent) -> None:
        super().__init__(agent)
        self._agent: KubernetesAgent = agent

    async def get(self, kind: str, name: str, namespace: str | None, output: str) -> str:
        with contextlib.suppress(LookupError):
            if find(kind).kind not in (*POLICIES, *ROUTES, REFERENCE_GRANT):
                _refuse(f"get {kind}")
        return await super().get(kind, name, namespace, output)

    async def apply(self, sources: list[dict[str, str]], dry_run: bool) -> Json:
        _refuse("apply")

    async def run(self, pod: Json) -> Json:
        _refuse("run")

    async def delete(self, body: Json) -> list[str]:
        _refuse("delete")

    async def wait(self, pods: list[dict[str, str]], namespace: str, condition: str, timeout: float) -> None:
        _refuse("wait")

    async def exec_argv(self, namespace: str, name: str) -> list[str]:
        _refuse("exec")

    def logs(self, namespace: str, name: str, follow: bool, tail: int | None) -> AsyncIterator[bytes]:
        _refuse("logs")

    def _with(self, resources: Sequence[Resource]) -> World:
        now = datetime.now(UTC)
        changes = [
            Change(one.key, None, Stored(one, "", 1, 0, now)) for one in resources if one.kind not in (POD, DEPLOYMENT)
        ]
        try:
            return updated(self._agent.engine.world, changes, {})
        except ManifestErrors as error:
            raise Refusal(*map(str, error.errors)) from None
        except ManifestError as error:
            raise Refusal(str(error)) from None


def _refuse(verb: str) -> NoReturn:
    raise Refusal(f"this node's objects are Kubernetes': use `kubectl {verb}`", status=405)
