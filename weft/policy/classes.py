"""Peer classes: which selectors in force match whom, for ten thousand identities at a time.

Two peers that no selector tells apart share a class, so a class *is* the set of selectors that match its members. Sets
of identities are Python integers with one bit per identity, so a new selector is intersected with all of them at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set

from weft.model.labels import ANY, CIDR, K8S, RESERVED, LabelSet
from weft.model.policy import LabelSelector, Operator, Requirement
from weft.policy.digests import SelectorKey

Bits = int
"""A set of identities: bit n stands for the n-th."""


def bits_of(bits: Bits) -> Iterator[int]:
    """Positions of the ones, ascending."""
    text = bin(bits)[:1:-1]
    at = text.find("1")
    while at >= 0:
        yield at
        at = text.find("1", at + 1)


class LabelIndex:
    """Label → the identities that carry it: the inverse of identity → labels."""

    def __init__(self, identities: Mapping[int, LabelSet] | None = None) -> None:
        self.all: Bits = 0
        self._values: dict[str, dict[str, tuple[int, Bits]]] = {}
        """As (position of the first, the bits from there on): most values have few identities, which came together."""
        for position, labels in (identities or {}).items():
            self.add(position, labels)

    def add(self, position: int, labels: LabelSet) -> None:
        """What has no labels has no identity: no selector may ever find it."""
        bit = 1 << position
        self.all |= bit if labels else 0
        for key, value in labels.items():
            values = self._values.setdefault(key, {})
            first, bits = values.get(value, (position, 0))
            start = min(first, position)
            values[value] = (start, bits << (first - start) | 1 << (position - start))

    def remove(self, position: int, labels: LabelSet) -> None:
        bit = 1 << position
        self.all &= ~bit
        for key, value in labels.items():
            values = self._values[key]
            first, bits = values[value]
            left = bits & ~(1 << (position - first))
            if left:
                values[value] = (first, left)
            else:
                del values[value]
            if not values:
                del self._values[key]

    def matching(self, selector: LabelSelector) -> Bits:
        """Exactly those whose labels ``weft.policy.select.selects``."""
        found = self.all
        for requirement in selector.requirements:
            if not found:
                break
            found &= self._holding(requirement)
        return found

    def _holding(self, requirement: Requirement) -> Bits:
        found = 0
        for key in _full_keys(requirement.key):
            values = self._values.get(key, {})
            if requirement.operator in (Operator.IN, Operator.NOT_IN):
                having = [values[value] for value in requirement.values if value in values]
            else:
                having = list(values.values())
            for first, bits in having:
                found |= bits << first
        positive = requirement.operator in (Operator.IN, Operator.EXISTS)
        return found if positive else self.all & ~found


def _full_keys(key: str) -> tuple[str, ...]:
    source, _, bare = key.partition(":")
    return tuple(f"{each}:{bare}" for each in (K8S, RESERVED, CIDR)) if source == ANY else (key,)


Content = frozenset[SelectorKey]


class Partition:
    """Identities grouped by which of ``selectors`` match them. ``content[position]`` is the group of one.

    ``update`` touches only what a change of selectors or identities can have moved.
    """

    def __init__(self) -> None:
        self._selectors: frozenset[SelectorKey] = frozenset()
        self.content: dict[int, Content] = {}
        self._groups: dict[Content, Bits] = {}

    def update(
        self,
        index: LabelIndex,
        selectors: Mapping[SelectorKey, LabelSelector],
        *,
        added: Mapping[int, LabelSet],
        removed: Iterable[int],
    ) -> set[int]:
        """Positions whose content is another one now, the added ones included. ``index`` holds all but ``removed``."""
        before = len(self.content)
        for position in removed:
            self._leave(position)
        if len(self.content) < before // 2:
            self.content = dict(self.content)  # it does not get smaller by itself
        moved = self._change_selectors(index, selectors)
        if added:
            fresh = LabelIndex(added)
            matching = {key: fresh.matching(selector) for key, selector in selectors.items()}
            for content, bits in _split({frozenset(): _mask(added)}, matching).items():
                self._join(content, bits)
            moved.update(added)
        return moved

    def having(self, selectors: Set[SelectorKey]) -> set[int]:
        """Positions that some of ``selectors`` match."""
        groups = self._groups.items()
        return {position for content, bits in groups if not content.isdisjoint(selectors) for position in bits_of(bits)}

    def _change_selectors(self, index: LabelIndex, selectors: Mapping[SelectorKey, LabelSelector]) -> set[int]:
        gained, lost = selectors.keys() - self._selectors, self._selectors - selectors.keys()
        self._selectors = frozenset(selectors)
        moved: set[int] = set()
        groups = self._groups
        for content in [content for content in groups if lost and not content.isdisjoint(lost)]:
            bits = groups.pop(content)
            moved.update(bits_of(bits))
            self._join(content - lost, bits)
        if gained:
            matching = {key: index.matching(selectors[key]) for key in gained}
            for before in list(groups):
                parts = _split({before: groups[before]}, matching)
                for content, bits in parts.items():
                    if content != before:
                        groups[before] &= ~bits
                        moved.update(bits_of(bits))
                        self._join(content, bits)
                if not groups[before]:
                    del groups[before]
        return moved

    def _join(self, content: Content, bits: Bits) -> None:
        self._groups[content] = self._groups.get(content, 0) | bits
        for position in bits_of(bits):
            self.content[position] = content

    def _leave(self, position: int) -> None:
        content = self.content.pop(position)
        self._groups[content] &= ~(1 << position)
        if not self._groups[content]:
            del self._groups[content]


def _split(groups: dict[Content, Bits], matching: Mapping[SelectorKey, Bits]) -> dict[Content, Bits]:
    for selector, members in matching.items():
        if not members:
            continue
        halves: dict[Content, Bits] = {}
        for content, bits in groups.items():
            if inside := bits & members:
                halves[content | {selector}] = inside
            if outside := bits & ~members:
                halves[content] = outside
        groups = halves
    return groups


def _mask(positions: Iterable[int]) -> Bits:
    mask = 0
    for position in positions:
        mask |= 1 << position
    return mask
