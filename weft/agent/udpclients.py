"""UDP clients of backends that leave their service: told when that happens (weft.datapath.stranded)."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from pathlib import Path

from weft.datapath.errors import DatapathError
from weft.datapath.kernel import Datapath
from weft.datapath.stranded import disconnect, is_stranded
from weft.model.desired import Desired, ServiceEntry
from weft.model.net import UDP
from weft.model.world import World
from weft.plan import Compiled
from weft.plan.diff import changes

log = logging.getLogger("weft.agent")


class UdpClients:
    """An engine's listener."""

    def __init__(self, datapath: Datapath, namespaces: Callable[[], Iterable[Path]]) -> None:
        """``namespaces``: the pods' network namespaces, as files."""
        self._datapath, self._namespaces = datapath, namespaces
        self._before: Desired | None = None
        """None: an agent that died may have left some undone."""

    def __call__(self, world: World, compiled: Compiled) -> None:
        before, self._before = self._before, compiled.desired
        if before is not None and not _loses_backends(before, compiled.desired):
            return
        try:
            count = disconnect(self._datapath, self._namespaces(), lambda one: is_stranded(compiled.desired, one))
        except DatapathError as error:
            log.warning("UDP clients whose backend is gone keep their sockets: %s", error)
            return
        if count:
            log.info("%d connected UDP sockets were closed: their backend serves no longer", count)


def _loses_backends(before: Desired, after: Desired) -> bool:
    """Whether some UDP port of a service had a backend that it has no more."""

    def backends(desired: Desired, entry: ServiceEntry | None) -> set[object]:
        return set(desired.backends[entry.backends]) if entry and entry.backend_count else set()

    gone = changes(before.services, after.services).gone
    return any(
        backends(before, entry) - backends(after, after.services.get(key))
        for key, entry in gone.items()
        if key.protocol == UDP
    )
