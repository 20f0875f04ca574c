"""HTTPRoute, GRPCRoute and ReferenceGrant: the patterns and CEL rules of Gateway API 1.4's CRDs."""

from __future__ import annotations

from collections.abc import Sequence

from weft.model.kinds import gateway
from weft.model.origin import FieldPath
from weft.routes.translate import is_service
from weft.sources.check import Check
from weft.sources.rules import gatewayfilters as filters
from weft.sources.rules import gatewaynames as names

_SPEC: FieldPath = ("spec",)
MAX_MATCHES = 128
_Rule = gateway.HTTPRouteRule | gateway.GRPCRouteRule
_Backend = gateway.HTTPBackendRef | gateway.GRPCBackendRef


def check_http(route: gateway.HTTPRoute, found: Check) -> None:
    spec = route.spec
    _check_common(spec.parent_refs, spec.hostnames, spec.rules, found)
    for index, rule in enumerate(spec.rules):
        path = (*_SPEC, "rules", index)
        for position, match in enumerate(rule.matches):
            _check_http_match(match, found, (*path, "matches", position))
        _check_redirect(rule, found, path)
        _check_prefixes(rule, found, path)
        _check_timeouts(rule.timeouts, found, (*path, "timeouts"))
        _check_retry(rule.retry, found, (*path, "retry"))


def check_grpc(route: gateway.GRPCRoute, found: Check) -> None:
    spec = route.spec
    _check_common(spec.parent_refs, spec.hostnames, spec.rules, found)
    for index, rule in enumerate(spec.rules):
        for position, match in enumerate(rule.matches):
            path = (*_SPEC, "rules", index, "matches", position)
            _check_method(match.method, found, (*path, "method"))
            _check_headers(match.headers, found, (*path, "headers"))


def check_grant(grant: gateway.ReferenceGrant, found: Check) -> None:
    for index, source in enumerate(grant.spec.from_):
        path = (*_SPEC, "from", index)
        names.group(found, source.group, (*path, "group"))
        names.kind(found, source.kind, (*path, "kind"))
        names.namespace(found, source.namespace, (*path, "namespace"))
    for index, target in enumerate(grant.spec.to):
        path = (*_SPEC, "to", index)
        names.group(found, target.group, (*path, "group"))
        names.kind(found, target.kind, (*path, "kind"))


def _check_common(
    parents: Sequence[gateway.ParentReference], hostnames: Sequence[str], rules: Sequence[_Rule], found: Check
) -> None:
    _check_parents(parents, found)
    for index, host in enumerate(hostnames):
        names.hostname(found, host, (*_SPEC, "hostnames", index), wildcard=True)
    if hostnames and any(is_service(parent) for parent in parents):
        found.notice((*_SPEC, "hostnames"), "has no effect for a Service as parent (GEP-1294); match the header Host")
    if sum(len(rule.matches) for rule in rules) > MAX_MATCHES:
        found.error((*_SPEC, "rules"), f"more than {MAX_MATCHES} matches in all", "use several routes")
    seen: set[str] = set()
    for index, rule in enumerate(rules):
        path = (*_SPEC, "rules", index)
        if rule.name:
            names.section(found, rule.name, (*path, "name"))
            if rule.name in seen:
                found.error((*path, "name"), f"{rule.name!r} is there twice", "rule names are unique within the route")
            seen.add(rule.name)
        filters.check(rule.filters, found, (*path, "filters"))
        backends: tuple[_Backend, ...] = rule.backend_refs
        for position, backend in enumerate(backends):
            names.backend(found, backend, (*path, "backendRefs", position))
            filters.check(backend.filters, found, (*path, "backendRefs", position, "filters"))
        _check_session(rule.session_persistence, found, (*path, "sessionPersistence"))


def _check_parents(parents: Sequence[gateway.ParentReference], found: Check) -> None:
    seen: dict[tuple[str, ...], list[gateway.ParentReference]] = {}
    for index, parent in enumerate(parents):
        path = (*_SPEC, "parentRefs", index)
        names.group(found, parent.group, (*path, "group"))
        names.kind(found, parent.kind, (*path, "kind"))
        if parent.namespace:
            names.namespace(found, parent.namespace, (*path, "namespace"))
        if parent.section_name:
            names.section(found, parent.section_name, (*path, "sectionName"))
        twins = seen.setdefault((parent.group, parent.kind, parent.namespace, parent.name), [])
        if any(_unlike(twin, parent) for twin in twins):
            remedy = "give sectionName, or port, in all of them or in none"
            found.error(path, f"{parent.kind} {parent.name} is there with and without it", remedy)
        elif any((twin.section_name, twin.port) == (parent.section_name, parent.port) for twin in twins):
            found.error(path, f"{parent.kind} {parent.name} is there twice", "tell them apart by sectionName or port")
        twins.append(parent)
        if not is_service(parent):
            remedy = ' (a Service is {group: "", kind: Service})' if parent.kind == "Service" else ""
            found.notice(path, f"has no effect: weft serves only Services as parents{remedy}")


def _unlike(one: gateway.ParentReference, other: gateway.ParentReference) -> bool:
    """One has a field that the other has not."""
    return bool(one.section_name) != bool(other.section_name) or (one.port is None) != (other.port is None)


def _check_http_match(match: gateway.HTTPRouteMatch, found: Check, path: FieldPath) -> None:
    if match.path.type == "RegularExpression":
        names.regex(found, match.path.value, (*path, "path", "value"))
    else:
        names.url_path(found, match.path.value, (*path, "path", "value"))
    _check_headers(match.headers, found, (*path, "headers"))
    _check_headers(match.query_params, found, (*path, "queryParams"))


def _check_headers(
    matches: Sequence[gateway.HeaderMatch | gateway.QueryParamMatch], found: Check, path: FieldPath
) -> None:
    """Names are the key of the list. Headers that differ in case alone are one: the first counts."""
    seen: dict[str, str] = {}
    for index, match in enumerate(matches):
        at = (*path, index)
        names.header(found, match.name, (*at, "name"))
        key = match.name if isinstance(match, gateway.QueryParamMatch) else match.name.lower()
        if seen.get(key) == match.name:
            found.error((*at, "name"), f"{match.name!r} is there twice")
        elif key in seen:
            found.notice(at, f"has no effect: the same header as {seen[key]!r}")
        seen.setdefault(key, match.name)
        if match.type == "RegularExpression":
            names.regex(found, match.value, (*at, "value"))


def _check_method(match: gateway.GRPCMethodMatch | None, found: Check, path: FieldPath) -> None:
    if match is None:
        return
    if not match.service and not match.method:
        found.error(path, "neither service nor method is given", "give one of them, or leave method out")
    elif match.type == "RegularExpression":
        for field, value in (("service", match.service), ("method", match.method)):
            if value:
                names.regex(found, value, (*path, field))
    else:
        names.grpc(found, match, path)


def _check_redirect(rule: gateway.HTTPRouteRule, found: Check, path: FieldPath) -> None:
    if rule.backend_refs and any(one.request_redirect for one in rule.filters):
        found.error((*path, "backendRefs"), "a rule with a RequestRedirect sends nothing to backends", "remove one")


def _check_prefixes(rule: gateway.HTTPRouteRule, found: Check, path: FieldPath) -> None:
    """ReplacePrefixMatch needs one match, of type PathPrefix."""
    matches = rule.matches or (gateway.HTTPRouteMatch(),)
    if len(matches) == 1 and matches[0].path.type == "PathPrefix":
        return
    places = [((*path, "filters"), rule.filters)]
    places += [((*path, "backendRefs", i, "filters"), one.filters) for i, one in enumerate(rule.backend_refs)]
    for where, some in places:
        for index, one in enumerate(some):
            for field, modifier in filters.path_modifiers(one):
                if modifier.type == "ReplacePrefixMatch":
                    problem = "replaces a prefix, so the rule must have exactly one match, of type PathPrefix"
                    found.error((*where, index, field, "path"), problem, "make one rule for each")


def _check_timeouts(timeouts: gateway.Timeouts | None, found: Check, path: FieldPath) -> None:
    if timeouts is None:
        return
    request = names.duration(found, timeouts.request, (*path, "request"))
    backend = names.duration(found, timeouts.backend_request, (*path, "backendRequest"))
    if request and backend and backend > request:
        found.error((*path, "backendRequest"), "longer than timeouts.request, which it is part of")


def _check_retry(retry: gateway.Retry | None, found: Check, path: FieldPath) -> None:
    if retry is None:
        return
    names.duration(found, retry.backoff, (*path, "backoff"))
    if retry.attempts is not None and retry.attempts < 0:
        found.error((*path, "attempts"), f"expected at least 0, got {retry.attempts}")
    for index, code in enumerate(retry.codes):
        if code in retry.codes[:index]:
            found.error((*path, "codes", index), f"{code} is there twice")


def _check_session(session: gateway.SessionPersistence | None, found: Check, path: FieldPath) -> None:
    if session is None:
        return
    names.duration(found, session.absolute_timeout, (*path, "absoluteTimeout"))
    names.duration(found, session.idle_timeout, (*path, "idleTimeout"))
    cookie, header = session.cookie, session.header
    for other, own in (("cookie", "Header"), ("header", "Cookie")):
        if session.type == own and getattr(session, other) is not None:
            found.error((*path, other), f"has no meaning for a session of type {own}", f"set type: {other.title()}")
    for field, name in (
        (("sessionName",), session.session_name),
        (("cookie", "name"), cookie.name if cookie else ""),
        (("header", "name"), header.name if header else ""),
    ):
        if name:
            names.header(found, name, (*path, *field))
    permanent = session.any_cookie.lifetime_type == "Permanent"
    if permanent and session.absolute_timeout is None:
        found.error(path, 'field "absoluteTimeout" is missing', "a cookie of lifetimeType Permanent needs it")
    elif session.absolute_timeout is not None and not (permanent and session.type == "Cookie"):
        why = "only a cookie of lifetimeType Permanent ends after a time"
        found.notice((*path, "absoluteTimeout"), f"has no effect: {why}")
