"""A place in a manifest, for errors that name file, line, field, what was expected and the nearest known name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NamedTuple

from weft.model.origin import FieldPath, ManifestError, Origin


class Spot(NamedTuple):
    origin: Origin
    path: FieldPath = ()

    def at(self, *parts: str | int) -> Spot:
        """A field below this one."""
        return Spot(self.origin, self.path + parts)

    def error(self, problem: str, remedy: str = "") -> ManifestError:
        return ManifestError(self.origin, self.path, problem, remedy)

    def unknown(self, what: str, value: str, known: Iterable[str]) -> ManifestError:
        """``unknown entity "wolrd"; did you mean "world"? (one of all, cluster, ...)``"""
        names = list(known)
        near = nearest(value, names)
        hint = f'did you mean "{near}"? ' if near else ""
        return self.error(f'unknown {what} "{value}"', f"{hint}one of {', '.join(names)}")


def nearest(value: str, known: Iterable[str]) -> str:
    """The known name that looks most like ``value``, whatever its case; empty if none does."""
    folded = {name.lower(): name for name in known}
    found = difflib.get_close_matches(value.lower(), folded, 1, 0.6)
    return folded[found[0]] if found else ""
