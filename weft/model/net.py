"""Numbers and addresses, typed so that one is never mistaken for another.

Inside weft every address is 128 bits wide (DESIGN decision 2): IPv4 is ``::ffff:a.b.c.d``, an IPv4 prefix ``/n`` is
``/(96+n)``. People and manifests only ever see the ordinary spelling.
"""

from __future__ import annotations

import ipaddress
from typing import NewType

IdentityId = NewType("IdentityId", int)
ClassId = NewType("ClassId", int)
TableId = NewType("TableId", int)
RuleId = NewType("RuleId", int)
EndpointId = NewType("EndpointId", int)
Revision = NewType("Revision", int)

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

TCP, UDP, SCTP, ICMP, ICMPV6 = 6, 17, 132, 1, 58
PROTOCOL_NUMBERS = {"TCP": TCP, "UDP": UDP, "SCTP": SCTP, "ICMP": ICMP, "ICMPv6": ICMPV6}
PROTOCOL_NAMES = {number: name for name, number in PROTOCOL_NUMBERS.items()}

_BYTES = [bytes([number]) for number in range(256)]
_V4_MAPPED = b"\0" * 10 + b"\xff\xff"


def to_wide(address: IPAddress) -> bytes:
    """16 bytes, network order; IPv4 mapped."""
    return address.packed if address.version == 6 else _V4_MAPPED + address.packed


def from_wide(wide: bytes) -> IPAddress:
    """The ordinary address that 16 mapped bytes stand for."""
    if wide.startswith(_V4_MAPPED):
        return ipaddress.IPv4Address(wide[12:])
    return ipaddress.IPv6Address(wide)


class Prefix(bytes):
    """A CIDR in wide form: 16 bytes with host bits zero, and 0..128 bits; ordered by both.

    There is one for each address of the cluster, so it is the 17 bytes themselves: small, and hashed but once.
    """

    __slots__ = ()

    def __new__(cls, address: bytes, bits: int) -> Prefix:
        return super().__new__(cls, address + _BYTES[bits])

    @property
    def address(self) -> bytes:
        return self[:16]

    @property
    def bits(self) -> int:
        return self[16]

    @classmethod
    def of(cls, network: IPNetwork) -> Prefix:
        extra = 0 if network.version == 6 else 96
        return cls(to_wide(network.network_address), network.prefixlen + extra)

    @classmethod
    def host(cls, address: IPAddress) -> Prefix:
        return cls(to_wide(address), 128)

    def network(self) -> IPNetwork:
        """The ordinary spelling. ``::/0`` stays IPv6; ``::ffff:0:0/96`` becomes ``0.0.0.0/0``."""
        if self.bits >= 96 and self.address.startswith(_V4_MAPPED):
            return ipaddress.IPv4Network((self.address[12:], self.bits - 96))
        return ipaddress.IPv6Network((self.address, self.bits))

    def __str__(self) -> str:
        return str(self.network())

    def __repr__(self) -> str:
        return f"Prefix({self})"
