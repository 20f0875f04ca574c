"""Numbers of Envoy's listeners: equal rule sets, and equal route tables, share one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address

from weft.model.desired import Listener
from weft.plan.numbering import NumberSpace
from weft.policy.digests import digest


class Listeners:
    """Who uses which listener. ``listeners`` are those with a user, by number; replaced, never edited."""

    def __init__(self, numbers: NumberSpace) -> None:
        self._numbers = numbers
        self._uses: Counter[int] = Counter()
        self._known: dict[Listener, int] = {}
        self._digests: dict[int, bytes] = {}
        self._listeners: dict[int, Listener] = {}
        self._published: Mapping[int, Listener] = {}
        self._changed = False

    def number(self, listener: Listener) -> int:
        """The listener's number, for one more user. Raises OverflowError when all 50,000 are taken."""
        number = self._known.get(listener)
        if number is None:
            key = listener_digest(listener)
            number = self._known[listener] = self._numbers.assign(key)
            self._digests[number] = key
            self._listeners[number] = listener
            self._changed = True
        self._uses[number] += 1
        return number

    def release(self, number: int) -> None:
        """One user fewer. The number keeps its meaning to the end of the compile."""
        self._uses[number] -= 1
        if not self._uses[number]:
            del self._uses[number], self._known[self._listeners.pop(number)]
            self._numbers.release(self._digests.pop(number))
            self._changed = True

    @property
    def listeners(self) -> Mapping[int, Listener]:
        if self._changed:
            self._published = dict(self._listeners)
            self._changed = False
        return self._published


def listener_digest(listener: Listener) -> bytes:
    """Of all that makes two listeners equal; where their rules were written is no part of it."""
    return digest("listener", *_parts(listener))


def _parts(value: object) -> Iterator[str | bytes]:
    """A value's content: every level with its type and its length, so that no two values have the same parts."""
    match value:
        case Enum():
            yield f"{type(value).__name__}.{value.name}"
        case str() | int() | None | IPv4Address() | IPv6Address():
            yield f"{type(value).__name__} {value}"
        case bytes():
            yield value
        case tuple():
            yield f"{type(value).__name__} {len(value)}"
            for each in value:
                yield from _parts(each)
        case _ if is_dataclass(value):
            yield type(value).__name__
            for field in fields(value):
                if field.compare:
                    yield from _parts(getattr(value, field.name))
        case _:
            raise TypeError(f"{type(value).__name__} has no place in a listener")
