"""Waiting for a condition, with a bound; never for a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

SLOWNESS = 12.0 if "WEFT_GUEST" in os.environ else 1.0
"""How much slower than the host this machine is: bounds are multiplied by it (guests emulate their CPU)."""


class NotInTime(AssertionError):
    """A condition did not come true within its bound."""


def until(holds: Callable[[], T], what: str, seconds: float = 10) -> T:
    """The first true value of ``holds()``, asked every 10 ms. Raises NotInTime, naming ``what``, after ``seconds``."""
    deadline = time.monotonic() + seconds * SLOWNESS
    while not (value := holds()):
        if time.monotonic() > deadline:
            raise NotInTime(f"not within {seconds * SLOWNESS:.0f} s: {what}")
        time.sleep(0.01)
    return value
