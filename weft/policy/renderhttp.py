"""What http rules say of a request, as text for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from weft.model.http import HeaderMatch, Mismatch
from weft.model.origin import spell
from weft.policy.explainhttp import Alternative, Asked, HttpExplanation, place
from weft.policy.http import Misfit, spell_header, spell_match
from weft.policy.httppath import Unacceptable

_DONE = {
    Mismatch.LOG: "logged as missing",
    Mismatch.ADD: "added",
    Mismatch.DELETE: "deleted",
    Mismatch.REPLACE: "set",
}
SHOWN = 10
"""Alternatives that are listed when no request was given."""


def http_verdict(asked: Asked, refusing: str, *, looks: bool) -> str:
    """``refusing``: ``ingress of shop/api``, the end whose rules refuse; empty if both let it pass. ``looks``: some end
    has http rules; else the request never meets Envoy."""
    words = f"{asked.request.method} {asked.request.path}"
    if not looks:
        return f"ALLOWED  {words}: no policy looks into requests here"
    if isinstance(asked.path, Unacceptable):
        return f"REFUSED  {words}: 400, {asked.path.reason}"
    seen = f", which the rules see as {asked.path}" if asked.path != asked.request.path else ""
    return f"REFUSED  {words}{seen}: 403 ({refusing})" if refusing else f"ALLOWED  {words}{seen}"


def alternatives_lines(alternatives: Sequence[Alternative]) -> Iterator[str]:
    for rule, match in alternatives[:SHOWN]:
        yield f"    {spell_match(match)}  {rule.origin.at(match.field_path)}"
    if len(alternatives) > SHOWN:
        yield f"    ... and {len(alternatives) - SHOWN} more"


def request_lines(found: HttpExplanation) -> Iterator[str]:
    if found.allowed_by is not None:
        rule, match = found.allowed_by
        yield f"  the request is allowed by {spell_match(match)}"
        yield f"    {rule.origin.at(match.field_path)}: {spell(match.field_path)}"
        yield from (f"    header {spell_header(one)}: {_done(one)}" for one in found.changes)
    elif found.misses:
        yield "  the request is refused; closest:"
        for number, miss in enumerate(found.misses, 1):
            yield f"  {number}. {spell_match(miss.match)}  {miss.rule.origin.at(miss.match.field_path)}"
            for one in miss.misfits:
                path = place(miss.rule, miss.match, one)
                yield f"       {miss.rule.origin.at(path)}: {spell(path)}"
                yield f"         expected {one.expected}, found {one.actual or 'nothing'}"


def _done(header: HeaderMatch) -> str:
    assert header.mismatch is not None
    return _DONE[header.mismatch]


def asked_json(asked: Asked, refusing: str, *, looks: bool) -> dict[str, Any]:
    bad = looks and isinstance(asked.path, Unacceptable)
    request = asked.request
    return {
        "method": request.method,
        "path": request.path,
        "normalised_path": None if isinstance(asked.path, Unacceptable) else asked.path,
        "host": request.host,
        "headers": dict(request.headers),
        "allowed": not (bad or refusing),
        "status": 400 if bad else 403 if refusing else None,
    }


def alternative_json(alternative: Alternative) -> dict[str, Any]:
    rule, match = alternative
    return {
        "policy": str(rule.policy),
        "method": match.method,
        "path": match.path,
        "host": match.host,
        "headers": [
            {"name": one.name, "value": one.value, "mismatch": one.mismatch.value if one.mismatch else None}
            for one in match.headers
        ],
        "field": spell(match.field_path),
        "file": rule.origin.file,
        "line": rule.origin.line(match.field_path),
    }


def request_json(found: HttpExplanation) -> dict[str, Any]:
    return {
        "allowed_by": alternative_json(found.allowed_by) if found.allowed_by else None,
        "changes": [
            {"name": one.name, "value": one.value, "mismatch": one.mismatch.value if one.mismatch else None}
            for one in found.changes
        ],
        "near_misses": [
            {
                "alternative": alternative_json((miss.rule, miss.match)),
                "misfits": [_misfit(spell(place(miss.rule, miss.match, one)), one) for one in miss.misfits],
            }
            for miss in found.misses
        ],
    }


def _misfit(field: str, one: Misfit) -> dict[str, Any]:
    return {"field": field, "expected": one.expected, "actual": one.actual}
