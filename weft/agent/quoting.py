"""Lines of the manifests that explanations speak of, as they stood in their files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import dedent
from typing import Any

import yaml

from weft.model.origin import FieldPath, Origin
from weft.policy.render import Quote
from weft.sources.objects import Stored

MOST = 4
"""Lines of one quotation; of a longer passage the last says that there is more."""


def quoting(policies: Callable[[], Sequence[Stored]]) -> Quote:
    """``policies``: what is stored. What is in force may be older (the kernel had no room, say): then it has another
    origin, and nothing is quoted rather than lines that nobody obeys."""

    def quote(origin: Origin, path: FieldPath) -> Sequence[tuple[int, str]]:
        for stored in policies():
            if stored.resource.origin == origin:
                return passage(stored, path)
        return ()

    return quote


def passage(stored: Stored, path: FieldPath) -> list[tuple[int, str]]:
    """(line number, text) of what is written at ``path``: from its first line to where its last field begins."""
    origin, excerpt = stored.resource.origin, stored.resource.excerpt
    first = origin.line(path)
    if not first:
        return _written(stored.resource.raw, path)
    last = max((line for other, line in origin.lines.items() if other[: len(path)] == path), default=first)
    numbers = range(first, min(last, first + MOST - 1) + 1)
    texts = [excerpt.text(number) for number in numbers]
    if not any(texts):
        return []
    whole = dedent("\n".join(texts)).split("\n")
    if last > numbers[-1]:
        whole[-1] = "..."
    return list(zip(numbers, whole, strict=True))


def _written(raw: Any, path: FieldPath) -> list[tuple[int, str]]:
    """The same of an object that was never a file here, as it would be written; it has no line numbers (0)."""
    value = raw
    for part in path:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return []
    whole = yaml.safe_dump({path[-1]: value} if path and isinstance(path[-1], str) else value, sort_keys=False)
    lines = whole.rstrip().split("\n")
    return [(0, line) for line in ([*lines[: MOST - 1], "..."] if len(lines) > MOST else lines)]
