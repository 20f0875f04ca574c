"""Which policy table decides what a pod sends and receives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from weft.model.desired import TABLE_OPEN
from weft.model.net import TableId
from weft.model.objects import NamedPort
from weft.model.policy import Direction, PeerPortSelector
from weft.plan.identities import Identities, Moves
from weft.plan.listeners import Listeners
from weft.plan.numbering import NumberSpace
from weft.plan.policies import Policies
from weft.policy.classes import Content, Partition
from weft.policy.digests import SelectorKey
from weft.policy.tables import Group, TableCompiler, TableContent

Ports = tuple[NamedPort, ...]


class Tables(NamedTuple):
    ingress: TableId
    egress: TableId


class Subjects:
    """Pods that the same policies select (and whose named ports agree) share their tables.

    ``compilers``: every table in use, by number.
    """

    def __init__(
        self, numbers: NumberSpace, peer_ports: Mapping[SelectorKey, PeerPortSelector], listeners: Listeners
    ) -> None:
        self._numbers = numbers
        self._peer_ports = peer_ports
        self._listeners = listeners
        self._policies: Policies | None = None
        self._partition = Partition()
        self._known: dict[tuple[Content, Ports], Tables] = {}
        self._digests: dict[TableId, bytes] = {}
        self.compilers: dict[TableId, TableCompiler] = {}

    def update(self, identities: Identities, policies: Policies, moves: Moves, touched: set[SelectorKey]) -> set[int]:
        """Positions of identities whose tables may be other ones now."""
        self._policies = policies
        for key in [key for key in self._known if not key[0].isdisjoint(touched)]:
            del self._known[key]
        moved = self._partition.update(identities.index, policies.subjects, added=moves.added, removed=moves.removed)
        return moved | self._partition.having(touched) if touched else moved

    def tables(self, pods: Iterable[tuple[int, Ports]]) -> list[Tables]:
        """The tables of pods, given as (position of the identity, named ports)."""
        keys = [(self._partition.content[position], ports) for position, ports in pods]
        missing = {key: self._contents(*key) for key in dict.fromkeys(keys) if key not in self._known}
        digests = {each.digest: each for pair in missing.values() for each in pair if not each.is_open}
        numbers = self._numbers.assign_all(digests)
        for digest, content in digests.items():
            number = TableId(numbers[digest])
            if number not in self.compilers:
                self.compilers[number] = TableCompiler(content, self._peer_ports, self._listeners.of_rules)
                self._digests[number] = digest
        for key, pair in missing.items():
            found = (TABLE_OPEN if each.is_open else TableId(numbers[each.digest]) for each in pair)
            self._known[key] = Tables(*found)
        return [self._known[key] for key in keys]

    def settle(self, used: set[TableId]) -> None:
        """Forget the tables that no pod has."""
        unused = self.compilers.keys() - used
        for number in unused:
            self.forget(number)
            del self.compilers[number]
            self._numbers.release(self._digests.pop(number))
        if unused:
            self._known = {key: pair for key, pair in self._known.items() if unused.isdisjoint(pair)}

    def forget(self, table: TableId, used: Iterable[Group] = ()) -> None:
        """What was computed for the table and is not among the groups in ``used``."""
        for listener in self.compilers[table].forget(used):
            self._listeners.release(listener)

    def _contents(self, subject: Content, ports: Ports) -> tuple[TableContent, TableContent]:
        assert self._policies is not None
        specs = [each for key in subject for each in self._policies.by_subject.get(key, ())]
        contents = []
        for direction in (Direction.INGRESS, Direction.EGRESS):
            rules = (rule for each in specs for rule in each.rules if rule.rule.direction is direction)
            isolated = any(direction in each.spec.default_deny for each in specs)
            contents.append(TableContent.of(rules, isolated, ports))
        return contents[0], contents[1]
