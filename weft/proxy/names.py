"""Addresses, marks and names that weft and its Envoy share (docs/decisions/0007)."""

from __future__ import annotations

import ipaddress

from weft.model.desired import Listener
from weft.model.http import HttpRuleSet
from weft.model.l7 import Phase, PolicyRuleRef, RouteRuleRef
from weft.model.route import ClusterRef, RouteRef, RouteRule

LISTEN_V4 = ipaddress.IPv4Address("127.119.101.102")
LISTEN_V6 = ipaddress.IPv6Address("100::7765:6674")
"""Listener number N is at port N of both. Nothing routes to them."""

MARK_ANSWER = 0x900
"""On accepted sockets."""
MARK_DONE = {Phase.ROUTE: 0xA00, Phase.EGRESS: 0xB00, Phase.INGRESS: 0xC00}
"""On upstream sockets: the phase that the connection has been through."""

AGENT = "agent"
"""Envoy's cluster for the agent: ADS and access logs."""
NOWHERE = "nowhere"
"""A cluster without endpoints: what is sent there is closed, and logged."""
OTLP = "otlp"
"""Envoy's cluster for the OpenTelemetry collector, if there is one."""
INVALID = "invalid"
"""The name of no cluster: requests for it are answered with 500."""
MIRROR = "mirror"
"""The listener inside Envoy that mirrored requests pass, and the beginning of its clusters' names."""
DENIED, UNROUTED = "denied", "unrouted"
"""Names of the last routes: no rule allows the request (403); no rule of a route fits it (404)."""
ORIGIN_KEY = "weft.origin"
"""Filter state of every connection, for the access log: ``NUMBER PHASE KIND``, KIND one of http, tcp, tls."""


def phase_of(listener: Listener) -> Phase:
    if isinstance(listener, HttpRuleSet):
        return Phase.EGRESS if listener.egress else Phase.INGRESS
    return Phase.ROUTE


def listener_name(number: int) -> str:
    return str(number)


def routes_name(number: int, family: int) -> str:
    """Of a RouteConfiguration; ``family`` 4 or 6, or 0 if the routes are the same for both."""
    return f"{number}/{family}" if family else str(number)


def number_of(name: str) -> int:
    """The listener that a listener's or RouteConfiguration's name belongs to."""
    return int(name.partition("/")[0])


def cluster_name(ref: ClusterRef, family: int) -> str:
    """The endpoints of one family: Envoy binds the client's address, so client and backend must be of the same."""
    return f"{ref.service.namespace}/{ref.service.name}/{ref.port}/{family}" + ("/h2c" if ref.h2c else "")


def original_cluster(phase: Phase) -> str:
    """Where the client was going anyway."""
    return f"original/{phase.value}"


def policy_route(rule: int, position: int, mismatches: tuple[str, ...] = ()) -> str:
    return "/".join(("rule", str(rule), str(position), *mismatches))


def rule_route(rule: RouteRule) -> str:
    return "/".join(("route", rule.route.kind, rule.route.namespace, rule.route.name, str(rule.rule)))


def parse_route(name: str) -> tuple[PolicyRuleRef | RouteRuleRef | None, tuple[str, ...]]:
    """What a route's name says: the rule, and the headers that were not as they should be."""
    match name.split("/"):
        case ["rule", rule, position, *mismatches]:
            return PolicyRuleRef(int(rule), int(position)), tuple(mismatches)
        case ["route", kind, namespace, route, rule]:
            return RouteRuleRef(RouteRef(kind, namespace, route), int(rule)), ()
        case _:
            return None, ()
