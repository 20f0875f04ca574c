"""The way back: records of the kernel into the flow store, in bulk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from weft.datapath.events import EventReader
from weft.datapath.kernel import Datapath
from weft.flows.store import FlowStore

PAUSE_SECONDS = 0.02
"""Records are taken in at most this often: a flood costs few wake-ups, and a reader still sees them at once."""


def take_in(datapath: Datapath, store: FlowStore) -> Callable[[], None]:
    """Starts taking records in on the running loop; returns what ends it."""
    reader = EventReader(datapath.maps["events"])
    loop = asyncio.get_running_loop()
    pause: asyncio.TimerHandle | None = None

    def readable() -> None:
        nonlocal pause
        store.append(reader.read())
        loop.remove_reader(reader.fileno())
        pause = loop.call_later(PAUSE_SECONDS, listen)

    def listen() -> None:
        loop.add_reader(reader.fileno(), readable)

    def end() -> None:
        if pause:
            pause.cancel()
        loop.remove_reader(reader.fileno())
        reader.close()

    listen()
    return end
