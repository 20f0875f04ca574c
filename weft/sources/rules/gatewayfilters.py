"""Filters of HTTPRoute and GRPCRoute: each has the field of its type, none is repeated, and some exclude each other."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from weft.model.kinds import gateway
from weft.model.origin import FieldPath
from weft.sources.check import Check
from weft.sources.rules import gatewaynames as names

Filter = gateway.HTTPRouteFilter | gateway.GRPCRouteFilter
_FIELDS = {
    "RequestHeaderModifier": "requestHeaderModifier",
    "ResponseHeaderModifier": "responseHeaderModifier",
    "RequestMirror": "requestMirror",
    "RequestRedirect": "requestRedirect",
    "URLRewrite": "urlRewrite",
    "CORS": "cors",
    "ExternalAuth": "externalAuth",
    "ExtensionRef": "extensionRef",
}
_REPEATABLE = ("RequestMirror", "ExtensionRef")
_STATUSES = (301, 302, 303, 307, 308)
_ORIGIN = re.compile(r"\*|[a-zA-Z][a-zA-Z0-9+\-.]+://[^:/?#]+(:[0-9]{1,5})?")


def check(filters: Sequence[Filter], found: Check, path: FieldPath) -> None:
    types = [one.type for one in filters]
    for index, one in enumerate(filters):
        at = (*path, index)
        if one.type in types[:index] and one.type not in _REPEATABLE:
            found.error((*at, "type"), f"filter {one.type} is there twice")
        if one.type in ("RequestRedirect", "URLRewrite") and {"RequestRedirect", "URLRewrite"} <= set(
            types[: index + 1]
        ):
            found.error((*at, "type"), "RequestRedirect and URLRewrite exclude each other", "remove one of them")
        _check_fields(one, found, at)
        _check_content(one, found, at)


def path_modifiers(one: Filter) -> Iterator[tuple[str, gateway.PathModifier]]:
    """The path modifiers of a filter, with the field that each stands in."""
    if isinstance(one, gateway.HTTPRouteFilter):
        for field, shape in (("requestRedirect", one.request_redirect), ("urlRewrite", one.url_rewrite)):
            if shape is not None and shape.path is not None:
                yield field, shape.path


def _check_fields(one: Filter, found: Check, path: FieldPath) -> None:
    given = {field for field in _FIELDS.values() if getattr(one, _snake(field), None) is not None}
    wanted = _FIELDS[one.type]
    if wanted not in given:
        found.error(path, f'field "{wanted}" is missing', f"a filter of type {one.type} needs it")
    for field in sorted(given - {wanted}):
        found.error((*path, field), f"does not belong to a filter of type {one.type}", f"expected {wanted}")


def _check_content(one: Filter, found: Check, path: FieldPath) -> None:
    if one.request_header_modifier is not None:
        _check_headers(one.request_header_modifier, found, (*path, "requestHeaderModifier"))
    if one.response_header_modifier is not None:
        _check_headers(one.response_header_modifier, found, (*path, "responseHeaderModifier"))
    if one.request_mirror is not None:
        _check_mirror(one.request_mirror, found, (*path, "requestMirror"))
    for field, modifier in path_modifiers(one):
        _check_path(modifier, found, (*path, field, "path"))
    if isinstance(one, gateway.HTTPRouteFilter):
        _check_http(one, found, path)


def _check_http(one: gateway.HTTPRouteFilter, found: Check, path: FieldPath) -> None:
    if (redirect := one.request_redirect) is not None:
        at = (*path, "requestRedirect")
        if redirect.hostname is not None:
            names.hostname(found, redirect.hostname, (*at, "hostname"))
        if redirect.status_code not in _STATUSES:
            known = ", ".join(map(str, _STATUSES))
            found.error((*at, "statusCode"), f"unknown value {redirect.status_code}", f"expected one of: {known}")
    if one.url_rewrite is not None and one.url_rewrite.hostname is not None:
        names.hostname(found, one.url_rewrite.hostname, (*path, "urlRewrite", "hostname"))
    if one.cors is not None:
        _check_cors(one.cors, found, (*path, "cors"))
    if one.external_auth is not None:
        _check_auth(one.external_auth, found, (*path, "externalAuth"))


def _check_headers(shape: gateway.HeaderModifier, found: Check, path: FieldPath) -> None:
    """One header has one action at most, whatever its case."""
    seen: set[str] = set()

    def once(name: str, at: FieldPath) -> None:
        names.header(found, name, at)
        if name.lower() in seen:
            found.error(at, f"header {name!r} is there twice", "give each header one action: set, add or remove")
        seen.add(name.lower())

    for action, headers in (("set", shape.set), ("add", shape.add)):
        for index, header in enumerate(headers):
            once(header.name, (*path, action, index, "name"))
            names.header_value(found, header.value, (*path, action, index, "value"))
    for index, name in enumerate(shape.remove):
        once(name, (*path, "remove", index))


def _check_mirror(mirror: gateway.RequestMirror, found: Check, path: FieldPath) -> None:
    names.backend(found, mirror.backend_ref, (*path, "backendRef"))
    if mirror.percent is not None and mirror.fraction is not None:
        found.error((*path, "fraction"), "percent and fraction exclude each other", "remove one of them")
    if mirror.fraction is not None and mirror.fraction.numerator > mirror.fraction.denominator:
        found.error((*path, "fraction", "numerator"), "greater than the denominator")


def _check_path(modifier: gateway.PathModifier, found: Check, path: FieldPath) -> None:
    values: dict[str, Any] = {
        "replaceFullPath": modifier.replace_full_path,
        "replacePrefixMatch": modifier.replace_prefix_match,
    }
    wanted = modifier.type[0].lower() + modifier.type[1:]
    for field, value in values.items():
        if field == wanted and value is None:
            found.error(path, f'field "{field}" is missing', f"type {modifier.type} needs it")
        elif field != wanted and value is not None:
            found.error((*path, field), f"does not belong to type {modifier.type}", f"expected {wanted}")


def _check_cors(cors: gateway.CORS, found: Check, path: FieldPath) -> None:
    for index, origin in enumerate(cors.allow_origins):
        if len(origin) > 253 or not _ORIGIN.fullmatch(origin):
            found.error((*path, "allowOrigins", index), f"not an origin: {origin!r}", "expected scheme://host[:port]")
    lists: dict[str, Sequence[str]] = {
        "allowOrigins": cors.allow_origins,
        "allowMethods": cors.allow_methods,
        "allowHeaders": cors.allow_headers,
        "exposeHeaders": cors.expose_headers,
    }
    for field, values in lists.items():
        for index, value in enumerate(values):
            if value in values[:index]:
                found.error((*path, field, index), f"{value!r} is there twice")
            if field.endswith("Headers"):
                names.header(found, value, (*path, field, index))
        if "*" in values and len(values) > 1 and field in ("allowOrigins", "allowMethods"):
            found.error((*path, field), "'*' stands alone", "it already means all of them")


def _check_auth(auth: gateway.ExternalAuth, found: Check, path: FieldPath) -> None:
    names.backend(found, auth.backend_ref, (*path, "backendRef"))
    for field, protocol, given in (("grpc", "GRPC", auth.grpc), ("http", "HTTP", auth.http)):
        if auth.protocol == protocol and given is None:
            found.error(path, f'field "{field}" is missing', f"protocol {protocol} needs it")
        elif auth.protocol != protocol and given is not None:
            found.error((*path, field), f"does not belong to protocol {auth.protocol}")


def _snake(field: str) -> str:
    return re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", field)
