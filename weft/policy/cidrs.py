"""CIDR selectors as nested prefixes: the deepest prefix that holds an address knows every selector that does.

The boundaries are the selectors' prefixes and their excepts; between two boundaries nothing can change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from weft.model.net import Prefix
from weft.model.policy import CidrSelector
from weft.policy.digests import SelectorKey

WORLD_IPV6 = Prefix(b"\0" * 16, 0)
WORLD_IPV4 = Prefix(b"\0" * 10 + b"\xff\xff" + b"\0" * 4, 96)

Content = frozenset[SelectorKey]
_NOTHING: Content = frozenset()


class Mark(NamedTuple):
    """What holds between a prefix and the next deeper ones."""

    content: Content
    flags: int


def nest(
    selectors: Mapping[SelectorKey, CidrSelector], flags: Mapping[Prefix, int] | None = None
) -> dict[Prefix, Mark]:
    """Every prefix that differs from the one around it, in ascending order, and always both worlds.

    ``flags`` are inherited by what lies inside their prefix. An IPv6 prefix around ::ffff:0:0/96 says nothing about
    IPv4 addresses (weft.policy.select.contains), so nesting begins anew there.
    """
    flags = flags or {}
    begins: dict[Prefix, set[SelectorKey]] = {prefix: set() for prefix in (WORLD_IPV6, WORLD_IPV4, *flags)}
    ends: dict[Prefix, set[SelectorKey]] = {}
    for key, selector in selectors.items():
        if any(holds(hole, selector.prefix) for hole in selector.excepts):
            continue
        begins.setdefault(selector.prefix, set()).add(key)
        for hole in selector.excepts:
            begins.setdefault(hole, set())
            ends.setdefault(hole, set()).add(key)
    found: dict[Prefix, Mark] = {}
    around: list[tuple[Prefix, Mark]] = []
    for prefix in sorted(begins):
        while around and not _inside(around[-1][0], prefix):
            around.pop()
        outer = around[-1][1] if around and prefix != WORLD_IPV4 else None
        content = ((outer.content if outer else _NOTHING) | begins[prefix]) - ends.get(prefix, _NOTHING)
        mark = Mark(content, flags.get(prefix, 0) | (outer.flags if outer else 0))
        around.append((prefix, mark))
        if mark != outer:
            found[prefix] = mark
    return found


def holds(outer: Prefix, inner: Prefix) -> bool:
    """Whether every address of ``inner`` is one of ``outer``'s; an IPv6 prefix holds no IPv4 one."""
    if outer.bits < WORLD_IPV4.bits <= inner.bits and inner.address.startswith(WORLD_IPV4.address[:12]):
        return False
    return _inside(outer, inner)


def _inside(outer: Prefix, inner: Prefix) -> bool:
    if outer.bits > inner.bits:
        return False
    shift = 128 - outer.bits
    return int.from_bytes(outer.address, "big") >> shift == int.from_bytes(inner.address, "big") >> shift


class Covering:
    """Longest-prefix match over ``nest``: which selectors hold an address."""

    def __init__(self, marks: Mapping[Prefix, Mark]) -> None:
        by_bits: dict[int, dict[int, Mark]] = {}
        for prefix, mark in marks.items():
            key = int.from_bytes(prefix.address, "big") >> (128 - prefix.bits)
            by_bits.setdefault(prefix.bits, {})[key] = mark
        self._by_bits = sorted(by_bits.items(), reverse=True)

    def at(self, address: bytes) -> Mark:
        """``address``: 16 bytes."""
        number = int.from_bytes(address, "big")
        for bits, marks in self._by_bits:
            mark = marks.get(number >> (128 - bits))
            if mark is not None:
                return mark
        raise LookupError("nest() always holds ::/0")
