"""Golden cases: tests/golden/routes/<case>/input.yaml → the tables of routed ports, and the status of each route."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.routes.scene import START, stored, world
from weft.model.route import BackendChoice, HeaderChange, MatchKind, RouteMatch, RouteRule, RouteTable, ValueMatch
from weft.plan import Compiled, Compiler
from weft.plan.scopes import scope_digest
from weft.sources.registry import ROUTES
from weft.sources.routestatus import route_status

CASES = sorted((Path(__file__).parent.parent / "golden/routes").iterdir())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_routes(case: Path, golden: Callable[[Path, str], None]) -> None:
    text = (case / "input.yaml").read_text()
    plan = Compiler().compile(world(text))
    golden(case / "tables.txt", "\n".join(tables(plan)))
    golden(case / "status.txt", "\n".join(statuses(text, plan)))


def tables(plan: Compiled) -> Iterator[str]:
    namespaces = {plan.numbering.spaces["scope"].get(scope_digest(name)): name for name in ("shop", "web")}
    named = {0: "everyone", **namespaces}
    found = {(key.scope, number) for key, number in plan.desired.routes.items()}
    for _, scope, table in sorted((str(_of(plan, number).cluster), named[scope], number) for scope, number in found):
        yield from spell(_of(plan, table), scope)
    yield "backends"
    for cluster, endpoints in sorted(plan.desired.clusters.items()):
        listed = ", ".join(f"{one.address} {one.port}{' draining' if one.draining else ''}" for one in endpoints)
        yield f"  {cluster.service}:{cluster.port}: {listed or 'nobody'}"


def _of(plan: Compiled, number: int) -> RouteTable:
    table = plan.desired.listeners[number]
    assert isinstance(table, RouteTable)
    return table


def spell(table: RouteTable, scope: str) -> Iterator[str]:
    yield f"{table.cluster.service}:{table.cluster.port} for clients in {scope}"
    if not table.rules:
        yield "  passed on untouched"
    for rule in table.rules:
        yield f"  {_match(rule.match)}"
        yield f"    {rule.origin.at(rule.path)} {rule.route} rule {rule.rule}{f' ({rule.name})' if rule.name else ''}"
        yield from (f"    {line}" for line in _action(rule))


def _match(match: RouteMatch) -> str:
    parts = [f"path {_value(match.path)}", *([f"method {match.method}"] if match.method else [])]
    parts += [f"header {one.name} {_value(one)}" for one in match.headers]
    parts += [f"query {one.name} {_value(one)}" for one in match.query]
    return ", ".join(parts)


def _value(value: ValueMatch) -> str:
    words = {MatchKind.EXACT: "is", MatchKind.PREFIX: "below", MatchKind.REGEX: "fits"}
    return f"{words[value.kind]} {value.value}"


def _action(rule: RouteRule) -> Iterator[str]:
    for name in ("redirect", "rewrite", "cors", "retry", "persistence"):
        if (value := getattr(rule, name)) is not None:
            yield f"{name}: {value}"
    if rule.request_timeout_ms is not None or rule.backend_timeout_ms is not None:
        yield f"timeouts: request {rule.request_timeout_ms} ms, backend {rule.backend_timeout_ms} ms"
    yield from _headers("", rule.request_headers, rule.response_headers)
    yield from (
        f"mirror {one.numerator}/{one.denominator}: {one.cluster.service}:{one.cluster.port}" for one in rule.mirrors
    )
    if not rule.backends and rule.redirect is None:
        yield "error"
    for choice in rule.backends:
        yield f"{choice.weight}: {_backend(choice)}"
        yield from _headers("  ", choice.request_headers, choice.response_headers)


def _backend(choice: BackendChoice) -> str:
    return f"{choice.cluster.service}:{choice.cluster.port}" if choice.cluster else "error"


def _headers(indent: str, request: HeaderChange, response: HeaderChange) -> Iterator[str]:
    for side, change in (("request", request), ("response", response)):
        if change != HeaderChange():
            yield f"{indent}{side} headers: set {change.set}, add {change.add}, remove {change.remove}"


def statuses(text: str, plan: Compiled) -> Iterator[str]:
    for one in stored(text):
        if one.key.kind not in ROUTES:
            continue
        yield str(one.key)
        outcome = next(found for ref, found in plan.outcomes.items() if tuple(ref) == tuple(one.key))
        for parent in route_status(one, outcome, START)["parents"]:
            yield "  " + ", ".join(f"{key} {value}" for key, value in parent["parentRef"].items() if value)
            for each in parent["conditions"]:
                yield f"    {each['type']} {each['status']} ({each['reason']}): {each['message']}"
