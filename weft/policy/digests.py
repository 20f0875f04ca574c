"""Digests of policy values: the same meaning has the same digest on every machine and after every restart."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

from weft.model.http import HttpMatch
from weft.model.policy import (
    CidrSelector,
    LabelSelector,
    PeerPortSelector,
    PortMatch,
    Rule,
    Selector,
    ServiceSelector,
)

DIGEST_BYTES = 16

SelectorKey = bytes
"""A selector's digest stands for it wherever sets of selectors are compared: hashing bytes costs next to nothing."""


def digest(*parts: str | bytes | int) -> bytes:
    """16 bytes; every part counts with its length, so that no two lists of parts run together."""
    state = blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        state.update(len(data).to_bytes(4, "big") + data)
    return state.digest()


def digest_of_set(digests: Iterable[bytes]) -> bytes:
    """Digest of a set, given those of its members."""
    return digest(*sorted(digests))


def selector_key(selector: Selector | PeerPortSelector) -> SelectorKey:
    match selector:
        case LabelSelector():
            requirements = (digest(r.key, r.operator.value, *r.values) for r in selector.requirements)
            return digest("labels", *requirements)
        case CidrSelector(prefix=prefix, excepts=excepts, covers_pods=covers_pods):
            holes = (digest(hole.address, hole.bits) for hole in excepts)
            return digest("cidr", prefix.address, prefix.bits, int(covers_pods), *holes)
        case PeerPortSelector():
            return digest("port", selector.name, selector.protocol, selector.port)
        case ServiceSelector():
            labels = selector_key(selector.labels) if selector.labels is not None else b""
            return digest("service", selector.namespace, selector.name, labels)


def rule_digest(rule: Rule) -> bytes:
    """Of all that makes two rules equal; where they were written is no part of it."""
    ref = rule.policy
    peers = "any" if rule.peers is None else digest(*(selector_key(peer) for peer in rule.peers))
    ports = "any" if rule.ports is None else digest(*(_port_digest(port) for port in rule.ports))
    name = (ref.kind, ref.namespace, ref.name, int(rule.direction), rule.action.value, rule.index)
    return digest("rule", *name, peers, ports)


def _port_digest(port: PortMatch) -> bytes:
    name = (port.protocol, port.first, port.last, port.name)
    return digest(*name) if port.http is None else digest(*name, *map(_http_digest, port.http))


def _http_digest(match: HttpMatch) -> bytes:
    headers = (digest(h.name, _text(h.value), _text(h.mismatch and h.mismatch.value)) for h in match.headers)
    return digest(match.method, match.path, match.host, *headers)


def _text(value: str | None) -> bytes:
    return b"" if value is None else b"=" + value.encode()
