"""Which class every address has in the kernel, which it shall have, and through which it passes on the way.

An address that moves from class o to class n passes through a class x that means "o before, n after": tables in force
before say about x what they say about o, tables in force after say what they say about n, and tables in force both
times say only what both allow. docs/decisions/0002-changing-classes-safely.md has the argument.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import count
from operator import itemgetter
from typing import NamedTuple, TypeVar

from weft.model.desired import (
    CLASS_OTHER,
    IPCACHE_SERVICE,
    IPCACHE_UNASSIGNED,
    Desired,
    EndpointEntry,
    IpcacheEntry,
)
from weft.model.identity import Reserved
from weft.model.net import ClassId, IdentityId, Prefix
from weft.plan.diff import Edition, changes

K = TypeVar("K")
V = TypeVar("V")

NOWHERE = IpcacheEntry(IdentityId(Reserved.UNKNOWN), CLASS_OTHER)
"""What the kernel takes an address for that ipcache does not know."""


class Pair(NamedTuple):
    old: ClassId
    new: ClassId


class Lookup:
    """Longest-prefix match over an ipcache."""

    def __init__(self, ipcache: Mapping[Prefix, IpcacheEntry]) -> None:
        self._ipcache = ipcache
        self._lengths: list[int] | None = None

    def at(self, prefix: Prefix) -> IpcacheEntry:
        return self._ipcache.get(prefix) or self.around(prefix)

    def around(self, prefix: Prefix) -> IpcacheEntry:
        """What the prefix is without an entry of its own; without any entry, class 0 and no identity."""
        if self._lengths is None:
            self._lengths = sorted({each.bits for each in self._ipcache}, reverse=True)
        number = int.from_bytes(prefix.address, "big")
        for bits in self._lengths:
            if bits < prefix.bits:
                start = (number >> (128 - bits) << (128 - bits)).to_bytes(16, "big")
                if (found := self._ipcache.get(Prefix(start, bits))) is not None:
                    return found
        return NOWHERE


_CLASS_OF_BLOCK, _CLASS_OF_POD = (itemgetter(kind._fields.index("class_")) for kind in (IpcacheEntry, EndpointEntry))
DROPPED = IPCACHE_SERVICE | IPCACHE_UNASSIGNED


def is_dropped(entry: IpcacheEntry | EndpointEntry) -> bool:
    """Whether packets to and from the address are refused before policy is asked."""
    return bool(entry.flags & DROPPED)


class Moves:
    """The addresses whose entries differ between ``kernel`` and ``desired``, by what has to be minded about each.

    ``appear``: come from "refused", so they can wait for the end. ``vanish`` and ``drops``: go to "refused", so they
    need not wait (pods and ipcache entries). ``pods`` and ``blocks``: everybody else, with (by) old and new class.
    ``mixed``: pairs of which some block changes more than its class.
    """

    def __init__(self, kernel: Desired, desired: Desired) -> None:
        self._kernel, self._desired = kernel, desired
        self.old, self.new = Lookup(kernel.ipcache), Lookup(desired.ipcache)
        self.appear: list[bytes] = []
        self.vanish: list[bytes] = []
        self.pods: dict[bytes, Pair] = {}
        self.arrive: list[Prefix] = []
        self.drops: list[Prefix] = []
        self.blocks: dict[Pair, list[Prefix]] = {}
        self.mixed: set[Pair] = set()
        self._sort_blocks()
        for wide in different(kernel.endpoints, desired.endpoints):
            self._sort_pod(wide)

    def __bool__(self) -> bool:
        return any((self.appear, self.vanish, self.pods, self.arrive, self.drops, self.blocks))

    def _sort_blocks(self) -> None:
        """Thousands at a time: what most of them are, entries of both with the same flags, is found out first."""
        kernel, desired = self._kernel.ipcache, self._desired.ipcache
        ours = {Prefix(wide, 128) for wide in self._kernel.endpoints.keys() | self._desired.endpoints.keys()}
        blocks = self.blocks
        for key, before, after in differences(kernel, desired):
            old: IpcacheEntry | EndpointEntry | None = before
            new: IpcacheEntry | EndpointEntry | None = after
            if key in ours:
                wide = key.address
                old, new = self._kernel.endpoints.get(wide, old), self._desired.endpoints.get(wide, new)
            if old is None:
                old = self.old.around(key)
            if new is None:
                new = self.new.around(key)
            if new.flags & DROPPED:
                self.drops.append(key)
            elif old.flags & DROPPED:
                self.arrive.append(key)
            else:
                pair = (old.class_, new.class_)
                if pair in blocks:
                    blocks[pair].append(key)
                else:
                    blocks[Pair(*pair)] = [key]
                if old is not before or new is not after or old.flags != new.flags or old.identity != new.identity:
                    self.mixed.add(Pair(*pair))

    def _sort_pod(self, wide: bytes) -> None:
        old, new = self._kernel.endpoints.get(wide), self._desired.endpoints.get(wide)
        if old is None:
            self.appear.append(wide)
        elif new is not None:
            self.pods[wide] = Pair(old.class_, new.class_)
        elif is_dropped(self.old.at(Prefix(wide, 128))) and is_dropped(self.new.at(Prefix(wide, 128))):
            self.vanish.append(wide)
        else:
            self.pods[wide] = Pair(old.class_, self.new.at(Prefix(wide, 128)).class_)


def different(one: Mapping[K, V], other: Mapping[K, V]) -> list[K]:
    """Keys with different values, or in one of the two only."""
    return [key for key, _, _ in differences(one, other)]


def differences(one: Mapping[K, V], other: Mapping[K, V]) -> list[tuple[K, V | None, V | None]]:
    """The same with the values; None where there is none."""
    if isinstance(other, Edition) and other.follows(one):
        return [(key, old, new) for key in other.touched if (old := one.get(key)) != (new := other.get(key))]
    change = changes(one, other)
    gone, come = change.gone, change.come
    return [(key, old, new) for key, new in come.items() if (old := gone.get(key)) != new] + [
        (key, old, None) for key, old in gone.items() if key not in come
    ]


def classes_used(maps: Desired) -> set[ClassId]:
    """Classes that some address has."""
    return {*map(_CLASS_OF_BLOCK, maps.ipcache.values()), *map(_CLASS_OF_POD, maps.endpoints.values())}


def passages(
    pairs: Iterable[Pair], used_old: set[ClassId], used_new: set[ClassId], dirty: set[Pair], taken: set[ClassId]
) -> dict[Pair, ClassId]:
    """The class that each pair passes through; no two share one.

    A class that nobody has before may mean ``new`` from the start if all that come to it come from one class; one that
    nobody has after may mean ``old`` to the end if all that leave it go to one class. Everything else, and ``dirty``
    pairs (about which a table in force both times says two things), need a number that means nothing yet (``taken``).
    """
    wanted = sorted(set(pairs))
    sources = Counter(pair.new for pair in wanted)
    targets = Counter(pair.old for pair in wanted)
    unused = (ClassId(number) for number in count(1) if number not in taken)
    found: dict[Pair, ClassId] = {}
    for pair in wanted:
        old, new = pair
        if old == new or (pair not in dirty and new not in used_old and new != CLASS_OTHER and sources[new] == 1):
            found[pair] = new
        elif pair not in dirty and old not in used_new and old != CLASS_OTHER and targets[old] == 1:
            found[pair] = old
        else:
            found[pair] = next(unused)
    return found
