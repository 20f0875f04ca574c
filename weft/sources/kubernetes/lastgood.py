"""What is in force although the API server has a newer version that weft refuses: kept for the next agent of the node,
which would otherwise open what a policy closes because somebody misspelt a field of it.
"""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec

from weft.sources.objects import Json, Key

log = logging.getLogger("weft.kubernetes")


class Entry(msgspec.Struct, frozen=True):
    key: tuple[str, str, str]
    uid: str
    raw: Json


_DECODER = msgspec.json.Decoder(list[Entry])


class LastGood:
    """``path``: replaced whole, and absent while nothing is refused. None: kept nowhere."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._entries: dict[Key, Entry] = {}
        try:
            if path is not None:
                self._entries = {Key(*one.key): one for one in _DECODER.decode(path.read_bytes())}
        except FileNotFoundError:
            pass
        except (OSError, msgspec.DecodeError) as error:
            log.error("%s: %s; of refused objects no earlier version is in force", path, error)

    def get(self, key: Key, uid: str) -> Json | None:
        found = self._entries.get(key)
        return found.raw if found is not None and found.uid == uid else None

    def keep(self, key: Key, uid: str, raw: Json) -> None:
        entry = Entry((key.kind, key.namespace, key.name), uid, raw)
        if self._entries.get(key) != entry:
            self._entries[key] = entry
            self._write()

    def drop(self, key: Key) -> None:
        if self._entries.pop(key, None) is not None:
            self._write()

    def _write(self) -> None:
        """Not written is not in force after a restart, and no more than that."""
        if self._path is None:
            return
        try:
            if not self._entries:
                self._path.unlink(missing_ok=True)
                return
            unfinished = self._path.with_suffix(".new")
            unfinished.write_bytes(msgspec.json.encode(list(self._entries.values())))
            unfinished.rename(self._path)
        except OSError as error:
            log.error("%s: %s; make room there", self._path, error.strerror)
