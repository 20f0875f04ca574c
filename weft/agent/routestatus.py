"""What became of routes, written to their status after each plan that is in force."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Protocol

from weft.model.route import RouteRef
from weft.model.world import World
from weft.plan import Compiled
from weft.routes.book import RouteOutcome
from weft.sources.errors import StoreError
from weft.sources.objects import Json, Key, Stored
from weft.sources.routestatus import route_status

log = logging.getLogger("weft.routes")


class Objects(Protocol):
    """A source of objects, as far as it matters here."""

    def get(self, key: Key) -> Stored: ...
    def has(self, key: Key) -> bool: ...
    def set_status(self, statuses: Mapping[Key, Json]) -> None: ...


class RouteStatus:
    """A listener of the engine."""

    def __init__(self, store: Objects) -> None:
        self._store = store
        self._outcomes: Mapping[RouteRef, RouteOutcome] = {}

    def __call__(self, world: World, compiled: Compiled) -> None:
        if compiled.outcomes is not self._outcomes:
            self._write(compiled.outcomes)

    def _write(self, outcomes: Mapping[RouteRef, RouteOutcome]) -> None:
        now = datetime.now(UTC)
        statuses = {
            Key(*ref): route_status(self._store.get(Key(*ref)), outcome, now)
            for ref, outcome in outcomes.items()
            if outcome is not self._outcomes.get(ref) and self._store.has(Key(*ref))
        }
        try:
            self._store.set_status(statuses)
        except StoreError as error:
            log.warning("the status of routes is not up to date: %s", error)
        else:
            self._outcomes = outcomes
