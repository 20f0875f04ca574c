"""The routes of a Service's port as Envoy's: one route for each match of a rule, in the order of precedence."""

from __future__ import annotations

from typing import Any

from weft.model.route import MatchKind, RouteRule, RouteTable, ValueMatch
from weft.model.routespec import GRPC_ROUTE
from weft.proxy import names
from weft.proxy.actions import cors, forward, host_port_redirect, redirect, sessions
from weft.proxy.headers import header_change
from weft.proxy.rules import full_match

Json = dict[str, Any]
_HOST_WITH_PORT = {"name": ":authority", "string_match": full_match(".*:[0-9]+")}


def table_routes(number: int, table: RouteTable, family: int) -> Json:
    """The RouteConfiguration for clients of one family. Without a route that fits: 404."""
    unrouted = {"name": names.UNROUTED, "direct_response": {"status": 404}}
    routes = [route for rule in table.rules for route in _routes(rule, table, family)]
    routes += [{**unrouted, "match": {"prefix": ""}}, {**unrouted, "match": {"connect_matcher": {}}}]
    return {
        "name": names.routes_name(number, family),
        "validate_clusters": False,
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}],
    }


def _routes(rule: RouteRule, table: RouteTable, family: int) -> list[Json]:
    """Two for a redirect that is another one where the request's Host names a port."""
    route = _route(rule, table, family)
    more = host_port_redirect(rule.redirect, table.cluster.port) if rule.redirect else {}
    if not more:
        return [route]
    headers = [*route["match"].get("headers", ()), _HOST_WITH_PORT]
    return [
        {**route, "match": {**route["match"], "headers": headers}, "redirect": {**route["redirect"], **more}},
        route,
    ]


def _route(rule: RouteRule, table: RouteTable, family: int) -> Json:
    route: Json = {"name": names.rule_route(rule), "match": _match(rule)}
    if rule.redirect is not None:
        route["redirect"] = redirect(rule.redirect, rule.match.path, table.cluster.port)
    elif not any(choice.weight and choice.cluster for choice in rule.backends):
        route["direct_response"] = {"status": 503 if rule.route.kind == GRPC_ROUTE else 500}
    else:
        route["route"] = forward(rule, family)
    route |= header_change(rule.request_headers, rule.response_headers)
    filters = {}
    if rule.cors is not None:
        filters["envoy.filters.http.cors"] = cors(rule.cors)
    if rule.persistence is not None:
        filters["envoy.filters.http.stateful_session"] = sessions(rule.persistence)
    if filters:
        route["typed_per_filter_config"] = filters
    return route


def _match(rule: RouteRule) -> Json:
    match = rule.match
    headers = [_header(header) for header in match.headers]
    if match.method:
        headers.insert(0, {"name": ":method", "string_match": {"exact": match.method}})
    return {
        **_path(match.path),
        **(
            {"grpc": {}} if rule.route.kind == GRPC_ROUTE else {}
        ),  # what is not gRPC, by its Content-Type, is not routed
        **({"headers": headers} if headers else {}),
        **({"query_parameters": [_query(parameter) for parameter in match.query]} if match.query else {}),
    }


def _path(path: ValueMatch) -> Json:
    """Paths are compared without the query; a prefix ends at a ``/`` (Gateway API, HTTPPathMatch)."""
    match path.kind:
        case MatchKind.EXACT:
            return {"path": path.value}
        case MatchKind.REGEX:
            return full_match(path.value)
        case _:
            prefix = path.value.rstrip("/")
            return {"path_separated_prefix": prefix} if prefix else {"prefix": "/"}


def _header(header: ValueMatch) -> Json:
    if header.kind is MatchKind.PRESENT:
        return {"name": header.name, "present_match": True}
    return {"name": header.name, "string_match": _string(header)}


def _query(parameter: ValueMatch) -> Json:
    if parameter.kind is MatchKind.PRESENT:
        return {"name": parameter.name, "present_match": True}
    return {"name": parameter.name, "string_match": _string(parameter)}


def _string(value: ValueMatch) -> Json:
    return full_match(value.value) if value.kind is MatchKind.REGEX else {"exact": value.value}
