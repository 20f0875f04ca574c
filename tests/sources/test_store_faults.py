"""The store when things go wrong: killed in mid-transaction, a damaged file, a full disk, a second agent."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.sources.builders import open_store, pod, read, service
from weft.sources.database import Database
from weft.sources.errors import StoreError
from weft.sources.objects import Change, Stored
from weft.sources.store import Store

REPOSITORY = Path(__file__).parent.parent.parent

IN_THE_MIDDLE = """
import sys
from pathlib import Path
from tests.sources.builders import open_store, pod, read
from weft.sources import database

store = open_store(Path(sys.argv[1]))
store.apply(read(pod("before")))
original = database._values
count = 0

def values(stored):
    global count
    count += 1
    if count > 20:
        print("in the middle", flush=True)
        sys.stdin.read()
    return original(stored)

database._values = values
store.apply(read("---".join(pod(f"p{n}") for n in range(40))))
"""
"""Applies 40 pods in one transaction and stops after writing 20 of them."""

IN_A_LOOP = """
import sys
from pathlib import Path
from tests.sources.builders import open_store, pod, read
store = open_store(Path(sys.argv[1]))
for n in range(100000):
    store.apply(read("---".join(pod(f"{kind}{n}") for kind in "abc")))
    print(n, flush=True)
"""
"""Applies three pods at a time and says which are in."""


def start(script: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, str(folder)],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def pods(store: Store) -> set[str]:
    return {stored.key.name for stored in store.objects("Pod")}


def test_killed_in_the_middle_of_a_transaction(tmp_path: Path) -> None:
    with start(IN_THE_MIDDLE, tmp_path) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "in the middle\n"
        finally:
            process.send_signal(signal.SIGKILL)
    store = open_store(tmp_path)
    assert pods(store) == {"before"}
    store.apply(read(pod("after")))
    assert pods(store) == {"before", "after"}


@pytest.mark.parametrize("rounds", [1, 4, 9])
def test_killed_at_any_moment_nothing_that_was_promised_is_lost(tmp_path: Path, rounds: int) -> None:
    with start(IN_A_LOOP, tmp_path) as process:
        assert process.stdout is not None
        try:
            for _ in range(rounds):
                last = int(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGKILL)
        last = max([last, *(int(line) for line in process.stdout.read().split())])
    found = pods(open_store(tmp_path))
    promised = {f"{kind}{number}" for kind in "abc" for number in range(last + 1)}
    one_more = promised | {f"{kind}{last + 1}" for kind in "abc"}
    assert found in (promised, one_more)


@pytest.mark.parametrize("damage", ["text", "zeros", "page", "record"])
def test_a_damaged_file_is_refused_and_left_alone(tmp_path: Path, damage: str) -> None:
    store = open_store(tmp_path)
    store.apply(read("---".join(pod(f"p{n}") for n in range(50))))
    store.close()
    file = tmp_path / "store.db"
    if damage == "record":
        with sqlite3.connect(file) as database:
            database.execute("UPDATE objects SET raw = ? WHERE name = 'p7'", (b"{broken",))
        database.close()
    else:
        content = bytearray(file.read_bytes())
        if damage == "text":
            content[:] = b"this is not a database at all\n" * 100
        elif damage == "zeros":
            content[:100] = bytes(100)
        else:
            content[4096 * 3 : 4096 * 3 + 2000] = os.urandom(2000)
        file.write_bytes(content)
    before = file.read_bytes()
    with pytest.raises(StoreError) as refused:
        open_store(tmp_path)
    assert str(file) in str(refused.value)
    assert "move it away" in str(refused.value)
    assert file.read_bytes() == before


def test_a_write_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.apply(read(pod("a") + "---" + pod("b")))
    first, second = store.objects("Pod")
    store.close()
    database = Database(tmp_path / "store.db")

    def puts() -> Iterator[Stored]:
        yield replace(first, generation=77)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        database.write(99, puts(), [second.key])
    revision, rows = database.load()
    assert revision == store.revision
    assert {(row.key.name, row.generation) for row in rows if row.key.kind == "Pod"} == {("a", 1), ("b", 1)}
    database.write(99, [], [second.key])
    database.close()


def test_another_applications_file_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "store.db") as database:
        database.execute("CREATE TABLE theirs (x)")
    database.close()
    with pytest.raises(StoreError, match="not a store of this weft"):
        open_store(tmp_path)


def test_an_object_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.apply(read(pod("web")))
    store.close()
    with sqlite3.connect(tmp_path / "store.db") as database:
        database.execute("UPDATE objects SET raw = replace(raw, 'containers', 'crates') WHERE name = 'web'")
    database.close()
    with pytest.raises(StoreError, match="stored Pod/default/web does not fit this version"):
        open_store(tmp_path)


def test_a_second_agent_is_refused(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(StoreError, match="another agent has it open"):
        open_store(tmp_path)
    store.close()
    open_store(tmp_path).close()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot open .*store\.db"):
        open_store(tmp_path / "file")


def test_a_full_disk_leaves_what_is_in_force(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "weft-test", disk], check=True)
    try:
        store = open_store(disk)
        store.apply(read(pod("web") + "---" + service("web")))
        seen: list[Change] = []
        store.subscribe(seen.extend)
        revision, objects = store.revision, store.objects()
        with pytest.raises(StoreError, match="what was in force stays in force"):
            store.apply(read("---".join(pod(f"p{n}") for n in range(1000))))
        assert (store.revision, store.objects(), seen) == (revision, objects, [])
        store.apply(read(pod("small")))
        store.close()
        again = open_store(disk)
        assert pods(again) == {"web", "small"}
        again.close()
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)  # also when a failed test holds it open


def test_a_subscriber_hears_only_what_is_on_disk(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    heard: list[bool] = []

    def look(changes: object) -> None:
        reader = sqlite3.connect(f"file:{tmp_path}/copy.db?mode=ro", uri=True)
        heard.append(reader.execute("SELECT count(*) FROM objects WHERE name = 'web'").fetchone()[0] == 1)
        reader.close()

    def copy(changes: object) -> None:
        for suffix in ("", "-wal"):
            source = tmp_path / f"store.db{suffix}"
            if source.exists():
                (tmp_path / f"copy.db{suffix}").write_bytes(source.read_bytes())

    store.subscribe(copy)
    store.subscribe(look)
    store.apply(read(pod("web")))
    assert heard == [True]


def test_a_failed_open_leaves_no_descriptor(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_text("not a database, but long enough to look like one\n" * 50)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    for _ in range(3):
        with pytest.raises(StoreError):
            Database(tmp_path / "store.db")
    assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208
