"""Shapes of HTTPRoute, GRPCRoute and ReferenceGrant → RouteSpec and GrantSpec. They are valid: nothing raises."""

from __future__ import annotations

from weft.model.kinds import gateway
from weft.model.objects import NamespacedName
from weft.model.origin import NOWHERE, Origin
from weft.model.route import MatchKind, Retry, RouteMatch, RouteRef, ValueMatch
from weft.model.routespec import (
    GRPC_ROUTE,
    HTTP_ROUTE,
    GrantFrom,
    GrantSpec,
    GrantTo,
    RankedMatch,
    RouteSpec,
    RuleSpec,
    ServiceParent,
)
from weft.routes import filters
from weft.routes.durations import milliseconds
from weft.routes.order import grpc_rank, http_rank

CORE = ("", "core")
"""How people write the group of Services; the Gateway API's own documents have both."""
_ANY_PART = "[^/]+"


def http_route(shape: gateway.HTTPRoute, namespace: str, created: int, origin: Origin = NOWHERE) -> RouteSpec:
    ref = RouteRef(HTTP_ROUTE, namespace, shape.metadata.name)
    rules = shape.spec.rules or (gateway.HTTPRouteRule(),)
    specs = tuple(_http_rule(rule, ref, index) for index, rule in enumerate(rules))
    return RouteSpec(ref, created, parents(shape.spec.parent_refs, namespace), specs, origin)


def grpc_route(shape: gateway.GRPCRoute, namespace: str, created: int, origin: Origin = NOWHERE) -> RouteSpec:
    ref = RouteRef(GRPC_ROUTE, namespace, shape.metadata.name)
    rules = shape.spec.rules or (gateway.GRPCRouteRule(),)
    specs = tuple(_grpc_rule(rule, ref, index) for index, rule in enumerate(rules))
    return RouteSpec(ref, created, parents(shape.spec.parent_refs, namespace), specs, origin)


def grant(shape: gateway.ReferenceGrant) -> GrantSpec:
    return GrantSpec(
        tuple(GrantFrom(one.group, one.kind, one.namespace) for one in shape.spec.from_),
        tuple(GrantTo("" if one.group in CORE else one.group, one.kind, one.name) for one in shape.spec.to),
    )


def is_service(parent: gateway.ParentReference) -> bool:
    return parent.group in CORE and parent.kind == "Service"


def parents(shapes: tuple[gateway.ParentReference, ...], namespace: str) -> tuple[ServiceParent, ...]:
    return tuple(
        ServiceParent(NamespacedName(one.namespace or namespace, one.name), one.port, one.section_name, index)
        for index, one in enumerate(shapes)
        if is_service(one)
    )


def _http_rule(rule: gateway.HTTPRouteRule, ref: RouteRef, index: int) -> RuleSpec:
    found = filters.of_rule(rule.filters, ref.namespace)
    backends = [filters.backend(one, ref.namespace) for one in rule.backend_refs]
    matches = [_http_match(one) for one in rule.matches or (gateway.HTTPRouteMatch(),)]
    timeouts = rule.timeouts or gateway.Timeouts()
    return RuleSpec(
        index,
        rule.name,
        tuple(RankedMatch(http_rank(match), match) for match in matches),
        tuple(weighted for weighted, _ in backends),
        found.request_headers,
        found.response_headers,
        found.redirect,
        found.rewrite,
        found.mirrors,
        found.cors,
        milliseconds(timeouts.request or ""),
        milliseconds(timeouts.backend_request or ""),
        _retry(rule.retry),
        filters.persistence(rule.session_persistence, ref, index),
        *filters.lacking(found, (own for _, own in backends)),
    )


def _http_match(match: gateway.HTTPRouteMatch) -> RouteMatch:
    path = ValueMatch(MatchKind(match.path.type), match.path.value)
    if path.kind is MatchKind.PREFIX:  # a trailing slash is ignored
        path = path._replace(value=path.value.rstrip("/") or "/")
    query: dict[str, ValueMatch] = {}
    for one in match.query_params:
        query.setdefault(one.name, ValueMatch(MatchKind(one.type), one.value, one.name))
    return RouteMatch(path, match.method or "", filters.headers(match.headers), tuple(query.values()))


def _retry(retry: gateway.Retry | None) -> Retry | None:
    """Attempts not given: one. None at all when they are 0."""
    if retry is None or retry.attempts == 0:
        return None
    return Retry(tuple(retry.codes), retry.attempts or 1, milliseconds(retry.backoff or "") or 0)


def _grpc_rule(rule: gateway.GRPCRouteRule, ref: RouteRef, index: int) -> RuleSpec:
    found = filters.of_rule(rule.filters, ref.namespace)
    backends = [filters.backend(one, ref.namespace) for one in rule.backend_refs]
    unsupported, unknown_ref = filters.lacking(found, (own for _, own in backends))
    return RuleSpec(
        index,
        rule.name,
        tuple(_grpc_match(one) for one in rule.matches or (gateway.GRPCRouteMatch(),)),
        tuple(weighted for weighted, _ in backends),
        found.request_headers,
        found.response_headers,
        mirrors=found.mirrors,
        persistence=filters.persistence(rule.session_persistence, ref, index),
        unsupported=unsupported,
        unknown_ref=unknown_ref,
    )


def _grpc_match(match: gateway.GRPCRouteMatch) -> RankedMatch:
    """A gRPC request's path is /SERVICE/METHOD."""
    called = match.method or gateway.GRPCMethodMatch()
    regex = called.type == "RegularExpression"
    if not called.service and not called.method:
        path = ValueMatch(MatchKind.PREFIX, "/")
    elif regex:
        path = ValueMatch(MatchKind.REGEX, f"/({called.service or _ANY_PART})/({called.method or _ANY_PART})")
    elif called.service and called.method:
        path = ValueMatch(MatchKind.EXACT, f"/{called.service}/{called.method}")
    elif called.service:
        path = ValueMatch(MatchKind.PREFIX, f"/{called.service}")
    else:
        path = ValueMatch(MatchKind.REGEX, f"/{_ANY_PART}/{called.method}")
    fields = filters.headers(match.headers)
    return RankedMatch(grpc_rank(regex, called.service, called.method, len(fields)), RouteMatch(path, headers=fields))
