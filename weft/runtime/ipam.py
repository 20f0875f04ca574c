"""Addresses for pods (and cluster IPs for services) out of one range per family.

Both families are given in step: the n-th address of the IPv4 range and the n-th of the IPv6 one belong together, so
that people recognise a pod by either. What is in use is what the store says (``claim``); nothing else is kept.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable, Iterable, Sequence

from weft.model.net import IPAddress, IPNetwork


class AddressesExhausted(RuntimeError):
    """Every address of the ranges is in use."""


class AddressTaken(ValueError):
    """A wanted address is another's, reserved, or outside of the ranges."""


class AddressPool:
    """``ranges``: at most one network per family. ``reserved``: addresses that are never given (the node's own).

    Network and (IPv4) broadcast addresses are never given. A released address is reused as late as possible: first
    those that were never given, in ascending order from the last given one, then the one released longest ago.
    """

    def __init__(self, ranges: Sequence[IPNetwork], reserved: Iterable[IPAddress] = ()) -> None:
        if not ranges or len({network.version for network in ranges}) != len(ranges):
            raise ValueError(f"address ranges {', '.join(map(str, ranges)) or '(none)'}: give one per family")
        self._ranges = tuple(sorted(ranges, key=lambda network: network.version))
        self._size = min(self._hosts(network) for network in self._ranges)
        self._reserved = {self._index(a) for a in reserved if self._holds(a) and 1 <= self._index(a) <= self._size}
        self._owner: dict[int, Hashable] = {}
        self._slots: dict[Hashable, set[int]] = {}
        self._cursor = 1
        self._released: dict[int, None] = {}

    @staticmethod
    def _hosts(network: IPNetwork) -> int:
        """Highest host part that may be given, at most 2**32 (host parts start at 1)."""
        return min(network.num_addresses - (2 if network.version == 4 else 1), 1 << 32)

    def _holds(self, address: IPAddress) -> bool:
        return any(address.version == network.version and address in network for network in self._ranges)

    def _index(self, address: IPAddress) -> int:
        network = next(network for network in self._ranges if network.version == address.version)
        return int(address) - int(network.network_address)

    def claim(self, owner: Hashable, addresses: Sequence[IPAddress]) -> None:
        """Records what the store says, or what a manifest asks for. Errors: AddressTaken. Repeating is fine."""
        for address in addresses:
            if not self._holds(address) or not 1 <= self._index(address) <= self._size:
                spelled = " and ".join(map(str, self._ranges))
                raise AddressTaken(f"{address} for {owner}: not a host address of {spelled}")
            index = self._index(address)
            if index in self._reserved:
                raise AddressTaken(f"{address} for {owner}: the node's own address")
            if self._owner.get(index, owner) != owner:
                raise AddressTaken(f"{address} for {owner}: belongs to {self._owner[index]}")
        for index in map(self._index, addresses):
            self._take(index, owner)

    def allocate(self, owner: Hashable) -> tuple[IPAddress, ...]:
        """One address per family. Errors: AddressesExhausted. An owner that has one gets the same again."""
        held = self._slots.get(owner)
        index = min(held) if held else self._next()
        self._take(index, owner)
        return tuple(self._address(network, index) for network in self._ranges)

    def release(self, owner: Hashable) -> None:
        """Gives back everything that the owner has; an unknown owner is not an error."""
        for index in sorted(self._slots.pop(owner, ())):
            del self._owner[index]
            self._released[index] = None

    @staticmethod
    def _address(network: IPNetwork, index: int) -> IPAddress:
        return ipaddress.ip_address(int(network.network_address) + index)

    def _take(self, index: int, owner: Hashable) -> None:
        self._owner[index] = owner
        self._slots.setdefault(owner, set()).add(index)
        self._released.pop(index, None)
        # After a restart nobody knows which of the lower ones were released a moment ago: go on above.
        self._cursor = max(self._cursor, index + 1)

    def _next(self) -> int:
        if len(self._owner) + len(self._reserved) + len(self._released) < self._size:
            while True:
                self._cursor = self._cursor if self._cursor <= self._size else 1
                if not any(self._cursor in group for group in (self._owner, self._reserved, self._released)):
                    return self._cursor
                self._cursor += 1
        if self._released:
            return next(iter(self._released))
        spelled = " and ".join(map(str, self._ranges))
        raise AddressesExhausted(
            f"{spelled}: all {len(self._owner)} addresses are in use; delete pods or give a larger range"
        )
