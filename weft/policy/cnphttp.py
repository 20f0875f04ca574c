"""toPorts.rules of a Cilium rule → HttpMatch.

Sources: Cilium's api.PortRuleHTTP and api.HeaderMatch, its rule_validation.go (what is refused) and the translation in
pkg/envoy (what each field is compared with).
"""

from __future__ import annotations

import re

from msgspec import UNSET

from weft.model.http import MAX_MISMATCH_ACTIONS, HeaderMatch, HttpMatch, Mismatch
from weft.model.kinds.cilium import HeaderMatchShape, HttpRule, PortRule
from weft.model.policy import Action
from weft.policy import regex
from weft.policy.later import refuse_later
from weft.policy.spot import Spot

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""RFC 9110, 5.6.2: token."""
_UNSENDABLE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""RFC 9110, 5.5: no field value has them."""
_PSEUDO = {":path": "path", ":method": "method", ":authority": "host"}


def http_of(written: PortRule, spot: Spot, action: Action) -> tuple[HttpMatch, ...] | None:
    """The requests that a toPorts element allows; None: its ports whole. ``spot``: the element's."""
    if written.rules is UNSET:
        return None
    here = spot.at("rules")
    if action is Action.DENY:
        raise here.error("a deny rule cannot look into requests", "leave rules out to deny the whole port")
    refuse_later(written.rules, here)
    if not written.rules.http:
        return None
    for index, port in enumerate(() if written.ports is UNSET else written.ports):
        at = spot.at("ports", index)
        if port.protocol != "TCP":
            said = port.protocol or "ANY"
            raise at.at("protocol").error(f"http rules can only apply to TCP (not {said})", "write protocol: TCP")
        if port.port == "0":
            raise at.at("port").error("http rules and every port of a protocol", "name the ports that speak HTTP")
    found = (_match(rule, here.at("http", index)) for index, rule in enumerate(written.rules.http))
    return tuple(dict.fromkeys(found))


def _match(written: HttpRule, spot: Spot) -> HttpMatch:
    headers = [_header(text, spot.at("headers", index)) for index, text in enumerate(written.headers)]
    headers += [_header_match(one, spot.at("headerMatches", n)) for n, one in enumerate(written.header_matches)]
    actions = sum(one.mismatch is not None for one in headers)
    if actions > MAX_MISMATCH_ACTIONS:
        raise spot.at("headerMatches").error(
            f"{actions} headers with a mismatch action in one rule, at most {MAX_MISMATCH_ACTIONS} are possible",
            "each of them doubles what Envoy has to tell apart",
        )
    return HttpMatch(
        regex.check(written.method, spot.at("method")),
        regex.check(written.path, spot.at("path")),
        regex.check(written.host, spot.at("host")),
        tuple(dict.fromkeys(headers)),
        spot.path,
    )


def _header(text: str, spot: Spot) -> HeaderMatch:
    """``Name: value`` or ``Name``; the first space ends the name, and its colon may be missing, as in Cilium."""
    name, space, value = text.partition(" ")
    if space:
        name = name.rstrip(":")
    elif ":" in name.lstrip(":"):
        raise spot.error(
            f'"{text}" names a header with a colon in it',
            'write a space after the colon ("Name: value"), or the name alone if any value will do',
        )
    return HeaderMatch(_name(name, spot), _value(value, spot) if space else None)


def _header_match(written: HeaderMatchShape, spot: Spot) -> HeaderMatch:
    refuse_later(written, spot)
    name = _name(written.name, spot.at("name"))
    value = _value(written.value, spot.at("value")) if written.value else None
    if not written.mismatch:
        return HeaderMatch(name, value)
    known = {each.value: each for each in Mismatch}
    if written.mismatch not in known:
        raise spot.at("mismatch").unknown("mismatch action", written.mismatch, known)
    mismatch = known[written.mismatch]
    if mismatch in (Mismatch.ADD, Mismatch.REPLACE) and value is None:
        raise spot.error(f"mismatch: {mismatch.value} without a value", "write the value that the request shall have")
    return HeaderMatch(name, value, mismatch)


def _name(name: str, spot: Spot) -> str:
    if name.lower() in _PSEUDO:
        raise spot.error(f"{name} is no header that a rule can ask for", f"use {_PSEUDO[name.lower()]}")
    if not _HEADER_NAME.fullmatch(name):
        raise spot.error(f'"{name}" is not the name of a header', "letters, digits and hyphens, as in X-My-Header")
    return name.lower()


def _value(value: str, spot: Spot) -> str:
    if not value or value != value.strip(" \t") or _UNSENDABLE.search(value):
        raise spot.error(
            f"{value!r} is the value of no header: it would match no request",
            "a value is not empty, neither begins nor ends with a space, and has no control characters",
        )
    return value
