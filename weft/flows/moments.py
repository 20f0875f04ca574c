"""``--since`` and ``--until`` as Hubble reads them (hubble/pkg/time): a duration ago, or a moment."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_TERM = r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)"
_DURATION = re.compile(rf"([-+]?)((?:{_TERM})+)")
_MOMENT = re.compile(
    r"(?P<date>\d{4}-\d\d-\d\d)"
    r"(?:T(?P<hour>\d\d)(?::(?P<minute>\d\d)(?::(?P<second>\d\d)(?:\.(?P<fraction>\d{1,9}))?)?)?(?P<zone>Z|[-+]\d\d:\d\d))?"
)


def parse_duration(text: str) -> int:
    """Go's duration (``1h30m``, ``500ms``, ``1.5s``) in nanoseconds. Errors: ValueError."""
    found = _DURATION.fullmatch(text)
    if text.strip("+-") == "0":
        return 0
    if not found:
        raise ValueError(f"{text!r} is no duration; expected something like 30s, 5m or 1h30m")
    total = sum(round(float(number) * _UNITS[unit]) for number, unit in re.findall(_TERM, found[2]))
    return -total if found[1] == "-" else total


def parse_moment(text: str) -> int:
    """A moment in nanoseconds since 1970. Accepts ``2006-01-02``, the same with ``T15Z``, ``T15:04Z``, ``T15:04:05Z``
    and a fraction, numeric zones, and RFC 1123. Errors: ValueError."""
    found = _MOMENT.fullmatch(text)
    try:
        if not found:
            return int(parsedate_to_datetime(text).timestamp()) * 10**9
        clock = f"{found['hour'] or '00'}:{found['minute'] or '00'}:{found['second'] or '00'}"
        moment = datetime.fromisoformat(f"{found['date']}T{clock}{found['zone'] or 'Z'}")
    except (ValueError, TypeError):
        raise ValueError(f"{text!r} is no moment; expected RFC 3339, such as 2006-01-02T15:04:05Z") from None
    return int(moment.astimezone(UTC).timestamp()) * 10**9 + int((found["fraction"] or "0").ljust(9, "0"))


def moment_or_ago(text: str, now_ns: int) -> int:
    """A duration counts back from ``now_ns``; everything else is a moment. Nanoseconds since 1970."""
    try:
        return now_ns - parse_duration(text)
    except ValueError:
        pass
    try:
        return parse_moment(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is neither a duration (30s, 5m, 1h30m) nor a moment (2006-01-02T15:04:05Z)"
        ) from None
