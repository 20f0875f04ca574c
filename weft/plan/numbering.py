"""Numbers for contents: the same content has the same number, now and after a restart; never two at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

from weft.model.desired import FIRST_LISTENER, LAST_LISTENER

SpaceName = Literal["identity", "class", "table", "rule", "backends", "service", "scope", "listener"]
SPACES: tuple[SpaceName, ...] = get_args(SpaceName)

FIRST, LAST = 1 << 16, (1 << 32) - 1
"""Below are the numbers that mean something by themselves: reserved identities, TABLE_OPEN, CLASS_OTHER, no rule."""


class Range(NamedTuple):
    """The numbers that a space may give, both ends included."""

    first: int = FIRST
    last: int = LAST


RANGES: Mapping[SpaceName, Range] = {
    name: Range(FIRST_LISTENER, LAST_LISTENER) if name == "listener" else Range() for name in SPACES
}
"""A listener's number is also its port."""


@dataclass(frozen=True, slots=True)
class Numbering:
    """Which content (by digest) has which number, for each space. Replaced whole, never edited.

    A number is the digest's first 32 bits, or the next free one after it. Only those that had to step aside are worth
    remembering (``to_json``): every other number can be computed again. Listeners are remembered whole: Envoy outlives
    the agent, so what a number means to it must be known before the first world is.
    """

    spaces: Mapping[SpaceName, Mapping[bytes, int]] = field(default_factory=dict)

    def to_json(self) -> dict[str, dict[str, int]]:
        """``{"class": {"<digest hex>": 17}}``: only what a restart could not compute. Usually ``{}``."""
        found = {name: memorable(name, numbers) for name, numbers in self.spaces.items()}
        return {name: numbers for name, numbers in found.items() if numbers}

    @classmethod
    def from_json(cls, value: Mapping[str, Mapping[str, int]]) -> Numbering:
        """Raises ValueError for anything that ``to_json`` did not write; a caller may then start with none."""
        if unknown := value.keys() - set(SPACES):
            raise ValueError(f"numbering: unknown spaces {sorted(unknown)}; expected some of {', '.join(SPACES)}")
        for name, (first, last) in RANGES.items():
            numbers = value.get(name, {})
            outside = [n for n in numbers.values() if not (isinstance(n, int) and first <= n <= last)]
            if outside or len(set(numbers.values())) < len(numbers):
                raise ValueError(f"numbering: {name} needs different numbers {first}..{last}, got {outside or numbers}")
        return cls({s: {bytes.fromhex(d): n for d, n in value[s].items()} for s in SPACES if s in value})


ALL = Range()


def memorable(space: SpaceName, numbers: Mapping[bytes, int]) -> dict[str, int]:
    """Of a space's numbers those that a restart could not compute."""
    allowed = RANGES[space]
    return {
        digest.hex(): number
        for digest, number in numbers.items()
        if space == "listener" or number != preferred(digest, allowed)
    }


def preferred(digest: bytes, allowed: Range = ALL) -> int:
    """The number that a content has when nobody else does."""
    number = int.from_bytes(digest[:4], "big")
    if allowed == ALL:
        return number if number >= FIRST else number + FIRST
    return allowed.first + number % (allowed.last - allowed.first + 1)


class NumberSpace:
    """Hands out the numbers of one space while a world is compiled.

    A content that leaves keeps its number to the end of that compile (``settle``), so a number never changes its
    meaning from one plan to the next.
    """

    def __init__(self, known: Mapping[bytes, int], allowed: Range = ALL) -> None:
        self._allowed = allowed
        self._numbers: dict[bytes, int] = {}
        self._leaving = dict(known)
        self._taken = set(known.values())
        self._settled: Mapping[bytes, int] = {}
        self._changed = True

    def assign(self, digest: bytes) -> int:
        """The number of this content. Assign several new ones in the order of their digests.

        Raises OverflowError when every number of the space is taken.
        """
        number = self._numbers.get(digest)
        if number is None:
            number = self._leaving.pop(digest, None) or self._free(preferred(digest, self._allowed))
            self._numbers[digest] = number
            self._taken.add(number)
            self._changed = True
        return number

    def assign_all(self, digests: Iterable[bytes]) -> dict[bytes, int]:
        return {digest: self.assign(digest) for digest in sorted(digests)}

    def __contains__(self, digest: bytes) -> bool:
        """Whether its number is known already."""
        return digest in self._numbers or digest in self._leaving

    def rename(self, digest: bytes, heir: bytes) -> None:
        """A number that is in use goes to another content."""
        self._numbers[heir] = self._numbers.pop(digest)
        self._changed = True

    def release(self, digest: bytes) -> None:
        self._leaving[digest] = self._numbers.pop(digest)
        self._changed = True

    def settle(self) -> Mapping[bytes, int]:
        """End of a compile: the numbers in use."""
        if self._changed:
            if len(self._leaving) > len(self._numbers):  # neither gets smaller by itself
                self._numbers = dict(self._numbers)
                self._taken = set(self._numbers.values())
            else:
                self._taken.difference_update(self._leaving.values())
            self._leaving.clear()
            self._settled = dict(self._numbers)
            self._changed = False
        return self._settled

    def _free(self, number: int) -> int:
        first, last = self._allowed
        if len(self._taken) > last - first:
            raise OverflowError(f"all {last - first + 1} numbers from {first} to {last} are taken")
        while number in self._taken:
            number = number + 1 if number < last else first
        return number
