"""What is wrong with objects of the API server, for as long as it is: it becomes Events on them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from weft.sources.kubernetes.resources import Reference
from weft.sources.objects import Key

log = logging.getLogger("weft.kubernetes")


@dataclass(frozen=True, slots=True)
class Complaint:
    object: Reference
    message: str
    """Names the field."""
    reason: str = "Refused"
    delay: float = 0
    """Seconds for which it may well settle by itself."""
    warning: bool = True


class Complaints:
    """One at most for each object. ``on_new``: told of each that was not there before."""

    def __init__(self) -> None:
        self._open: dict[Key, Complaint] = {}
        self.on_new: Callable[[Complaint], None] = lambda complaint: None

    def raise_(self, complaint: Complaint) -> None:
        key = complaint.object.key
        if self._open.get(key) == complaint:
            return
        self._open[key] = complaint
        if not complaint.delay:
            log.warning("%s %s: %s", key.kind, key.namespaced, complaint.message)
        self.on_new(complaint)

    def settle(self, key: Key) -> None:
        self._open.pop(key, None)

    def is_open(self, complaint: Complaint) -> bool:
        return self._open.get(complaint.object.key) == complaint

    def all(self) -> list[Complaint]:
        return list(self._open.values())
