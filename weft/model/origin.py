"""Where a value came from: the manifest's file and the line of each of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

FieldPath = tuple[str | int, ...]
"""``("spec", "ingress", 0, "fromEndpoints")``"""


def spell(path: FieldPath) -> str:
    """``spec.ingress[0].fromEndpoints``, the way Kubernetes spells a field."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else (f".{part}" if text else part)
    return text


@dataclass(frozen=True, slots=True)
class Origin:
    """A document in a file. ``lines`` maps field paths to 1-based lines; a missing path takes its parent's line."""

    file: str
    lines: Mapping[FieldPath, int] = field(default_factory=dict, hash=False)

    def line(self, path: FieldPath = ()) -> int:
        while path not in self.lines:
            if not path:
                return 1
            path = path[:-1]
        return self.lines[path]

    def at(self, path: FieldPath = ()) -> str:
        return f"{self.file}:{self.line(path)}"


NOWHERE = Origin("<built in>")


class ManifestError(ValueError):
    """A refused manifest: names file, line, field, what was expected, and the nearest known name if any."""

    def __init__(self, origin: Origin, path: FieldPath, problem: str, remedy: str = "") -> None:
        self.origin, self.path, self.problem, self.remedy = origin, path, problem, remedy
        where = origin.at(path) + (f": {spell(path)}" if path else "")
        super().__init__(f"{where}: {problem}" + (f"; {remedy}" if remedy else ""))
