"""Which of several matches that fit a request decides: the precedence of HTTPRouteRule and GRPCRouteRule.

Regular expressions, whose place the specification leaves open, stand between Exact and the other kinds, the longer
first, as in Cilium: so a rule for ``/`` can stand beside them.
"""

from __future__ import annotations

from weft.model.route import MatchKind, RouteMatch
from weft.model.routespec import Rank, RouteSpec

_KINDS = {MatchKind.EXACT: 0, MatchKind.REGEX: 1, MatchKind.PREFIX: 2}


def http_rank(match: RouteMatch) -> Rank:
    """Exact path, longest path, method, most headers, most query parameters."""
    path = match.path
    length = 0 if path.kind is MatchKind.EXACT else len(path.value)
    return (_KINDS[path.kind], -length, not match.method, -len(match.headers), -len(match.query))


def grpc_rank(regex: bool, service: str, method: str, headers: int) -> Rank:
    """Longest service, longest method, most headers. ``regex``: the two are expressions."""
    kind = MatchKind.PREFIX if not (service or method) else MatchKind.REGEX if regex else MatchKind.EXACT
    return (_KINDS[kind], -len(service), -len(method), -headers)


def tie_break(route: RouteSpec) -> tuple[int, str]:
    """Between routes: the oldest, then alphabetically by namespace/name."""
    return (route.created, f"{route.ref.namespace}/{route.ref.name}")
