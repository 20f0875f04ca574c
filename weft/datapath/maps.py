"""BPF maps: one entry, many in one call, all of them. Keys and values are bytes as the kernel has them."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

from weft.datapath import bpf

_PER_CPU = (bpf.MAP_TYPE_PERCPU_HASH, bpf.MAP_TYPE_PERCPU_ARRAY, bpf.MAP_TYPE_LRU_PERCPU_HASH)
_NO_BATCH = (errno.EINVAL, errno.EOPNOTSUPP, 524)
_CHUNK = 16384
"""Entries per batch call."""


def possible_cpus() -> int:
    """Number of values that a per-CPU map holds for each key."""
    last = Path("/sys/devices/system/cpu/possible").read_text().strip().split(",")[-1]
    return int(last.split("-")[-1]) + 1


class _CannotBatchError(Exception):
    """The kernel has no batches for maps of this type."""


class Map:
    """A map by its file descriptor, which this object owns. Keys and values are bytes as the kernel has them."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        info = bpf.object_info(fd)
        self.type, self.id, self.key_size, value_size, self.max_entries, self.flags = struct.unpack_from("=6I", info)
        self.name = info[24:40].split(b"\0")[0].decode()
        self.value_size: int = value_size
        """Bytes of one lookup: for a per-CPU map all CPUs' values, each padded to 8."""
        if self.type in _PER_CPU:
            self.value_size = (value_size + 7) // 8 * 8 * possible_cpus()
        self._key = ctypes.create_string_buffer(self.key_size)
        self._value = ctypes.create_string_buffer(self.value_size)
        self._attr = bpf.attribute("IIQQQ", fd, 0, ctypes.addressof(self._key), ctypes.addressof(self._value), 0)
        self._delete = bpf.attribute("IIQ", fd, 0, ctypes.addressof(self._key))  # the kernel wants the rest zero

    @classmethod
    def create(
        cls, kind: int, key_size: int, value_size: int, max_entries: int, *, flags: int = 0, name: str = ""
    ) -> Map:
        attr = bpf.attribute("IIIIIII16s", kind, key_size, value_size, max_entries, flags, 0, 0, name.encode())
        return cls(bpf.check(bpf.call(bpf.MAP_CREATE, attr), f"create map {name or kind}"))

    @classmethod
    def pinned(cls, path: str | Path) -> Map:
        return cls(bpf.object_get(path))

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def lookup(self, key: bytes) -> bytes | None:
        self._key.raw = key
        struct.pack_into("=Q", self._attr, 24, 0)
        result = bpf.call(bpf.MAP_LOOKUP, self._attr)
        if result == -errno.ENOENT:
            return None
        bpf.check(result, f"look up in map {self.name}")
        return self._value.raw

    def update(self, key: bytes, value: bytes, flags: int = bpf.ANY) -> None:
        self._key.raw, self._value.raw = key, value
        struct.pack_into("=Q", self._attr, 24, flags)
        bpf.check(bpf.call(bpf.MAP_UPDATE, self._attr), f"write to map {self.name}")

    def replace(self, key: bytes, value: bytes) -> bool:
        """Write an entry that exists; False if it is not there (any more)."""
        self._key.raw, self._value.raw = key, value
        struct.pack_into("=Q", self._attr, 24, bpf.EXIST)
        result = bpf.call(bpf.MAP_UPDATE, self._attr)
        return result != -errno.ENOENT and not bpf.check(result, f"write to map {self.name}")

    def delete(self, key: bytes) -> bool:
        """False if it was not there."""
        self._key.raw = key
        result = bpf.call(bpf.MAP_DELETE, self._delete)
        if result == -errno.ENOENT:
            return False
        bpf.check(result, f"delete from map {self.name}")
        return True

    def _batch(self, command: int, keys: bytes, values: bytes, count: int) -> tuple[int, int]:
        """(result, entries done)."""
        held = ctypes.create_string_buffer(keys, len(keys)), ctypes.create_string_buffer(values, len(values) or 1)
        attr = bpf.attribute("QQQQIIQQ", 0, 0, bpf.address_of(held[0]), bpf.address_of(held[1]), count, self.fd, 0, 0)
        result = bpf.call(command, attr)
        return result, int(struct.unpack_from("=I", attr, 32)[0])

    def update_batch(self, entries: Sequence[tuple[bytes, bytes]]) -> None:
        """Write all; by one call for each 16,384 where the map type can, else one by one."""
        for start in range(0, len(entries), _CHUNK):
            part = entries[start : start + _CHUNK]
            keys, values = b"".join(key for key, _ in part), b"".join(value for _, value in part)
            result, _ = self._batch(bpf.MAP_UPDATE_BATCH, keys, values, len(part))
            if -result in _NO_BATCH:
                for key, value in part:
                    self.update(key, value)
            else:
                bpf.check(result, f"write {len(part)} entries to map {self.name}")

    def delete_batch(self, keys: Sequence[bytes]) -> None:
        """Delete all that are there; a key that is not there is not an error."""
        for start in range(0, len(keys), _CHUNK):
            part = keys[start : start + _CHUNK]
            result, done = self._batch(bpf.MAP_DELETE_BATCH, b"".join(part), b"", len(part))
            if result == -errno.ENOENT or -result in _NO_BATCH:
                for key in part[0 if -result in _NO_BATCH else done :]:
                    self.delete(key)
            else:
                bpf.check(result, f"delete {len(part)} entries from map {self.name}")

    def batches(self) -> Iterator[tuple[bytes, bytes, int]]:
        """The whole content as (keys, values, count) stretches: ``count`` keys one after the other, and their values.

        A hash map that changes meanwhile may show an entry twice or not at all, as the kernel's batch lookup does.
        """
        try:
            for keys, values, count in self._stretches():
                yield bytes(keys[: count * self.key_size]), bytes(values[: count * self.value_size]), count
        except _CannotBatchError:
            yield from self._one_by_one()

    def _stretches(self) -> Iterator[tuple[memoryview, memoryview, int]]:
        """The same in buffers that the next stretch overwrites. Errors: _CannotBatchError at once."""
        chunk = min(_CHUNK, self.max_entries)
        keys = ctypes.create_string_buffer(chunk * self.key_size)
        values = ctypes.create_string_buffer(chunk * self.value_size)
        cursor = ctypes.create_string_buffer(max(self.key_size, 8))
        first = True
        while True:
            start = 0 if first else bpf.address_of(cursor)
            fields = (start, bpf.address_of(cursor), bpf.address_of(keys), bpf.address_of(values), chunk, self.fd, 0, 0)
            attr = bpf.attribute("QQQQIIQQ", *fields)
            result = bpf.call(bpf.MAP_LOOKUP_BATCH, attr)
            count = int(struct.unpack_from("=I", attr, 32)[0])
            if first and -result in _NO_BATCH:
                raise _CannotBatchError
            if result != -errno.ENOENT:
                bpf.check(result, f"read map {self.name}")
            if count:
                yield memoryview(keys), memoryview(values), count
            if result == -errno.ENOENT:
                return
            first = False

    def _one_by_one(self) -> Iterator[tuple[bytes, bytes, int]]:
        for key in self._walk():
            if (value := self.lookup(key)) is not None:
                yield key, value, 1

    def _walk(self) -> Iterator[bytes]:
        """Every key by next-key calls: slower, but every map type that can iterate has it."""
        following = ctypes.create_string_buffer(self.key_size)
        current: ctypes.Array[ctypes.c_char] | None = None
        while True:
            attr = bpf.attribute("IIQQQ", self.fd, 0, bpf.address_of(current), bpf.address_of(following), 0)
            result = bpf.call(bpf.MAP_NEXT_KEY, attr)
            if result == -errno.ENOENT:
                return
            bpf.check(result, f"iterate map {self.name}")
            yield following.raw
            current = ctypes.create_string_buffer(following.raw, self.key_size)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every (key, value)."""
        key_size, value_size = self.key_size, self.value_size
        for keys, values, count in self.batches():
            for i in range(count):
                yield keys[i * key_size : (i + 1) * key_size], values[i * value_size : (i + 1) * value_size]

    def keys(self) -> Iterator[bytes]:
        size = self.key_size
        for keys, _, count in self.batches():
            for i in range(count):
                yield keys[i * size : (i + 1) * size]

    def count(self) -> int:
        """Beside everything else that is done with this object, in another thread as well."""
        try:
            return sum(count for _, _, count in self._stretches())
        except _CannotBatchError:
            return sum(1 for _ in self._walk())
