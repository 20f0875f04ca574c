"""Filter flags → FlowFilters, as the Hubble CLI builds them (hubble/cmd/observe/flows_filter.go of cilium/cilium).

``--pod x`` means "from x or to x": two filters, *left* and *right*, that differ in that field and share all others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from weft.flows import spelling
from weft.flows.filters import drop_reasons, namespaced, network, port, protocol_numbers, tcp_mask
from weft.flows.httpfilters import expression, header, status_code
from weft.flows.query import EventTypeFilter, FlowFilter, WorkloadFilter
from weft.flows.selector import parse_selector
from weft.model.net import IdentityId

FILTER_FLAGS: tuple[tuple[str, str, str, str], ...] = (
    ("verdict", "", "VERDICT", f"Show only flows with this verdict: {', '.join(spelling.VERDICTS)}"),
    ("type", "t", "TYPE[:SUBTYPE]", "Show only these events: drop, l7, policy-verdict, trace[:to-endpoint|to-stack]"),
    ("drop-reason-desc", "", "REASON", "Show only drops for this reason (POLICY_DENIED; docs/VERDICTS.md)"),
    ("protocol", "", "NAME", "Show only this protocol: tcp, udp, sctp, icmp, icmpv4, icmpv6, http"),
    ("http-status", "", "STATUS", "Show only requests answered so: 404, or the beginning (4+, 50+)"),
    ("http-method", "", "METHOD", "Show only requests with this method, in any case (get)"),
    ("http-path", "", "REGEX", "Show only requests in whose path this is found (RE2; ^ and $ anchor it)"),
    ("http-url", "", "REGEX", "Show only requests in whose URL this is found (RE2)"),
    ("http-header", "", "NAME:VALUE", "Show only requests with this header, if the configuration lets it be kept"),
    ("trace-id", "", "ID", "Show only requests of this W3C trace"),
    ("tcp-flags", "", "FLAGS", "Show only TCP packets with all of these flags (syn,ack)"),
    ("traffic-direction", "", "DIRECTION", "Show only ingress or egress"),
    ("reply", "", "", "Show only replies"),
    ("ipv4", "4", "", "Show only IPv4"),
    ("ipv6", "6", "", "Show only IPv6"),
    ("ip-version", "", "VERSION", "Show only v4, v6 or none (frames that are not IP)"),
    ("pod", "", "[NS/]NAME", "From or to pods whose name begins with NAME; without a namespace: default"),
    ("from-pod", "", "[NS/]NAME", "From these pods"),
    ("to-pod", "", "[NS/]NAME", "To these pods"),
    ("namespace", "n", "NS", "From or to pods of this namespace"),
    ("from-namespace", "", "NS", "From pods of this namespace"),
    ("to-namespace", "", "NS", "To pods of this namespace"),
    ("all-namespaces", "A", "", "From or to pods of any namespace"),
    ("from-all-namespaces", "", "", "From pods of any namespace"),
    ("to-all-namespaces", "", "", "To pods of any namespace"),
    ("label", "l", "SELECTOR", "From or to endpoints with these labels (app=web,tier!=db, reserved:world)"),
    ("from-label", "", "SELECTOR", "From endpoints with these labels"),
    ("to-label", "", "SELECTOR", "To endpoints with these labels"),
    ("service", "", "[NS/]NAME", "From or to the address of a service"),
    ("from-service", "", "[NS/]NAME", "From the address of a service"),
    ("to-service", "", "[NS/]NAME", "To the address of a service"),
    ("workload", "", "[KIND/]NAME", "From or to pods of this workload"),
    ("from-workload", "", "[KIND/]NAME", "From pods of this workload"),
    ("to-workload", "", "[KIND/]NAME", "To pods of this workload"),
    ("ip", "", "IP|CIDR", "From or to this address or range"),
    ("from-ip", "", "IP|CIDR", "From this address or range"),
    ("to-ip", "", "IP|CIDR", "To this address or range"),
    ("port", "", "PORT", "From or to this port"),
    ("from-port", "", "PORT", "From this port"),
    ("to-port", "", "PORT", "To this port"),
    ("identity", "", "ID", "From or to this identity: a number, or a reserved name (world)"),
    ("from-identity", "", "ID", "From this identity"),
    ("to-identity", "", "ID", "To this identity"),
    ("node-name", "", "PATTERN", "Seen on these nodes (shell pattern)"),
    ("uuid", "", "UUID", "The flow with this uuid"),
)
"""(name, short, value, help)"""

_CONFLICTS = (
    ("from-ip", "ip", "from-namespace", "namespace", "from-all-namespaces", "all-namespaces"),
    ("from-ip", "ip", "from-pod", "pod"),
    ("to-ip", "ip", "to-namespace", "namespace", "to-all-namespaces", "all-namespaces"),
    ("to-ip", "ip", "to-pod", "pod"),
    ("to-pod", "namespace", "all-namespaces"),
    ("from-pod", "namespace", "all-namespaces"),
    ("to-service", "namespace", "all-namespaces"),
    ("from-service", "namespace", "all-namespaces"),
    ("label", "from-label"),
    ("label", "to-label"),
    ("service", "from-service"),
    ("service", "to-service"),
    ("port", "to-port"),
    ("port", "from-port"),
    ("identity", "to-identity"),
    ("identity", "from-identity"),
    ("workload", "to-workload"),
    ("workload", "from-workload"),
)
"""Of each group only one flag may be used (Hubble's list, without what weft does not have)."""


@dataclass(slots=True)
class _Side:
    """The filters of the whitelist, or of the blacklist."""

    left: dict[str, list[Any]] = field(default_factory=dict)
    right: dict[str, list[Any]] = field(default_factory=dict)
    namespaces: dict[str, list[str]] = field(default_factory=dict)
    """By flag prefix: ``""``, ``from-``, ``to-``."""
    used: list[str] = field(default_factory=list)

    def add(self, left: str, right: str, value: Any) -> None:
        self.left.setdefault(left, []).append(value)
        self.right.setdefault(right, []).append(value)

    def filters(self) -> tuple[FlowFilter, ...]:
        if not self.used:
            return ()
        for prefix, fields in (("to-", ("destination", "destination")), ("from-", ("source", "source")), ("", ())):
            if names := self.namespaces.get(prefix):
                left, right = fields or ("source", "destination")
                _put_in_namespaces(self.left, left, names)
                _put_in_namespaces(self.right, right, names)
        pair = [msgspec.convert(fields, FlowFilter) for fields in (self.left, self.right)]
        return tuple(pair[:1] if pair[0] == pair[1] else pair)


def _put_in_namespaces(fields: dict[str, list[Any]], side: str, namespaces: list[str]) -> None:
    """Names without a namespace get these; if there are no names, every pod of these."""
    if not fields.get(f"{side}_pod") and not fields.get(f"{side}_service"):
        fields[f"{side}_pod"] = [""]
    for name in (f"{side}_pod", f"{side}_service"):
        full: list[Any] = []
        for value in fields.pop(name, ()):
            own, slash, _ = value.partition("/")
            if slash and own and any(own != namespace for namespace in namespaces):
                raise ValueError(f"namespace conflict: {value!r} is not in namespace {', '.join(namespaces)}")
            full += [value] if slash else [f"{namespace}/{value}" for namespace in namespaces]
        if full:
            fields[name] = full


class FilterBuilder:
    """Takes filter flags one by one, in order. Errors: ValueError that names the flag and what was expected."""

    names = frozenset(row[0] for row in FILTER_FLAGS) | {"not"}

    def __init__(self) -> None:
        self._allow, self._deny = _Side(), _Side()
        self._negate = False

    def add(self, name: str, value: str) -> None:
        if name == "not":
            if self._negate:
                raise ValueError("consecutive --not: it negates the one filter that follows")
            self._negate = True
            return
        side, self._negate = (self._deny if self._negate else self._allow), False
        if name not in side.used:
            side.used.append(name)
            for group in _CONFLICTS:
                if clash := [other for other in group if other in side.used and other != name and name in group]:
                    raise ValueError(f"filters --{clash[0]} and --{name} cannot be combined")
        prefix = next((prefix for prefix in ("from-", "to-") if name.startswith(prefix)), "")
        try:
            self._set(side, prefix, name.removeprefix(prefix), value)
        except ValueError as error:
            raise ValueError(f"--{name}: {error}") from None

    def finish(self) -> tuple[tuple[FlowFilter, ...], tuple[FlowFilter, ...]]:
        """(whitelist, blacklist)."""
        if self._negate:
            raise ValueError("trailing --not: no filter follows it")
        return self._allow.filters(), self._deny.filters()

    def _set(self, side: _Side, prefix: str, name: str, value: str) -> None:
        if name in ("namespace", "all-namespaces"):
            side.namespaces.setdefault(prefix, []).append("" if name == "all-namespaces" else value)
        elif name in _END_VALUES:
            parsed = _END_VALUES[name](value)
            ends = {"": ("source", "destination"), "from-": ("source",) * 2, "to-": ("destination",) * 2}[prefix]
            side.add(f"{ends[0]}_{name}", f"{ends[1]}_{name}", parsed)
        else:
            target, parse = _FLOW_VALUES[name]
            side.add(target, target, parse(value))


# ---- values ----------------------------------------------------------------------------------------------------------


def _checked(check: Callable[[Any], object]) -> Callable[[str], str]:
    def parse(value: str) -> str:
        check(value)
        return value

    return parse


def _identity(value: str) -> IdentityId:
    by_name = {name: number for number, name in spelling.RESERVED_NAMES.items()}
    if value in by_name:
        return IdentityId(by_name[value])
    if not value.isascii() or not value.isdigit() or int(value) >= 2**32:
        raise ValueError(f"{value!r} is no identity; expected a number or one of {', '.join(sorted(by_name))}")
    return IdentityId(int(value))


def _workload(value: str) -> WorkloadFilter:
    kind, slash, name = value.partition("/")
    return WorkloadFilter(kind=kind, name=name) if slash else WorkloadFilter(name=value)


def _verdict(value: str) -> str:
    if value not in spelling.VERDICTS:
        raise ValueError(f"{value!r} is no verdict; expected one of {', '.join(spelling.VERDICTS)}")
    return value


def _event_type(value: str) -> EventTypeFilter:
    name, colon, sub = value.partition(":")
    if name not in spelling.MESSAGE_TYPES and not name.isdigit():
        raise ValueError(f"{name!r} is no event type; expected one of {', '.join(spelling.MESSAGE_TYPES)}")
    type_ = spelling.MESSAGE_TYPES[name] if name in spelling.MESSAGE_TYPES else int(name)
    if not colon:
        return EventTypeFilter(type=type_)
    known = spelling.TRACE_POINTS if type_ == spelling.TRACE else {}
    if sub not in known and not sub.isdigit():
        raise ValueError(f"{sub!r} is no sub-type of {name}; expected a number or one of {', '.join(known)}")
    return EventTypeFilter(type=type_, match_sub_type=True, sub_type=known[sub] if sub in known else int(sub))


def _direction(value: str) -> str:
    if value.upper() not in ("INGRESS", "EGRESS"):
        raise ValueError(f"{value!r} is no direction; expected ingress or egress")
    return value.upper()


def _version(value: str) -> str:
    versions = {"4": "IPv4", "6": "IPv6", "none": "IP_NOT_USED"}
    key = value.lower().removeprefix("ip").removeprefix("v")
    if key not in versions:
        raise ValueError(f"{value!r} is no IP version; expected v4, v6 or none")
    return versions[key]


def _tcp_flags(value: str) -> dict[str, bool]:
    flags = dict.fromkeys(value.upper().split(","), True)
    tcp_mask(flags)
    return flags


def _method(value: str) -> str:
    if not value:
        raise ValueError("empty method; expected something like GET")
    return value


def _trace_id(value: str) -> str:
    if len(value) != 32 or not set(value.lower()) <= set("0123456789abcdef"):
        raise ValueError(f"{value!r} is no trace id; expected 32 hex digits, the second part of a traceparent")
    return value


def _switch(value: str) -> bool:
    if value not in ("true", "false"):
        raise ValueError(f"{value!r}: expected true or false")
    return value == "true"


_END_VALUES: dict[str, Callable[[str], Any]] = {
    "pod": _checked(namespaced),
    "service": _checked(namespaced),
    "workload": _workload,
    "label": _checked(parse_selector),
    "ip": _checked(network),
    "port": _checked(port),
    "identity": _identity,
}
_FLOW_VALUES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "verdict": ("verdict", _verdict),
    "type": ("event_type", _event_type),
    "drop-reason-desc": ("drop_reason_desc", _checked(lambda value: drop_reasons([value]))),
    "protocol": ("protocol", _checked(lambda value: protocol_numbers([value]))),
    "http-status": ("http_status_code", status_code),
    "http-method": ("http_method", _method),
    "http-path": ("http_path", _checked(expression)),
    "http-url": ("http_url", _checked(expression)),
    "http-header": ("http_header", header),
    "trace-id": ("trace_id", _trace_id),
    "tcp-flags": ("tcp_flags", _tcp_flags),
    "traffic-direction": ("traffic_direction", _direction),
    "reply": ("reply", _switch),
    "ipv4": ("ip_version", lambda value: "IPv4"),
    "ipv6": ("ip_version", lambda value: "IPv6"),
    "ip-version": ("ip_version", _version),
    "node-name": ("node_name", str),
    "uuid": ("uuid", str),
}
