"""The numbers that must mean the same to the next agent, because Envoy and the kernel go on using them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from weft.plan import Numbering
from weft.plan.numbering import SpaceName, memorable
from weft.sources.errors import StoreError

log = logging.getLogger("weft.agent")


class NumberFile:
    """Written before a number is used for the first time; replaced whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: dict[str, dict[str, int]] = {}
        self._seen: dict[SpaceName, tuple[Mapping[bytes, int], dict[str, int]]] = {}
        """The numbers of each space, and what of them is worth a line: there are thousands, and few changes touch
        them."""

    def read(self) -> Numbering:
        """Without the file, or with one that nobody can read, all numbers are computed anew."""
        try:
            self._kept = json.loads(self._path.read_text())
            return Numbering.from_json(self._kept)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, AttributeError) as error:
            log.warning("%s: %s; numbers are computed anew", self._path, error)
        self._kept = {}
        return Numbering()

    def keep(self, numbering: Numbering) -> None:
        """Errors: StoreError; then the next call tries again."""
        for name, numbers in numbering.spaces.items():
            if name not in self._seen or self._seen[name][0] is not numbers:
                self._seen[name] = numbers, memorable(name, numbers)
        wanted: dict[str, dict[str, int]] = {name: lines for name, (_, lines) in self._seen.items() if lines}
        if wanted != self._kept:
            unfinished = self._path.with_suffix(".new")
            try:
                unfinished.write_text(json.dumps(wanted))
                unfinished.rename(self._path)
            except OSError as error:
                raise StoreError(f"{self._path}: {error.strerror}; make room there") from error
            self._kept = wanted
