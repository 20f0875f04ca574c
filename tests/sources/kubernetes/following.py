"""A KubernetesSource at work in a thread of its own, and the world that its edits make."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from cluster.processes import until
from weft.model.objects import LocalPod, NamespacedName, NodeConfig
from weft.model.world import World
from weft.sources.kubernetes.api import Api
from weft.sources.kubernetes.lease import Leadership
from weft.sources.kubernetes.source import KubernetesSource
from weft.sources.world import Edit, edited

T = TypeVar("T")


class Following:
    """``with Following(kubeconfig, "node-1") as source``: synced, and running. ``batches``: what on_edits was given."""

    def __init__(self, kubeconfig: Path, node: str, port: int = 0, lease: tuple[float, float] = (15.0, 0.5)) -> None:
        self._kubeconfig, self._node, self._port, self._lease = kubeconfig, node, port, lease
        self.world = World(NodeConfig(node))
        self.batches: list[Sequence[Edit]] = []
        self.local: dict[NamespacedName, LocalPod] = {}
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.call(self._start(), 180)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self, release: bool = True) -> None:
        if self.loop.is_closed():
            return
        self.call(self._stop(release), 60)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()

    def call(self, work: Coroutine[Any, Any, T], seconds: float = 60) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)

    def run(self, what: Callable[[], T]) -> T:
        """In the source's own thread."""

        async def now() -> T:
            return what()

        return self.call(now())

    def until(self, holds: Callable[[World], T], what: str, seconds: float = 60) -> T:
        """The first true value of ``holds(world)``; a KeyError counts as not yet."""

        def attempt() -> T | None:
            try:
                return holds(self.world)
            except KeyError:
                return None

        if self._task.done():
            self._task.result()
        return until(attempt, what, seconds)  # type: ignore[return-value]

    def _on_edits(self, edits: Sequence[Edit]) -> None:
        self.batches.append(edits)
        self.world = edited(self.world, edits)

    async def _start(self) -> None:
        address = ("127.0.0.1", self._port) if self._port else ("", 0)
        self.api = Api.from_kubeconfig(self._kubeconfig, *address)
        leadership = Leadership(self.api, self._node, *self._lease)
        self.source = KubernetesSource(
            self.api, self._node, "default", self.local.get, self._on_edits, leadership=leadership
        )
        await self.source.sync()
        self._task = asyncio.create_task(self.source.run())

    async def _stop(self, release: bool) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if release:
            await self.source.release()
        await self.api.close()
