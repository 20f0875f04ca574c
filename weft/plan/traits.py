"""What tells apart pods with the same labels."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from weft.model.net import Prefix
from weft.model.objects import NamedPort, Workload
from weft.model.policy import CidrSelector, PeerPortSelector
from weft.plan.identities import Identities
from weft.plan.policies import Universe
from weft.policy.cidrs import Covering, nest
from weft.policy.digests import SelectorKey, selector_key
from weft.policy.tables import ClassContent

NOTHING: ClassContent = frozenset()


class Traits:
    """Which address blocks that cover pods hold an address, and which of the ports that egress rules name a pod has.

    ``peer_ports`` is live: the meaning of every such port selector in force.
    """

    def __init__(self) -> None:
        self.peer_ports: dict[SelectorKey, PeerPortSelector] = {}
        self._keys: dict[tuple[int, str, int], SelectorKey] = {}
        self._names: frozenset[tuple[int, str]] = frozenset()
        self._blocks: dict[SelectorKey, CidrSelector] = {}
        self._covering = Covering(nest({}))
        self._sorted: list[Prefix] | None = None

    def update(self, universe: Universe, identities: Identities, pods_changed: bool) -> set[Prefix]:
        """Addresses whose traits may be other ones now."""
        affected: set[Prefix] = set()
        if pods_changed:
            self._sorted = None
        blocks = {key: cidr for key, cidr in universe.cidrs.items() if cidr.covers_pods}
        if changed := blocks.keys() ^ self._blocks.keys():
            known = {**self._blocks, **blocks}
            for key in changed:
                affected.update(self._inside(known[key].prefix, identities))
            self._covering = Covering(nest(blocks))
        if universe.peer_ports != self._names:
            names = universe.peer_ports ^ self._names
            affected.update(
                address
                for address, pod in identities.holder.items()
                if any((port.protocol, port.name) in names for port in pod.ports)
            )
            for key in [key for key, port in self.peer_ports.items() if (port.protocol, port.name) in names]:
                del self.peer_ports[key]
            self._keys.clear()
        self._blocks, self._names = blocks, universe.peer_ports
        return affected

    def of(self, address: Prefix, pod: Workload | None) -> ClassContent:
        found = self._covering.at(address.address).content if self._blocks else NOTHING
        if self._names and pod is not None:
            for port in pod.ports:
                if (port.protocol, port.name) in self._names:
                    found |= {self._key(port)}
        return found

    def _key(self, port: NamedPort) -> SelectorKey:
        known = (port.protocol, port.name, port.port)
        if known not in self._keys:
            selector = PeerPortSelector(port.name, port.protocol, port.port)
            self._keys[known] = selector_key(selector)
            self.peer_ports[self._keys[known]] = selector
        return self._keys[known]

    @property
    def any(self) -> bool:
        return bool(self._blocks or self._names)

    def _inside(self, block: Prefix, identities: Identities) -> Iterable[Prefix]:
        if self._sorted is None:
            self._sorted = sorted(identities.holder)
        size = 1 << (128 - block.bits)
        last = (int.from_bytes(block.address, "big") | (size - 1)).to_bytes(16, "big")
        first = bisect_left(self._sorted, Prefix(block.address, 0))
        return self._sorted[first : bisect_right(self._sorted, Prefix(last, 129))]
