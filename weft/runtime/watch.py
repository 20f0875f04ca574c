"""Tells when a container's status file is replaced, and when its supervisor ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from weft.model.objects import NamespacedName
from weft.runtime import shim
from weft.runtime.inotify import Inotify

_PATIENCE = 5.0


@dataclass(slots=True)
class _Watched:
    key: NamespacedName
    pidfd: int | None
    over: asyncio.Event = field(default_factory=asyncio.Event)


class Watcher:
    """Needs a running loop. ``changed`` is called with the key that was given with the directory."""

    def __init__(self, changed: Callable[[NamespacedName], None]) -> None:
        self._changed = changed
        self._watched: dict[Path, _Watched] = {}
        self._loop = asyncio.get_running_loop()
        self._inotify = Inotify()
        self._loop.add_reader(self._inotify.fd, self._read)

    def watch(self, directory: Path, key: NamespacedName) -> None:
        """From now on. A supervisor that is dead already has ended."""
        self.forget(directory)
        self._inotify.watch(directory)
        one = self._watched[directory] = _Watched(key, shim.pidfd(directory))
        if one.pidfd is None:
            one.over.set()
        else:
            self._loop.add_reader(one.pidfd, self._ended, directory)

    def forget(self, directory: Path) -> None:
        if one := self._watched.pop(directory, None):
            self._close(one)

    async def ended(self, directory: Path) -> None:
        """Returns when the supervisor has ended, or is not watched (any more)."""
        if one := self._watched.get(directory):
            await one.over.wait()

    async def settled(self, directory: Path) -> None:
        """Returns when nobody is about to start a supervisor: it has written its status, or there is none.

        A launcher that outlives the agent takes milliseconds; one that hangs is left to ``remove``.
        """
        deadline = self._loop.time() + _PATIENCE
        while shim.read_status(directory) is None and shim.is_alive(directory) and self._loop.time() < deadline:
            await asyncio.sleep(0.005)

    def close(self) -> None:
        for directory in tuple(self._watched):
            self.forget(directory)
        self._loop.remove_reader(self._inotify.fd)
        self._inotify.close()

    def _read(self) -> None:
        paths = list(self._inotify.read())
        if None in paths:
            keys = {one.key for one in self._watched.values()}
        else:
            keys = {self._watched[path.parent].key for path in paths if path and path.parent in self._watched}
        for key in sorted(keys):
            self._changed(key)

    def _ended(self, directory: Path) -> None:
        one = self._watched[directory]
        self._close(one)
        self._changed(one.key)

    def _close(self, one: _Watched) -> None:
        if one.pidfd is not None:
            self._loop.remove_reader(one.pidfd)
            os.close(one.pidfd)
            one.pidfd = None
        one.over.set()
