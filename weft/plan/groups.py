"""What the entries of one class in one table say, compared and combined."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from weft.model.desired import ACTION_ALLOW, ACTION_NONE, CLASS_OTHER, FLAG_OTHER, PolicyEntry
from weft.model.net import ClassId, RuleId
from weft.policy.flatten import PORTS, encode
from weft.policy.tables import CLASS_BITS, DEFAULT, PROTOCOL_BITS, Group, Slot, Table

BASE = Slot(0, 0, CLASS_BITS)
NONE = PolicyEntry(ACTION_NONE, RuleId(0))
REFUSE_ALL: Group = {BASE: NONE}
ALLOW_ALL: Group = {BASE: PolicyEntry(ACTION_ALLOW, RuleId(0))}
"""What TABLE_OPEN says about every class."""

Stretch = tuple[int, PolicyEntry, PolicyEntry]


def fares(table: Table, class_: ClassId) -> Group:
    """The entries that decide about a class: its own, or else those of the default."""
    listed = table.groups.get(class_)
    if listed is not None and class_ != CLASS_OTHER:
        return listed
    rest = table.groups.get(CLASS_OTHER, {})
    default = rest.get(DEFAULT, NONE)
    if default.flags & FLAG_OTHER:
        return {slot: entry for slot, entry in rest.items() if slot != DEFAULT}
    return {BASE: default._replace(flags=0)}


def is_below(one: Group, other: Group) -> bool:
    """Whether ``other`` allows all that ``one`` allows.

    Through a listener less is allowed than without; of what two listeners allow nothing is known.
    """
    if one is other or one == other:
        return True
    return all(
        not _allows(mine) or (_allows(theirs) and theirs.l7 in (0, mine.l7))
        for _, mine, theirs in _everywhere(one, other)
    )


def meet(old: Group, new: Group) -> Group:
    """Allows what both allow; elsewhere the one that refuses gives the reason, the old one first.

    What only one of them sends through a listener goes through it; what they send through two is refused.
    """
    if old is new or old == new:
        return new
    verdicts: dict[PolicyEntry, int] = {}

    def verdict(mine: PolicyEntry, theirs: PolicyEntry) -> int:
        return verdicts.setdefault(_both(mine, theirs), len(verdicts))

    base = verdict(old.get(BASE, NONE), new.get(BASE, NONE))
    found: dict[Slot, int] = {BASE: base}
    for protocol in _protocols(old, new):
        segments: list[tuple[int, int]] = []
        for first, mine, theirs in _stretches(old, new, protocol):
            here = verdict(mine, theirs)
            if not segments or segments[-1][1] != here:
                segments.append((first, here))
        for port, bits, here in encode(segments, base):
            found[Slot(protocol, port, PROTOCOL_BITS + bits)] = here
    entries = list(verdicts)
    return {slot: entries[here] for slot, here in found.items()}


def _both(mine: PolicyEntry, theirs: PolicyEntry) -> PolicyEntry:
    if not _allows(mine) or not _allows(theirs):
        return mine if not _allows(mine) else theirs
    if mine.l7 and theirs.l7 and mine.l7 != theirs.l7:
        return NONE
    return mine if mine.l7 else theirs


def _allows(entry: PolicyEntry) -> bool:
    return entry.action == ACTION_ALLOW


def _protocols(one: Group, other: Group) -> list[int]:
    return sorted({slot.protocol for group in (one, other) for slot in group if slot.bits >= PROTOCOL_BITS})


def _everywhere(one: Group, other: Group) -> Iterator[Stretch]:
    yield 0, one.get(BASE, NONE), other.get(BASE, NONE)
    for protocol in _protocols(one, other):
        yield from _stretches(one, other, protocol)


def _stretches(one: Group, other: Group, protocol: int) -> Iterator[Stretch]:
    """(first port, entry of one, entry of the other), ascending, wherever one of them may change."""
    mine, theirs = _changes(one, protocol), _changes(other, protocol)
    here, there = mine[0], theirs[0]
    for port in sorted({*mine, *theirs}):
        here, there = mine.get(port, here), theirs.get(port, there)
        yield port, here, there


def _changes(group: Group, protocol: int) -> Mapping[int, PolicyEntry]:
    """Port → the entry that holds from there on."""
    prefixes = sorted(slot for slot in group if slot.protocol == protocol and slot.bits >= PROTOCOL_BITS)
    changes = {0: group.get(BASE, NONE)}
    open_: list[tuple[int, PolicyEntry]] = [(PORTS, changes[0])]
    for slot in prefixes:
        while open_[-1][0] <= slot.port:
            end, _ = open_.pop()
            changes[end] = open_[-1][1]
        open_.append((slot.port + (1 << (PROTOCOL_BITS + 16 - slot.bits)), group[slot]))
        changes[slot.port] = group[slot]
    while len(open_) > 1:
        end, _ = open_.pop()
        changes[end] = open_[-1][1]
    changes.pop(PORTS, None)
    return changes
