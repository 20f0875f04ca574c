"""What the agent costs."""

from __future__ import annotations

from pathlib import Path


def usage() -> dict[str, int]:
    """Bytes of this process, from /proc/self/smaps_rollup: resident, and anonymous (which no file backs)."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kilobytes = {name.rstrip(":"): int(value) for name, value, *_ in map(str.split, lines)}
    return {"rssBytes": kilobytes["Rss"] * 1024, "anonymousBytes": kilobytes["Anonymous"] * 1024}
