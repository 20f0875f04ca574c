"""GEP-2257 durations: a strict subset of Go's time.ParseDuration."""

from __future__ import annotations

import re

_FORM = re.compile(r"([0-9]{1,5}(h|m|s|ms)){1,4}")
_PART = re.compile(r"([0-9]{1,5})(ms|h|m|s)")
_MILLISECONDS = {"h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}


def milliseconds(text: str) -> int | None:
    """``1m30s`` → 90000; None if it is not one."""
    if not _FORM.fullmatch(text):
        return None
    return sum(int(number) * _MILLISECONDS[unit] for number, unit in _PART.findall(text))
