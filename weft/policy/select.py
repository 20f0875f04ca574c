"""Does a selector match? The one answer that decide(), the compiler and the explanations share."""

from __future__ import annotations

from collections.abc import Iterable

from weft.model.labels import ANY, CIDR, K8S, RESERVED, LabelSet
from weft.model.net import Prefix
from weft.model.objects import NamedPort
from weft.model.policy import (
    CidrSelector,
    LabelSelector,
    Operator,
    PeerPortSelector,
    PortMatch,
    Requirement,
    ServiceSelector,
)

WORLD_LABEL = RESERVED + ":world"
_ANY_PREFIX = ANY + ":"
ANY_SOURCES = (K8S, RESERVED, CIDR)
"""Sources that ``any:`` looks under."""


def matches(
    selector: LabelSelector | CidrSelector | PeerPortSelector | ServiceSelector,
    labels: LabelSet,
    address: bytes,
    named_ports: Iterable[NamedPort] = (),
) -> bool:
    """Whether ``selector`` means the peer with these labels, this 16-byte address and these named ports.

    A ServiceSelector means nobody until ``weft.policy.services.resolve`` has replaced it by what the service is.
    """
    match selector:
        case LabelSelector():
            return selects(selector, labels)
        case CidrSelector():
            return covers(selector, labels, address)
        case PeerPortSelector():
            wanted = (selector.name, selector.port, selector.protocol)
            return any((port.name, port.port, port.protocol) == wanted for port in named_ports)
        case ServiceSelector():
            raise TypeError(f"service selector {selector} must be resolved before matching")


def selects(selector: LabelSelector, labels: LabelSet) -> bool:
    """All requirements hold. What has no labels has no identity, and no label selector means it."""
    return bool(labels) and all(holds(requirement, labels) for requirement in selector.requirements)


def holds(requirement: Requirement, labels: LabelSet) -> bool:
    """Kubernetes' label selector semantics: NotIn also holds where the key is missing."""
    values = values_of(requirement.key, labels)
    match requirement.operator:
        case Operator.IN:
            return any(value in requirement.values for value in values)
        case Operator.NOT_IN:
            return not any(value in requirement.values for value in values)
        case Operator.EXISTS:
            return bool(values)
        case Operator.DOES_NOT_EXIST:
            return not values


def values_of(key: str, labels: LabelSet) -> tuple[str, ...]:
    """The values that ``labels`` have under ``key``; several only when ``any:`` finds it under several sources."""
    if not key.startswith(_ANY_PREFIX):
        return (labels[key],) if key in labels else ()
    bare = key[len(_ANY_PREFIX) :]
    spelled = [f"{source}:{bare}" for source in ANY_SOURCES]
    return tuple(labels[full] for full in spelled if full in labels)


def covers(selector: CidrSelector, labels: LabelSet, address: bytes) -> bool:
    """NetworkPolicy's ipBlock goes by the address alone; a CNP's CIDR never means a pod, a node or the unknown."""
    if not selector.covers_pods and WORLD_LABEL not in labels:
        return False
    return contains(selector.prefix, address) and not any(contains(hole, address) for hole in selector.excepts)


def contains(prefix: Prefix, address: bytes) -> bool:
    """Whether the 16-byte ``address`` lies in ``prefix``. An IPv6 prefix never contains an IPv4 address."""
    if prefix.bits < 96 and address.startswith(V4_MAPPED):
        return False
    shift = 128 - prefix.bits
    return int.from_bytes(address, "big") >> shift == int.from_bytes(prefix.address, "big") >> shift


V4_MAPPED = b"\0" * 10 + b"\xff\xff"


def port_matches(wanted: PortMatch, protocol: int, port: int, destination_ports: Iterable[NamedPort] = ()) -> bool:
    """``port``: the destination port, or ``type << 8 | code``. A named port is one of the destination pod's."""
    if wanted.protocol != protocol:
        return False
    if wanted.name:
        return any(
            named.name == wanted.name and named.protocol == protocol and named.port == port
            for named in destination_ports
        )
    return wanted.first <= port <= wanted.last
