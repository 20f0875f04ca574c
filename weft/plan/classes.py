"""Class numbers in use: how many addresses have each, so that tables list no class that nobody has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from weft.model.desired import CLASS_OTHER
from weft.model.net import ClassId
from weft.plan.numbering import NumberSpace
from weft.policy.digests import digest
from weft.policy.tables import ClassContent


class Classes:
    """Content ↔ number. ``contents`` is live; its keys are the classes in use after ``settle``."""

    def __init__(self, numbers: NumberSpace) -> None:
        self._numbers = numbers
        self._used: Counter[ClassId] = Counter()
        self._number: dict[ClassContent, ClassId] = {frozenset(): CLASS_OTHER}
        self._new: dict[ClassId, ClassContent] = {}
        self.contents: dict[ClassId, ClassContent] = {CLASS_OTHER: frozenset()}

    def number_all(self, contents: Iterable[ClassContent]) -> Mapping[ClassContent, ClassId]:
        """Numbers of these contents, and of all others in use."""
        missing = {digest("class", *sorted(content)): content for content in contents if content not in self._number}
        for key, number in self._numbers.assign_all(missing).items():
            self._number[missing[key]] = ClassId(number)
            self.contents[ClassId(number)] = self._new[ClassId(number)] = missing[key]
        return self._number

    def count(self, came: Counter[ClassId], went: Counter[ClassId]) -> None:
        """So many addresses have joined and left these classes."""
        self._used.update(came)
        self._used.subtract(went)

    def settle(self) -> tuple[dict[ClassId, ClassContent], set[ClassId]]:
        """Classes that are new since the last time, and classes that nobody has any more."""
        new, self._new = self._new, {}
        lost = {number for number in self.contents if number != CLASS_OTHER and self._used[number] <= 0}
        for number in lost:
            content = self.contents.pop(number)
            del self._number[content], self._used[number]
            self._numbers.release(digest("class", *sorted(content)))
            if new.pop(number, None) is not None:
                continue
        return new, lost
