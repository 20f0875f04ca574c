"""Address blocks as written → CidrSelector."""

from __future__ import annotations

import ipaddress
import re

from weft.model.net import IPNetwork, Prefix
from weft.model.policy import CidrSelector
from weft.policy.spot import Spot

_BITS = re.compile(r"/(0|[1-9][0-9]{0,2})")


def read_network(text: str, spot: Spot, *, bare_address: bool = False) -> IPNetwork:
    """``10.0.0.0/8``; with ``bare_address`` also ``10.1.2.3``. Host bits are cut off, as Kubernetes and Cilium do."""
    address, slash, _ = text.partition("/")
    expected = "expected a block such as 10.0.0.0/8 or fd00::/64"
    if not slash and not bare_address:
        raise spot.error(f'"{text}" has no prefix length', expected)
    if slash and not _BITS.fullmatch(text[len(address) :]):
        raise spot.error(f'"{text}" is not an address block', expected)
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise spot.error(f'"{text}" is not an address block', expected) from None
    if "%" in text:
        raise spot.error(f'"{text}" names an interface', expected)
    if isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None:
        raise spot.error(f'"{text}" is an IPv4 block in IPv6 clothes', "write it as IPv4")
    return network


def read_block(
    cidr: str, excepts: tuple[str, ...], spot: Spot, *, covers_pods: bool = False, strictly: bool = False
) -> CidrSelector:
    """``cidr`` with ``except``: each must lie inside it, ``strictly`` = and be smaller (Kubernetes)."""
    network = read_network(cidr, spot.at("cidr"))
    holes = []
    for index, text in enumerate(excepts):
        here = spot.at("except", index)
        hole = read_network(text, here)
        inside = hole.version == network.version and hole.subnet_of(network)  # type: ignore[arg-type]
        if not inside or (strictly and hole == network):
            raise here.error(f"{text} is not inside {cidr}", "an exception must be a part of its block")
        holes.append(Prefix.of(hole))
    return CidrSelector(Prefix.of(network), tuple(sorted(set(holes))), covers_pods)
