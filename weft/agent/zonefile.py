"""The zone file that the DNS pod reads: follows the world, a moment behind, and only when names could have changed."""

from __future__ import annotations

import asyncio

from weft.datapath.node import NodePaths
from weft.model.world import World
from weft.plan import Compiled
from weft.runtime.dns.system import ZONE
from weft.runtime.dns.zone import ZoneBuilder
from weft.runtime.folder import write_whole

DELAY_SECONDS = 0.02
"""Changes within this time are one change: a hundred new pods write the file a few times, not a hundred."""


class ZoneFile:
    """An engine's listener."""

    def __init__(self, paths: NodePaths) -> None:
        self.directory = paths.run_dir / "dns"
        self.directory.mkdir(mode=0o755, exist_ok=True)
        self._builder, self._written = ZoneBuilder(), b""
        self._world: World | None = None
        self._later: asyncio.TimerHandle | None = None

    def __call__(self, world: World, compiled: Compiled) -> None:
        before, self._world = self._world, world
        if before is None:
            self._write()
        elif self._later is None and _names(world) != _names(before):
            self._later = asyncio.get_running_loop().call_later(DELAY_SECONDS, self._write)

    def close(self) -> None:
        if self._later:
            self._later.cancel()

    def _write(self) -> None:
        self._later = None
        assert self._world is not None
        text = self._builder.build(self._world)
        if text != self._written:
            write_whole(self.directory / ZONE, text)
            self._written = text


def _names(world: World) -> tuple[int, ...]:
    """Mappings of a world are replaced, never edited: the same object is the same content."""
    return tuple(map(id, (world.services, world.workloads, world.slices, world.namespaces, world.node)))
