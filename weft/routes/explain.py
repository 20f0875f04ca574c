"""Which rule of a Service's routes a request meets, and why not another: as Envoy is told it (weft.proxy.routes)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import parse_qsl

from weft.model.origin import spell
from weft.model.route import MatchKind, RouteRule, RouteTable, ValueMatch
from weft.model.routespec import GRPC_ROUTE
from weft.policy.explainhttp import Asked
from weft.policy.http import Request
from weft.policy.httppath import Unacceptable
from weft.policy.regex import fits
from weft.routes.book import EVERYONE

NEAREST = 5


class Trial(NamedTuple):
    rule: RouteRule
    misfits: tuple[str, ...]
    """Empty: it fits."""


@dataclass(frozen=True, slots=True)
class RouteExplanation:
    table: RouteTable
    scope: str
    """The namespace whose clients share these routes; EVERYONE: those of all that have none of their own."""
    tried: tuple[Trial, ...]
    """In the order of precedence, up to the one that fits."""
    unacceptable: bool = False
    """Envoy refuses the path before any route."""

    @property
    def chosen(self) -> RouteRule | None:
        return self.tried[-1].rule if self.tried and not self.tried[-1].misfits else None


def explain_route(tables: Mapping[str, RouteTable], namespace: str, asked: Asked) -> RouteExplanation | None:
    """For a client in ``namespace``; ``tables`` of one port by scope (RouteBook.tables). None: it is not routed."""
    scope = namespace if namespace in tables else EVERYONE
    table = tables.get(scope)
    if table is None or not table.rules:
        return None
    if isinstance(asked.path, Unacceptable):
        return RouteExplanation(table, scope, (), unacceptable=True)
    request = asked.request._replace(path=asked.path)
    tried = []
    for rule in table.rules:
        tried.append(Trial(rule, misfits(rule, request)))
        if not tried[-1].misfits:
            break
    return RouteExplanation(table, scope, tuple(tried))


def misfits(rule: RouteRule, request: Request) -> tuple[str, ...]:
    """Everything that keeps the request from fitting. ``request.path`` is normalised already."""
    match, (path, _, query) = rule.match, request.path.partition("?")
    found = []
    if rule.route.kind == GRPC_ROUTE and not request.headers.get("content-type", "").startswith("application/grpc"):
        found.append("it is not gRPC (content-type: application/grpc)")
    if match.method and match.method != request.method:
        found.append(f"method is {request.method}, expected {match.method}")
    if not _path_fits(match.path, path):
        found.append(f"path is {path}, expected {match.path.kind.value} {match.path.value}")
    parameters = dict(reversed(parse_qsl(query, keep_blank_values=True)))  # the first of a name counts
    for kind, wanted, values in (("header", match.headers, request.headers), ("query", match.query, parameters)):
        found += [_told(kind, one, values) for one in wanted if not _value_fits(one, values.get(one.name))]
    return tuple(found)


def _path_fits(wanted: ValueMatch, path: str) -> bool:
    if wanted.kind is MatchKind.PREFIX:
        prefix = wanted.value.rstrip("/")
        return path == prefix or path.startswith(f"{prefix}/")
    return _value_fits(wanted, path)


def _value_fits(wanted: ValueMatch, value: str | None) -> bool:
    if value is None or wanted.kind is MatchKind.PRESENT:
        return value is not None
    return fits(wanted.value, value) if wanted.kind is MatchKind.REGEX else value == wanted.value


def _told(kind: str, wanted: ValueMatch, values: Mapping[str, str]) -> str:
    what = f"{kind} {wanted.name}"
    expected = "it" if wanted.kind is MatchKind.PRESENT else f"{wanted.kind.value} {wanted.value}"
    return f"{what} is {values[wanted.name]}, expected {expected}" if wanted.name in values else f"no {what}"


def render_route(found: RouteExplanation) -> Iterator[str]:
    """Lines for people."""
    port = found.table.cluster
    whose = f", for clients of namespace {found.scope}" if found.scope != EVERYONE else ""
    yield f"service {port.service}:{port.port} is routed{whose}"
    if found.unacceptable:
        yield "  400: Envoy refuses the path before any route"
        return
    chosen = found.chosen
    missed = [trial for trial in found.tried if trial.misfits]
    if chosen is not None:
        yield f"  {_spell(chosen)}: {spell_outcome(chosen)}"
        missed = missed[-NEAREST:]
    else:
        yield "  404: no rule fits"
        missed = sorted(missed, key=lambda trial: len(trial.misfits))[:NEAREST]
    for rule, why in missed:
        yield f"  not {_spell(rule)}: {'; '.join(why)}"


def spell_outcome(rule: RouteRule) -> str:
    """What is done with a request that fits."""
    if rule.redirect is not None:
        return f"redirected ({rule.redirect.status})"
    total = sum(choice.weight for choice in rule.backends)
    if not total or not any(choice.cluster for choice in rule.backends if choice.weight):
        return "500, no valid backend" if rule.route.kind != GRPC_ROUTE else "UNAVAILABLE, no valid backend"
    shares = (
        f"{choice.cluster.service}:{choice.cluster.port}" if choice.cluster else "500 (invalid backend)"
        for choice in rule.backends
        if choice.weight
    )
    weights = (choice.weight for choice in rule.backends if choice.weight)
    return ", ".join(f"{share} ({weight} of {total})" for share, weight in zip(shares, weights, strict=True))


def _spell(rule: RouteRule) -> str:
    name = f" ({rule.name})" if rule.name else ""
    where = f"  {rule.origin.at(rule.path)}" if rule.path else ""
    return f"{rule.route} rules[{rule.rule}]{name}{where}"


def route_json(found: RouteExplanation) -> dict[str, object]:
    chosen = found.chosen
    return {
        "service": str(found.table.cluster.service),
        "port": found.table.cluster.port,
        "scope": found.scope or None,
        "rule": _json(chosen) if chosen is not None else None,
        "outcome": spell_outcome(chosen) if chosen is not None else "400" if found.unacceptable else "404",
        "missed": [_json(rule) | {"misfits": list(why)} for rule, why in found.tried if why],
    }


def _json(rule: RouteRule) -> dict[str, object]:
    return {"route": str(rule.route), "rule": rule.rule, "name": rule.name, "field": spell(rule.path)}
