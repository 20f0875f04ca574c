"""Many pods that come at once are one change of the plan."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from weft.model.objects import NamespacedName

Commit = Callable[[Sequence[NamespacedName]], Mapping[NamespacedName, Exception]]


class Batch:
    """Use from one event loop. Nobody waits for others to come: while one batch is committed the next one gathers."""

    def __init__(self, commit: Commit) -> None:
        """``commit``: given each name once; returns those that failed, with the error."""
        self._commit = commit
        self._waiting: dict[NamespacedName, list[asyncio.Future[None]]] = {}

    async def put(self, key: NamespacedName) -> None:
        """Returns when a commit that began after this call has ended. Errors: what ``commit`` said of ``key``."""
        loop = asyncio.get_running_loop()
        if not self._waiting:
            loop.call_soon(self._run)
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.setdefault(key, []).append(done)
        await done

    def _run(self) -> None:
        waiting, self._waiting = self._waiting, {}
        try:
            failed = self._commit(list(waiting))
        except Exception as error:
            failed = dict.fromkeys(waiting, error)
        for key, futures in waiting.items():
            for done in futures:
                if done.cancelled():
                    continue
                if key in failed:
                    done.set_exception(failed[key])
                else:
                    done.set_result(None)
