"""The zone in memory: parsed from the file, asked by name."""

from __future__ import annotations

import ipaddress
import re
import sys
from dataclasses import dataclass, field
from typing import NamedTuple

_V4_LABEL = re.compile(r"\d{1,3}(-\d{1,3}){3}")


class Record(NamedTuple):
    type: str
    data: str


class ZoneError(ValueError):
    """A zone file that cannot be served; names the line."""


@dataclass(slots=True)
class Zone:
    """Names are lower case and without the last dot."""

    origin: str = ""
    ttl: int = 0
    serial: int = 0
    networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = field(default_factory=list)
    records: dict[str, tuple[Record, ...]] = field(default_factory=dict)
    _above: set[str] = field(default_factory=set)
    """Names that have no records but others below them: they exist (RFC 4592, 2.2.2)."""
    _namespaces: set[str] = field(default_factory=set)

    def holds(self, name: str) -> bool:
        """Whether the name is the cluster's, and nobody else's to answer."""
        if name == self.origin or name.endswith("." + self.origin):
            return True
        address = reverse_address(name)
        return address is not None and any(address in network for network in self.networks)

    def apex(self, name: str) -> str:
        """The zone that a name which ``holds`` is in: the cluster's domain, or the tree of reverse names."""
        for tree in ("in-addr.arpa", "ip6.arpa"):
            if name.endswith("." + tree):
                return tree
        return self.origin

    def find(self, name: str) -> tuple[Record, ...] | None:
        """Records of every type; empty: the name exists without any; None: it does not exist."""
        if name in self.records:
            return self.records[name]
        if name == self.origin or name in self._above:
            return ()
        return self._pod(name)

    def _pod(self, name: str) -> tuple[Record, ...] | None:
        label, _, rest = name.partition(".")
        namespace, _, tail = rest.partition(".")
        if tail != f"pod.{self.origin}" or namespace not in self._namespaces:
            return None
        spelled = label.replace("-", "." if _V4_LABEL.fullmatch(label) else ":")
        try:
            address = ipaddress.ip_address(spelled)
        except ValueError:
            return None
        return (Record("A" if address.version == 4 else "AAAA", str(address)),)


def reverse_address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address of a whole ``in-addr.arpa`` or ``ip6.arpa`` name."""
    labels = name.split(".")
    try:
        if labels[-2:] == ["in-addr", "arpa"] and len(labels) == 6:
            return ipaddress.IPv4Address(".".join(reversed(labels[:4])))
        if labels[-2:] == ["ip6", "arpa"] and len(labels) == 34:
            return ipaddress.IPv6Address(int("".join(reversed(labels[:32])), 16).to_bytes(16, "big"))
    except ValueError:
        pass
    return None


def parse(text: str, serial: int) -> Zone:
    """Errors: ZoneError."""
    zone = Zone(serial=serial)
    records: dict[str, list[Record]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        first, _, rest = line.partition(" ")
        try:
            if first.startswith("$"):
                _directive(zone, first, rest)
            else:
                type_, _, data = rest.partition(" ")
                records.setdefault(first, []).append(Record(sys.intern(type_.upper()), data))
        except ValueError as error:
            raise ZoneError(f"line {number}: {line}: {error}") from None
    if not zone.origin or not zone.ttl:
        raise ZoneError("$ORIGIN or $TTL is missing")
    zone.records = {name: tuple(each) for name, each in records.items()}
    for name in zone.records:
        _note_above(zone, name)
    for namespace in zone._namespaces:
        zone._above |= {f"{namespace}.{tree}.{zone.origin}" for tree in ("svc", "pod")}
    zone._above |= {f"{tree}.{zone.origin}" for tree in ("svc", "pod")}
    return zone


def _directive(zone: Zone, name: str, value: str) -> None:
    if name == "$origin":
        zone.origin = value
    elif name == "$ttl":
        zone.ttl = int(value)
    elif name == "$network":
        zone.networks.append(ipaddress.ip_network(value))
    elif name == "$namespace":
        zone._namespaces.add(value)
    else:
        raise ValueError("unknown directive")


def _note_above(zone: Zone, name: str) -> None:
    while name := name.partition(".")[2]:
        if name in zone._above or name == zone.origin:
            return
        zone._above.add(name)
