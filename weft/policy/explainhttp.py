"""Why a request passes the http rules of one end, or does not: the alternative, or what came closest."""

from __future__ import annotations

from dataclasses import dataclass

from weft.model.http import HeaderMatch, HttpMatch
from weft.model.origin import FieldPath
from weft.model.policy import Rule
from weft.policy.decide import Side
from weft.policy.http import Misfit, Request, judge, misfits, mismatches
from weft.policy.httppath import Unacceptable, normalise

Alternative = tuple[Rule, HttpMatch]


@dataclass(frozen=True, slots=True)
class HttpMiss:
    rule: Rule
    match: HttpMatch
    misfits: tuple[Misfit, ...]
    """Never empty; the fewer, the nearer."""


@dataclass(frozen=True, slots=True)
class HttpExplanation:
    """One end's alternatives and the request."""

    allowed_by: Alternative | None
    """None: 403."""
    changes: tuple[HeaderMatch, ...] = ()
    """What that alternative logs, adds, deletes or replaces in this request."""
    misses: tuple[HttpMiss, ...] = ()
    """Nearest first; only where the request is refused for what it is."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and what Envoy makes of its path."""

    request: Request
    path: str | Unacceptable

    @classmethod
    def of(cls, request: Request) -> Asked:
        return cls(request, normalise(request.path))


def explain_request(side: Side, asked: Asked, limit: int = 5) -> HttpExplanation | None:
    """None: nobody looks into requests at this end."""
    if side.http is None:
        return None
    if isinstance(asked.path, Unacceptable):
        return HttpExplanation(None)
    request = asked.request._replace(path=asked.path)
    if (found := judge(side.http, asked.request)) is not None:
        return HttpExplanation(found, mismatches(found[1], request))
    misses = [HttpMiss(rule, match, misfits(match, request)) for rule, match in side.http]
    return HttpExplanation(None, (), tuple(sorted(misses, key=lambda miss: len(miss.misfits))[:limit]))


def place(rule: Rule, match: HttpMatch, misfit: Misfit) -> FieldPath:
    """Where the author wrote what the request does not fit."""
    if misfit.header < 0:
        return (*match.field_path, misfit.field)
    lines = rule.origin.lines
    strings = sum((*match.field_path, "headers", index) in lines for index in range(len(match.headers)))
    if misfit.header < strings:
        return (*match.field_path, "headers", misfit.header)
    return (*match.field_path, "headerMatches", misfit.header - strings)
