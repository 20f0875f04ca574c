"""What a route does with a request: forward, rewrite, mirror, retry, redirect, CORS, sessions."""

from __future__ import annotations

import re
from typing import Any

from weft.model.route import Cors, MatchKind, Persistence, Redirect, Retry, RouteRule, ValueMatch
from weft.model.routespec import GRPC_ROUTE
from weft.proxy import names
from weft.proxy.headers import header_change
from weft.proxy.mirror import mirror_policy
from weft.proxy.rules import full_match

Json = dict[str, Any]
TYPE = "type.googleapis.com/envoy.extensions."

REDIRECTS = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
WELL_KNOWN_PORTS = {"http": 80, "https": 443}


def forward(rule: RouteRule, family: int) -> Json:
    """The RouteAction. The share of an invalid backend goes to a cluster that does not exist, which answers 500; to a
    gRPC client 503, which it reads as UNAVAILABLE (GRPCRouteRule.backendRefs)."""
    action: Json = _clusters(rule, family)
    action["timeout"] = _timeout(rule)
    if rule.retry is not None:
        action["retry_policy"] = _retries(rule.retry, rule.backend_timeout_ms)
    if rule.rewrite is not None:
        if rule.rewrite.host:
            action["host_rewrite_literal"] = rule.rewrite.host
        action |= _new_path(rule.rewrite.full_path, rule.rewrite.prefix, rule.match.path)
    if rule.mirrors:
        action["request_mirror_policies"] = [
            mirror_policy(mirror, family, rule.route.kind == "GRPCRoute") for mirror in rule.mirrors
        ]
    return action


def _clusters(rule: RouteRule, family: int) -> Json:
    choices = []
    for choice in rule.backends:
        if not choice.weight:
            continue
        name = names.cluster_name(choice.cluster, family) if choice.cluster else names.INVALID
        changes = header_change(choice.request_headers, choice.response_headers)
        choices.append({"name": name, "weight": choice.weight, **changes})
    weighted = {"weighted_clusters": {"clusters": choices}}
    error = "SERVICE_UNAVAILABLE" if rule.route.kind == GRPC_ROUTE else "INTERNAL_SERVER_ERROR"
    return {**weighted, "cluster_not_found_response_code": error}


def _timeout(rule: RouteRule) -> str:
    """Of the whole request; without retries a backend's time is the request's. Envoy's own default would be 15 s."""
    limits = [rule.request_timeout_ms] + ([] if rule.retry else [rule.backend_timeout_ms])
    return duration(min((limit for limit in limits if limit), default=0))


def _retries(retry: Retry, backend_timeout_ms: int | None) -> Json:
    """Gateway API, HTTPRouteRetry: the codes, and connections that fail."""
    reasons = ["connect-failure", "refused-stream", "reset"] + (["retriable-status-codes"] if retry.codes else [])
    policy: Json = {"retry_on": ",".join(reasons), "num_retries": retry.attempts}
    if retry.codes:
        policy["retriable_status_codes"] = list(retry.codes)
    if retry.backoff_ms:
        interval = {"base_interval": duration(retry.backoff_ms), "max_interval": duration(10 * retry.backoff_ms)}
        policy["retry_back_off"] = interval
    if backend_timeout_ms:
        policy["per_try_timeout"] = duration(backend_timeout_ms)
    return policy


def redirect(redirect_: Redirect, path: ValueMatch, port: int) -> Json:
    """The RedirectAction. Port: the one that is named, else the scheme's own, else ``port``, which was dialled; one
    that is the scheme's own is left out of the Location (Gateway API, HTTPRequestRedirectFilter.port)."""
    action: Json = {"response_code": REDIRECTS[redirect_.status]}
    if redirect_.scheme:
        action["scheme_redirect"] = redirect_.scheme
    if redirect_.host:
        action["host_redirect"] = redirect_.host
    wanted = _redirect_port(redirect_, port)
    if wanted != _own_port(redirect_):
        action["port_redirect"] = wanted
    changes = _new_path(redirect_.full_path, redirect_.prefix, path)
    if redirect_.full_path is not None:
        changes = {"path_redirect": redirect_.full_path}
    return action | changes


def host_port_redirect(redirect_: Redirect, port: int) -> Json:
    """What more a request needs whose Host names a port: Envoy keeps that one, and can be told another one but not to
    leave it out. Empty: nothing."""
    wanted = _redirect_port(redirect_, port)
    return {} if redirect_.host or wanted != _own_port(redirect_) else {"port_redirect": wanted}


def _redirect_port(redirect_: Redirect, dialled: int) -> int:
    return redirect_.port or WELL_KNOWN_PORTS.get(redirect_.scheme) or dialled


def _own_port(redirect_: Redirect) -> int | None:
    return WELL_KNOWN_PORTS.get(redirect_.scheme or "http")


def _new_path(full: str | None, prefix: str | None, match: ValueMatch) -> Json:
    """ReplaceFullPath keeps the query. ReplacePrefixMatch works on whole segments, with or without a ``/`` at the end
    of either prefix (the table at HTTPPathModifier.replacePrefixMatch)."""
    if full is not None:
        return _substitute("^.*$", full)
    if prefix is None or match.kind is not MatchKind.PREFIX:
        return {}
    old, new = match.value.rstrip("/"), prefix.rstrip("/")
    if old and new:
        return {"prefix_rewrite": new}
    if old:
        return _substitute(f"^{re.escape(old)}/*", "/")
    return {"prefix_rewrite": f"{new}/"} if new else {}


def _substitute(regex: str, text: str) -> Json:
    return {"regex_rewrite": {"pattern": {"regex": regex}, "substitution": text.replace("\\", "\\\\")}}


def cors(policy: Cors) -> Json:
    """The CorsPolicy; ``*`` in a list is any value, as ``*.example.com`` in an origin is any name below it."""
    fields: Json = {
        "allow_origin_string_match": [_origin(origin) for origin in policy.allow_origins],
        "allow_credentials": policy.allow_credentials,
        "max_age": str(policy.max_age_seconds),
    }
    lists = {
        "allow_methods": policy.allow_methods,
        "allow_headers": policy.allow_headers,
        "expose_headers": policy.expose_headers,
    }
    fields |= {name: ",".join(values) for name, values in lists.items() if values}
    return {"@type": f"{TYPE}filters.http.cors.v3.CorsPolicy", **fields}


def _origin(origin: str) -> Json:
    if "*" not in origin:
        return {"exact": origin}
    return full_match(".*".join(map(re.escape, origin.split("*"))))


def sessions(persistence: Persistence) -> Json:
    """The StatefulSessionPerRoute: the backend's address in a cookie or header, which the client sends back."""
    if persistence.cookie:
        name, kind = "envoy.http.stateful_session.cookie", "cookie.v3.CookieBasedSessionState"
        ttl = {"ttl": f"{persistence.lifetime_seconds}s"} if persistence.lifetime_seconds else {}
        state: Json = {"cookie": {"name": persistence.name, "path": persistence.path, **ttl}}
    else:
        name, kind = "envoy.http.stateful_session.header", "header.v3.HeaderBasedSessionState"
        state = {"name": persistence.name}
    config = {"@type": f"{TYPE}http.stateful_session.{kind}", **state}
    return {
        "@type": f"{TYPE}filters.http.stateful_session.v3.StatefulSessionPerRoute",
        "stateful_session": {"session_state": {"name": name, "typed_config": config}},
    }


def duration(milliseconds: int) -> str:
    """Seconds in protobuf's JSON spelling."""
    return f"{milliseconds / 1000:.3f}".rstrip("0").rstrip(".") + "s"
