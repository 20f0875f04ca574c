"""What changed between two snapshots that share most of their values."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import compress, islice
from operator import is_, is_not
from typing import Any, Generic, TypeVar
from weakref import ref

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class Changes(Generic[K, V]):
    """A replaced value is in both."""

    gone: dict[K, V] = field(default_factory=dict)
    come: dict[K, V] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.gone or self.come)


def changes(old: Mapping[K, V], new: Mapping[K, V]) -> Changes[K, V]:
    """Values are the same when they are the same object.

    Snapshots are copies of each other with a few keys changed: an ``Edition`` knows which, and of any others what is
    alike at both ends (the same keys and values in the same order) is skipped without hashing ten thousand keys.
    """
    if old is new:
        return Changes()
    if isinstance(new, Edition) and new.follows(old):
        return _edited(old, new, new.touched)
    if len(old) == len(new) and list(old) == list(new):
        differ = bytes(map(is_not, old.values(), new.values()))
        return Changes(dict(compress(old.items(), differ)), dict(compress(new.items(), differ)))
    head = _alike(old, new)
    if head == len(old):
        return Changes({}, dict(islice(new.items(), head, None)))
    tail = min(_alike(_Backwards(old), _Backwards(new)), len(old) - head, len(new) - head)
    before = dict(islice(old.items(), head, len(old) - tail))
    after = dict(islice(new.items(), head, len(new) - tail))
    missing = object()
    return Changes(
        {key: value for key, value in before.items() if after.get(key, missing) is not value},
        {key: value for key, value in after.items() if before.get(key, missing) is not value},
    )


def _edited(old: Mapping[K, V], new: Mapping[K, V], touched: Iterable[K]) -> Changes[K, V]:
    missing: Any = object()
    pairs = [(key, old.get(key, missing), new.get(key, missing)) for key in touched]
    return Changes(
        {key: before for key, before, after in pairs if before is not after and before is not missing},
        {key: after for key, before, after in pairs if before is not after and after is not missing},
    )


class Edition(dict[K, V]):
    """A copy of a mapping that remembers which of its keys were set or removed since; then never edited again.

    Edit it by ``edition[key] = value``, ``put`` and ``remove`` alone: nothing else is remembered.
    """

    __slots__ = ("__weakref__", "_before", "touched")

    def __init__(self, before: Mapping[K, V]) -> None:
        super().__init__(before)
        self._before = ref(before) if isinstance(before, Edition) else None
        """Weak, or every edition would keep all earlier ones. (A plain dict can't be referred to so.)"""
        self.touched: dict[K, None] = {}

    def follows(self, other: Mapping[K, V]) -> bool:
        """Whether it is a copy of this very object."""
        return self._before is not None and self._before() is other

    def __setitem__(self, key: K, value: V) -> None:
        self.touched[key] = None
        super().__setitem__(key, value)

    def put(self, values: Mapping[K, V]) -> None:
        """Thousands at a time."""
        self.touched.update(dict.fromkeys(values))
        self.update(values)

    def remove(self, key: K) -> None:
        """Nothing there is not an error."""
        self.touched[key] = None
        self.pop(key, None)


class _Backwards(Generic[K, V]):
    """A mapping's keys and values from the end."""

    def __init__(self, mapping: Mapping[K, V]) -> None:
        self._keys, self._values = list(mapping)[::-1], list(mapping.values())[::-1]

    def __iter__(self) -> Iterator[K]:
        return iter(self._keys)

    def values(self) -> Iterable[V]:
        return self._values


def _alike(one: Mapping[K, V] | _Backwards[K, V], other: Mapping[K, V] | _Backwards[K, V]) -> int:
    """How many of the first keys and values are the same objects."""
    same = bytes(map(is_, one.values(), other.values()))
    end = same.find(0)
    end = len(same) if end < 0 else end
    if list(islice(one, end)) == list(islice(other, end)):
        return end
    return next(at for at, (mine, theirs) in enumerate(zip(one, other, strict=False)) if mine != theirs)
