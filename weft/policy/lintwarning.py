"""A lint warning: valid, and probably not what its author meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from weft.model.origin import FieldPath, Origin, spell


@dataclass(frozen=True, slots=True)
class LintWarning:
    """What is odd, where, and what to write instead."""

    code: str
    """Short and stable, ``egress-without-dns``."""
    origin: Origin
    path: FieldPath
    text: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.origin.place(self.path)}: {self.text}; {self.remedy} [{self.code}]"

    def to_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "file": self.origin.file,
            "line": self.origin.line(self.path),
            "field": spell(self.path),
            "message": self.text,
            "remedy": self.remedy,
            "text": str(self),
        }
