"""Waiting for a condition, with a bound; never for a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SLOWNESS = float(os.environ.get("WEFT_TEST_SLOWNESS", "1"))
"""How much slower than a plain machine this one is: bounds are multiplied by it (guests emulate their CPU)."""
VOLUME = float(os.environ.get("WEFT_TEST_VOLUME", "1"))
"""Which part of their volume the tests do that are long by volume (floods, random cases); a guest does a tenth."""


class NotInTime(AssertionError):
    """A condition did not come true within its bound."""


def volume(full: int) -> int:
    """How many cases or packets to do on this machine, of ``full`` on a plain one."""
    return max(1, int(full * VOLUME))


def until(holds: Callable[[], T], what: str, seconds: float = 10) -> T:
    """The first true value of ``holds()``, asked every 10 ms. Raises NotInTime, naming ``what``, after ``seconds``."""
    deadline = time.monotonic() + seconds * SLOWNESS
    while not (value := holds()):
        if time.monotonic() > deadline:
            raise NotInTime(f"not within {seconds * SLOWNESS:.0f} s: {what}")
        time.sleep(0.01)
    return value
