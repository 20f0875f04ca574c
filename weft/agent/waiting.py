"""Waiting for the store to say something."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from weft.sources.objects import Change
from weft.sources.store import Store


class Waiting:
    """A subscriber of the store that wakes whoever waits for a condition over it."""

    def __init__(self, store: Store) -> None:
        self._changed = asyncio.Event()
        self.close = store.subscribe(self._on_changes)

    def _on_changes(self, changes: Sequence[Change]) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, holds: Callable[[], bool], seconds: float) -> bool:
        """Whether ``holds`` came true within that time."""
        try:
            async with asyncio.timeout(seconds):
                while not holds():
                    await self._changed.wait()
        except TimeoutError:
            return holds()
        return True
