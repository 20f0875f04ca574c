"""Filters and the other parts that HTTPRoute and GRPCRoute share, from their shapes to values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from weft.model.kinds import gateway
from weft.model.objects import NamespacedName
from weft.model.route import (
    NO_CHANGE,
    Cors,
    HeaderChange,
    MatchKind,
    Persistence,
    Redirect,
    Rewrite,
    RouteRef,
    ValueMatch,
)
from weft.model.routespec import BackendTarget, MirrorTarget, WeightedTarget
from weft.routes.durations import milliseconds

Filter = gateway.HTTPRouteFilter | gateway.GRPCRouteFilter
_ON_A_BACKEND = ("RequestHeaderModifier", "ResponseHeaderModifier")


@dataclass(slots=True)
class Filters:
    """What the filters of one rule come to. ``unsupported`` and ``unknown_ref``: as in RuleSpec."""

    request_headers: HeaderChange = NO_CHANGE
    response_headers: HeaderChange = NO_CHANGE
    redirect: Redirect | None = None
    rewrite: Rewrite | None = None
    mirrors: tuple[MirrorTarget, ...] = ()
    cors: Cors | None = None
    unsupported: str = ""
    unknown_ref: str = ""


def of_rule(filters: Iterable[Filter], namespace: str) -> Filters:
    """``namespace``: the route's own."""
    found = Filters()
    for one in filters:
        if one.request_header_modifier is not None:
            found.request_headers = _headers(one.request_header_modifier)
        elif one.response_header_modifier is not None:
            found.response_headers = _headers(one.response_header_modifier)
        elif one.request_mirror is not None:
            found.mirrors += _mirror(one.request_mirror, namespace)
        elif one.extension_ref is not None:
            named = one.extension_ref
            found.unknown_ref = f"{named.kind}.{named.group} {namespace}/{named.name}"
            found.unsupported = f"filter ExtensionRef {found.unknown_ref}: weft has no such filter"
        elif isinstance(one, gateway.HTTPRouteFilter):
            _http_only(one, found)
    return found


def _http_only(one: gateway.HTTPRouteFilter, found: Filters) -> None:
    if one.request_redirect is not None:
        redirect = one.request_redirect
        full, prefix = _path(redirect.path)
        found.redirect = Redirect(
            redirect.status_code, redirect.scheme or "", redirect.hostname or "", redirect.port or 0, full, prefix
        )
    elif one.url_rewrite is not None:
        found.rewrite = Rewrite(one.url_rewrite.hostname or "", *_path(one.url_rewrite.path))
    elif one.cors is not None:
        cors = one.cors
        found.cors = Cors(
            cors.allow_origins,
            tuple(cors.allow_methods),
            tuple(cors.allow_headers),
            tuple(cors.expose_headers),
            cors.allow_credentials,
            cors.max_age,
        )
    else:
        found.unsupported = f"filter {one.type}: weft has no such filter"


def backend(ref: gateway.HTTPBackendRef | gateway.GRPCBackendRef, namespace: str) -> tuple[WeightedTarget, Filters]:
    """The target, and what its own filters come to."""
    filters = of_rule(ref.filters, namespace)
    foreign = [one.type for one in ref.filters if one.type not in _ON_A_BACKEND]
    if foreign and not filters.unsupported:
        filters.unsupported = f"filter {foreign[0]} on a backendRef: use it on the rule"
    weighted = WeightedTarget(target(ref, namespace), ref.weight, filters.request_headers, filters.response_headers)
    return weighted, filters


def lacking(own: Filters, backends: Iterable[Filters]) -> tuple[str, str]:
    """``unsupported`` and ``unknown_ref`` of a rule with these filters of its own and of its backends."""
    everything = (own, *backends)
    return (
        next((each.unsupported for each in everything if each.unsupported), ""),
        next((each.unknown_ref for each in everything if each.unknown_ref), ""),
    )


def target(ref: gateway.BackendObjectReference, namespace: str) -> BackendTarget:
    group = "" if ref.group == "core" else ref.group
    return BackendTarget(group, ref.kind, NamespacedName(ref.namespace or namespace, ref.name), ref.port)


def headers(matches: Iterable[gateway.HeaderMatch]) -> tuple[ValueMatch, ...]:
    """Of several with the same name the first counts, as the specification has it."""
    found: dict[str, ValueMatch] = {}
    for one in matches:
        found.setdefault(one.name.lower(), ValueMatch(MatchKind(one.type), one.value, one.name.lower()))
    return tuple(found.values())


def persistence(shape: gateway.SessionPersistence | None, ref: RouteRef, rule: int) -> Persistence | None:
    """A session without a name gets one that no other rule has."""
    if shape is None:
        return None
    name = shape.name or f"weft-{blake2b(f'{ref}/{rule}'.encode(), digest_size=4).hexdigest()}"
    if shape.type == "Header":
        return Persistence(False, name.lower())
    cookie = shape.any_cookie
    lifetime = milliseconds(shape.absolute_timeout or "") if cookie.lifetime_type == "Permanent" else None
    return Persistence(True, name, max(1, -(-lifetime // 1000)) if lifetime is not None else 0, cookie.path)


def _headers(shape: gateway.HeaderModifier) -> HeaderChange:
    return HeaderChange(
        tuple((one.name, one.value) for one in shape.set),
        tuple((one.name, one.value) for one in shape.add),
        shape.remove,
    )


def _mirror(shape: gateway.RequestMirror, namespace: str) -> tuple[MirrorTarget, ...]:
    share = (1, 1)
    if shape.percent is not None:
        share = (shape.percent, 100)
    elif shape.fraction is not None:
        share = (shape.fraction.numerator, shape.fraction.denominator)
    return (MirrorTarget(target(shape.backend_ref, namespace), *share),)


def _path(shape: gateway.PathModifier | None) -> tuple[str | None, str | None]:
    """Full path, prefix."""
    return (shape.replace_full_path, shape.replace_prefix_match) if shape else (None, None)
