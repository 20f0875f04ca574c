"""A set of http rules as Envoy's routes: one route for each alternative, then the refusal.

Regular expressions are matched against the whole value (Envoy's ``safe_regex`` is RE2's FullMatch), the path's against
``:path`` with its query, as Cilium does it.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from weft.model.http import DOTS_WITH_PARAMETERS, HeaderMatch, HttpPermission, HttpRuleSet, Mismatch
from weft.proxy import names

Json = dict[str, Any]

MOST_MISMATCHES = 6
"""headerMatches with ``mismatch`` in one rule: each doubles the rule's routes."""
DENIED_BODY = "Access denied\r\n"


def rule_set_routes(number: int, rules: HttpRuleSet) -> Json:
    """The RouteConfiguration. Errors: ValueError if a rule has more than MOST_MISMATCHES soft headerMatches."""
    upstream = {"cluster": names.original_cluster(names.phase_of(rules)), "timeout": "0s"}
    refusal = {"direct_response": {"status": 403, "body": {"inline_string": DENIED_BODY}}}
    dots = {"name": ":path", "string_match": full_match(DOTS_WITH_PARAMETERS)}
    routes: list[Json] = [{"name": names.DENIED, "match": {"prefix": "", "headers": [dots]}, **refusal}]
    routes += [
        route
        for position, permission in enumerate(rules.permissions)
        for route in _alternatives(position, permission, upstream)
    ]
    routes.append({"name": names.DENIED, "match": {"prefix": ""}, **refusal})
    routes.append({"name": names.DENIED, "match": {"connect_matcher": {}}, **refusal})
    return {
        "name": names.routes_name(number, 0),
        "validate_clusters": False,
        "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}],
    }


def _alternatives(position: int, permission: HttpPermission, upstream: Json) -> Iterator[Json]:
    """One route, and one for each set of headers that may differ: fewest differences first, so the exact set is hit."""
    match = permission.match
    hard = [header for header in match.headers if header.mismatch is None]
    soft = [header for header in match.headers if header.mismatch is not None]
    if len(soft) > MOST_MISMATCHES:
        raise ValueError(f"a rule has {len(soft)} headerMatches with mismatch; at most {MOST_MISMATCHES} work")
    base = [
        {"name": name, "string_match": full_match(regex)}
        for name, regex in ((":path", match.path), (":method", match.method), (":authority", match.host))
        if regex
    ]
    for count in range(len(soft) + 1):
        for differing in combinations(soft, count):
            wanted = hard + [header for header in soft if header not in differing]
            yield {
                "name": names.policy_route(permission.rule, position, tuple(header.name for header in differing)),
                "match": {"prefix": "", "headers": base + [_header(header) for header in wanted]},
                "route": upstream,
                **_corrections(differing),
            }


def full_match(regex: str) -> Json:
    return {"safe_regex": {"regex": regex}}


def _header(header: HeaderMatch) -> Json:
    if header.value is None:
        return {"name": header.name, "present_match": True}
    return {"name": header.name, "string_match": {"exact": header.value}}


def _corrections(differing: tuple[HeaderMatch, ...]) -> Json:
    """Cilium: ADD adds the header as it should be, DELETE takes away what differs, REPLACE does both."""
    added = [
        {
            "header": {"key": header.name, "value": literal(header.value)},
            "append_action": "APPEND_IF_EXISTS_OR_ADD",
        }
        for header in differing
        if header.value is not None and header.mismatch in (Mismatch.ADD, Mismatch.REPLACE)
    ]
    removed = [header.name for header in differing if header.mismatch in (Mismatch.DELETE, Mismatch.REPLACE)]
    return ({"request_headers_to_add": added} if added else {}) | (
        {"request_headers_to_remove": removed} if removed else {}
    )


def literal(value: str) -> str:
    """A header's value in which Envoy's formatter finds nothing to put in."""
    return value.replace("%", "%%")
