"""Ports and ICMP types as written → PortMatch."""

from __future__ import annotations

import re

from msgspec import UnsetType

from weft.model.kinds.cilium import IcmpField, PortProtocol
from weft.model.kinds.networking import NetworkPolicyPort
from weft.model.net import ICMP, ICMPV6, PROTOCOL_NUMBERS, SCTP, TCP, UDP
from weft.model.policy import PortMatch
from weft.policy.icmp import ICMP_TYPES
from weft.policy.spot import Spot, nearest

_CILIUM_PROTOCOLS = {**{name: (number,) for name, number in PROTOCOL_NUMBERS.items()}, "ANY": (TCP, UDP, SCTP)}
"""Cilium: "any protocol" of a port means those that have ports."""
_KUBERNETES_PROTOCOLS = {"TCP": TCP, "UDP": UDP, "SCTP": SCTP}
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9](-?[a-z0-9])*")
"""An IANA service name (RFC 6335 5.1) in lower case."""
_ALL_PORTS = (0, 65535)
_FAMILIES = {"IPv4": ICMP, "IPv6": ICMPV6}


def cilium_port(written: PortProtocol, spot: Spot) -> tuple[PortMatch, ...]:
    """An element of toPorts.ports, once for each protocol it means."""
    if written.protocol not in (*_CILIUM_PROTOCOLS, ""):
        raise spot.at("protocol").unknown("protocol", written.protocol, _CILIUM_PROTOCOLS)
    protocols = _CILIUM_PROTOCOLS[written.protocol or "ANY"]
    here = spot.at("port")
    if not written.port.isdigit():
        name = _name(written.port.lower(), written.end_port, spot)
        if not set(protocols) <= {TCP, UDP, SCTP}:
            raise spot.at("protocol").error(f"{written.protocol} has no ports", "use icmps with a type")
        return tuple(PortMatch(protocol, 0, 0, name) for protocol in protocols)
    if not written.port.isascii() or (written.port != "0" and written.port.startswith("0")):
        raise here.error(f'"{written.port}" could be read as octal', "write the port without leading zeros")
    number = _number(int(written.port), here, lowest=0)
    if number == 0:
        if not isinstance(written.end_port, UnsetType):
            raise spot.at("endPort").error('port "0" already means every port', "leave endPort out")
        return tuple(PortMatch(protocol, *_ALL_PORTS) for protocol in protocols)
    if not set(protocols) <= {TCP, UDP, SCTP}:
        raise here.error(f"{written.protocol} has no ports", 'use icmps with a type, or port "0" for every type')
    last = _last(number, written.end_port, spot)
    return tuple(PortMatch(protocol, number, last) for protocol in protocols)


def kubernetes_port(written: NetworkPolicyPort, spot: Spot) -> PortMatch:
    """An element of a NetworkPolicy's ports."""
    if written.protocol not in _KUBERNETES_PROTOCOLS:
        raise spot.at("protocol").unknown("protocol", written.protocol, _KUBERNETES_PROTOCOLS)
    protocol = _KUBERNETES_PROTOCOLS[written.protocol]
    match written.port:
        case int():
            number = _number(written.port, spot.at("port"), lowest=1)
            return PortMatch(protocol, number, _last(number, written.end_port, spot))
        case str():
            if written.port.isdigit():
                raise spot.at("port").error(f'"{written.port}" is text, so a port\'s name', "write it without quotes")
            return PortMatch(protocol, 0, 0, _name(written.port, written.end_port, spot))
    if not isinstance(written.end_port, UnsetType):
        raise spot.at("endPort").error("endPort without port", "name the first port of the range in port")
    return PortMatch(protocol, *_ALL_PORTS)


def icmp_type(written: IcmpField, spot: Spot) -> PortMatch:
    """One ICMP type with all its codes."""
    if written.family not in _FAMILIES:
        raise spot.at("family").unknown("family", written.family, _FAMILIES)
    names = ICMP_TYPES[written.family]
    number = names.get(written.type, written.type) if isinstance(written.type, str) else written.type
    if isinstance(number, str) and number.isdigit():
        number = int(number)
    if isinstance(number, str):
        near = nearest(number, names)
        remedy = f'did you mean "{near}"?' if near else f"a number, or one of {', '.join(names)}"
        raise spot.at("type").error(f'{written.family} has no ICMP type "{number}"', remedy)
    if not 0 <= number <= 255:
        raise spot.at("type").error(f"expected an ICMP type from 0 to 255, got {number}")
    return PortMatch(_FAMILIES[written.family], number << 8, number << 8 | 255)


def _name(name: str, end_port: int | UnsetType, spot: Spot) -> str:
    if len(name) > 15 or not _PORT_NAME.fullmatch(name):
        raise spot.at("port").error(
            f'"{name}" is neither a port number nor a port name',
            "a name has up to 15 lower-case letters, digits and single hyphens, and at least one letter",
        )
    if not isinstance(end_port, UnsetType):
        raise spot.at("endPort").error("a named port has no range", "write the first port as a number")
    return name


def _number(number: int, spot: Spot, lowest: int) -> int:
    if not lowest <= number <= 65535:
        raise spot.error(f"expected a port from {lowest} to 65535, got {number}")
    return number


def _last(first: int, end_port: int | UnsetType, spot: Spot) -> int:
    if isinstance(end_port, UnsetType):
        return first
    if not first <= end_port <= 65535:
        raise spot.at("endPort").error(f"expected a port from {first} (port) to 65535, got {end_port}")
    return end_port
