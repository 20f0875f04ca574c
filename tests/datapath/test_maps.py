"""Maps of a real kernel: one entry, batches, iteration, for each kind of map that weft uses."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest

from weft.datapath import bpf
from weft.datapath.errors import DatapathError
from weft.datapath.maps import Map, possible_cpus


@pytest.fixture(params=[(bpf.MAP_TYPE_HASH, 0), (bpf.MAP_TYPE_LPM_TRIE, bpf.F_NO_PREALLOC)], ids=["hash", "trie"])
def table(request: pytest.FixtureRequest) -> Iterator[Map]:
    made = Map.create(request.param[0], 8, 8, 20_000, flags=request.param[1], name="test")
    yield made
    made.close()


def key(number: int) -> bytes:
    return struct.pack("=II", 32, number)


def value(number: int) -> bytes:
    return number.to_bytes(8, "little")


def test_one_entry(table: Map) -> None:
    assert table.lookup(key(1)) is None
    assert not table.replace(key(1), value(1)) or table.type == bpf.MAP_TYPE_LPM_TRIE
    table.update(key(1), value(1))
    assert table.lookup(key(1)) == value(1)
    assert table.delete(key(1))
    assert not table.delete(key(1))


def test_batches_larger_than_one_call(table: Map) -> None:
    numbers = range(19_000)
    table.update_batch([(key(n), value(n)) for n in numbers])
    assert table.count() == len(numbers)
    assert dict(table.items()) == {key(n): value(n) for n in numbers}
    assert set(table.keys()) == {key(n) for n in numbers}
    table.delete_batch([key(n) for n in range(18_999, -1, -2)] + [key(30_000)])
    assert set(table.keys()) == {key(n) for n in range(0, 19_000, 2)}


def test_missing_keys_do_not_stop_a_deletion(table: Map) -> None:
    table.update_batch([(key(n), value(n)) for n in range(100)])
    table.delete_batch([key(n) for n in range(-50 % 1000, 1000)] + [key(n) for n in range(100)])
    assert table.count() == 0


def test_full_map_is_an_error_that_names_it(table: Map) -> None:
    with pytest.raises(DatapathError, match=r"write .* map test: (E2BIG|ENOSPC)"):
        table.update_batch([(key(n), value(n)) for n in range(20_001)])


def test_per_cpu_values() -> None:
    made = Map.create(bpf.MAP_TYPE_PERCPU_ARRAY, 4, 4, 2, name="test")
    assert made.value_size == 8 * possible_cpus()
    made.update(b"\1\0\0\0", b"\7" + bytes(made.value_size - 1))
    assert [raw[0] for _, raw in made.items()] == [0, 7]
    made.close()
