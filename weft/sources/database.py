"""The store's file: SQLite in WAL mode, one writer, every transaction whole or not at all.

Tables: ``objects`` (what ``Stored`` holds) and ``state`` (the revision). Nothing here knows what the objects mean.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from weft.model.origin import Origin
from weft.sources.errors import StoreError
from weft.sources.objects import Excerpt, Json, Key, Stored

LAYOUT = 1
"""Of the tables; a file with another one is refused."""
_APPLICATION = 0x77656674  # "weft"
_BUSY_SECONDS = 2.0
_PATIENCE = 20.0
"""For the others that share the file."""
_SCHEMA = """
CREATE TABLE state (id INTEGER PRIMARY KEY CHECK (id = 0), revision INTEGER NOT NULL);
INSERT INTO state VALUES (0, 0);
CREATE TABLE objects (
    kind TEXT, namespace TEXT, name TEXT, uid TEXT NOT NULL, generation INTEGER NOT NULL, revision INTEGER NOT NULL,
    created INTEGER NOT NULL, deleting INTEGER, raw BLOB NOT NULL, status BLOB NOT NULL, file TEXT NOT NULL,
    lines BLOB NOT NULL, excerpt BLOB NOT NULL,
    PRIMARY KEY (kind, namespace, name)
) WITHOUT ROWID;
"""
_PUT = f"INSERT OR REPLACE INTO objects VALUES ({', '.join('?' * 13)})"
_DELETE = "DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?"
_DAMAGED = "the file is damaged: move it away, restart the agent and apply the manifests again"
_encode, _decode = msgspec.json.encode, msgspec.json.decode


class Row(NamedTuple):
    """A stored object, not yet decoded to its kind's shape."""

    key: Key
    uid: str
    generation: int
    revision: int
    created: datetime
    deleting: datetime | None
    raw: Json
    status: Json
    origin: Origin
    excerpt: Excerpt


class Database:
    """One open file. Use from one thread. Every method raises StoreError when the file fails."""

    def __init__(self, path: Path, shared: bool = False) -> None:
        """Opens or creates ``path``, for this process alone unless ``shared``. A damaged file is refused, never
        replaced: an empty store would mean no policies."""
        self.path, self.shared = path, shared
        self._seen = 0
        with self._guard("open"):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._db = sqlite3.connect(path, timeout=_PATIENCE if shared else _BUSY_SECONDS, isolation_level=None)
        try:
            with self._guard("open"):
                self._prepare()
        except StoreError:
            self._db.close()
            raise

    def _prepare(self) -> None:
        if not self.shared:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        with self._transaction("open"):  # takes the lock, which this process then keeps unless the file is shared
            layout = self._scalar("PRAGMA user_version")
            if layout == 0 and not self._scalar("SELECT count(*) FROM sqlite_master"):
                for statement in _SCHEMA.split(";"):
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA application_id = {_APPLICATION}")
                self._db.execute(f"PRAGMA user_version = {LAYOUT}")
            elif layout != LAYOUT or self._scalar("PRAGMA application_id") != _APPLICATION:
                raise StoreError(f"{self.path}: not a store of this weft (layout {layout}, expected {LAYOUT})")
        if (verdict := self._scalar("PRAGMA quick_check(1)")) != "ok":
            raise StoreError(f"cannot open {self.path}: {verdict}; {_DAMAGED}")

    def _scalar(self, statement: str) -> Any:
        return self._db.execute(statement).fetchone()[0]

    def load(self) -> tuple[int, list[Row]]:
        """The revision and every object."""
        with self._guard("read"):
            revision = self._scalar("SELECT revision FROM state")
            return revision, [_row(values) for values in self._db.execute("SELECT * FROM objects")]

    def write(self, revision: int, puts: Iterable[Stored], deletes: Iterable[Key], durable: bool = True) -> None:
        """All of it, or (with StoreError) nothing. ``durable``: survives a power cut, not only the process's end."""
        with self._guard("write"), self.alone(durable):
            self._db.executemany(_PUT, (_values(stored) for stored in puts))
            self._db.executemany(_DELETE, deletes)
            self._db.execute("UPDATE state SET revision = ?", (revision,))

    # ---- a shared file -----------------------------------------------------------------------------------------------

    @contextmanager
    def alone(self, durable: bool = True) -> Iterator[None]:
        """Nobody else writes meanwhile: one transaction, or part of the one that is open."""
        if self._db.in_transaction:
            yield
            return
        with self._guard("write"):
            self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        with self._transaction("write"):
            yield

    def has_changed(self) -> bool:
        """Whether somebody else has written since the last time; asks nothing of the disk."""
        with self._guard("read"):
            before, self._seen = self._seen, self._scalar("PRAGMA data_version")
            return before != self._seen

    def since(self, revision: int) -> tuple[int, list[Row], set[Key]]:
        """The revision now, what was written after ``revision``, and the keys of all that there is."""
        with self._guard("read"), self._snapshot():
            now = self._scalar("SELECT revision FROM state")
            rows = self._db.execute("SELECT * FROM objects WHERE revision > ?", (revision,)).fetchall()
            keys = self._db.execute("SELECT kind, namespace, name FROM objects").fetchall()
            return now, [_row(values) for values in rows], {Key(*key) for key in keys}

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        """Several reads of one state."""
        inside = self._db.in_transaction
        if not inside:
            self._db.execute("BEGIN")
        yield
        if not inside:
            self._db.execute("COMMIT")

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _transaction(self, doing: str) -> Iterator[None]:
        with self._guard(doing):
            self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            with self._guard(doing):
                self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    @contextmanager
    def _guard(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, msgspec.MsgspecError, OSError) as error:
            raise StoreError(f"cannot {doing} {self.path}: {error}; {_remedy(error)}") from error


def _remedy(error: Exception) -> str:
    code = getattr(error, "sqlite_errorname", "") or ""
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return "another agent has it open: give this one its own --node-name"
    if code.startswith("SQLITE_FULL") or "No space left" in str(error):
        return "free space on its file system; what was in force stays in force"
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) or isinstance(error, msgspec.MsgspecError):
        return _DAMAGED
    return "check the file system and the file's permissions; what was in force stays in force"


def _values(stored: Stored) -> tuple[Any, ...]:
    resource = stored.resource
    lines = [(path, line) for path, line in resource.origin.lines.items()]
    return (
        *stored.key,
        stored.uid,
        stored.generation,
        stored.revision,
        int(stored.created.timestamp()),
        int(stored.deleting.timestamp()) if stored.deleting else None,
        _encode(resource.raw),
        _encode(stored.status),
        resource.origin.file,
        _encode(lines),
        _encode((resource.excerpt.first_line, resource.excerpt.lines)),
    )


def _row(values: tuple[Any, ...]) -> Row:
    kind, namespace, name, uid, generation, revision, created, deleting, raw, status, file, lines, excerpt = values
    first_line, text = _decode(excerpt, type=tuple[int, tuple[str, ...]])
    return Row(
        Key(kind, namespace, name),
        uid,
        generation,
        revision,
        datetime.fromtimestamp(created, UTC),
        None if deleting is None else datetime.fromtimestamp(deleting, UTC),
        _decode(raw, type=Json),
        _decode(status, type=Json),
        Origin(file, {tuple(path): line for path, line in _decode(lines)}),
        Excerpt(first_line, text),
    )
