"""Overlapping port rules → the fewest longest-prefix-match entries that say the same.

A verdict is an integer here: the position of the deciding rule in precedence order (deny before allow, then
``rule_order``), so the smallest that matches wins.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import pairwise
from typing import NamedTuple, TypeVar

PORT_BITS = 16
PORTS = 1 << PORT_BITS

T = TypeVar("T", bound=Hashable)


class Claim(NamedTuple):
    """A rule's claim on ports first..last (inclusive) of a protocol."""

    first: int
    last: int
    verdict: int


class PortPrefix(NamedTuple):
    """Ports whose first ``bits`` bits are those of ``port``; 0 bits = every port."""

    port: int
    bits: int
    verdict: int


def flatten_ports(claims: Iterable[Claim], otherwise: int) -> list[PortPrefix]:
    """The fewest prefixes that give every port its verdict, for a table whose outer answer is ``otherwise``."""
    return encode(_segments(claims, otherwise), otherwise)


def _segments(claims: Iterable[Claim], otherwise: int) -> list[tuple[int, int]]:
    """[(first port, verdict)], ascending, from 0 on: the smallest verdict that claims each stretch of ports."""
    starts = sorted(claims)
    edges = sorted({0, *(c.first for c in starts), *(c.last + 1 for c in starts if c.last + 1 < PORTS)})
    live: list[tuple[int, int]] = []
    segments: list[tuple[int, int]] = []
    at = 0
    for edge in edges:
        while at < len(starts) and starts[at].first == edge:
            heappush(live, (starts[at].verdict, starts[at].last))
            at += 1
        while live and live[0][1] < edge:
            heappop(live)
        verdict = min(otherwise, live[0][0]) if live else otherwise
        if not segments or segments[-1][1] != verdict:
            segments.append((edge, verdict))
    return segments


def collect(claims: Iterable[tuple[int, int, T]]) -> Iterator[tuple[int, int, frozenset[T]]]:
    """(first, last, everything that claims them): stretches of ports, ascending, that the same ``claims`` cover."""
    starts = list(claims)
    edges = sorted({edge for first, last, _ in starts for edge in (first, last + 1)})
    for first, end in pairwise(edges):
        if live := frozenset(what for start, last, what in starts if start <= first <= last):
            yield first, end - 1, live


class _Node(NamedTuple):
    best: frozenset[int]
    halves: tuple[_Node, _Node] | None


def encode(segments: Sequence[tuple[int, int]], otherwise: int) -> list[PortPrefix]:
    """Stretches [(first port, verdict)], from port 0 on, as the fewest prefixes.

    Optimal routing table construction (Draves and others, INFOCOM 1999) over 16 bits.
    """
    prefixes: list[PortPrefix] = []

    def gather(low: int, bits: int, first: int, end: int) -> _Node:
        """The verdicts that need the fewest entries below; segments first..end-1 are those that reach in here."""
        if end - first == 1:
            return _Node(frozenset((segments[first][1],)), None)
        middle = low + (PORTS >> (bits + 1))
        split = next((i for i in range(first, end) if segments[i][0] >= middle), end)
        right_first = split if split < end and segments[split][0] == middle else split - 1
        left, right = gather(low, bits + 1, first, split), gather(middle, bits + 1, right_first, end)
        return _Node((left.best & right.best) or (left.best | right.best), (left, right))

    def place(node: _Node, low: int, bits: int, inherited: int) -> None:
        if inherited not in node.best:
            inherited = min(node.best)
            prefixes.append(PortPrefix(low, bits, inherited))
        if node.halves:
            place(node.halves[0], low, bits + 1, inherited)
            place(node.halves[1], low + (PORTS >> (bits + 1)), bits + 1, inherited)

    place(gather(0, 0, 0, len(segments)), 0, 0, otherwise)
    return prefixes
