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
    """A document in a file. ``lines`` maps field paths to 1-based lines; a missing path takes its parent's line.

    An object that was never a file here (``of_object``) has a name in place of the file, and line 0 for every field.
    """

    file: str
    lines: Mapping[FieldPath, int] = field(default_factory=dict, hash=False)

    @classmethod
    def of_object(cls, kind: str, name: str) -> Origin:
        """``name``: with its namespace."""
        return cls(f"{kind} {name}", {(): 0})

    def line(self, path: FieldPath = ()) -> int:
        while path not in self.lines:
            if not path:
                return 1
            path = path[:-1]
        return self.lines[path]

    def at(self, path: FieldPath = ()) -> str:
        """``shop.yaml:12``, or ``CiliumNetworkPolicy default/api: spec.ingress[0]``."""
        if number := self.line(path):
            return f"{self.file}:{number}"
        return self.place(path)

    def place(self, path: FieldPath) -> str:
        """``shop.yaml:12: spec.ingress[0]``, or as ``at``."""
        number = self.line(path)
        where = f"{self.file}:{number}" if number else self.file
        return f"{where}: {spell(path)}" if path else where


NOWHERE = Origin("<built in>")


class ManifestError(ValueError):
    """A refused manifest: names file, line, field, what was expected, and the nearest known name if any."""

    def __init__(self, origin: Origin, path: FieldPath, problem: str, remedy: str = "") -> None:
        self.origin, self.path, self.problem, self.remedy = origin, path, problem, remedy
        super().__init__(f"{origin.place(path)}: {problem}" + (f"; {remedy}" if remedy else ""))
