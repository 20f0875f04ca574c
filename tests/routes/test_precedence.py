"""Which rule decides: the table's order against the specification's criteria, applied one after the other."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.routes.scene import compiled, route, rules, service, table, world
from weft.model.route import MatchKind, RouteMatch, RouteRule, ValueMatch
from weft.plan import Compiler

PATHS = ("/", "/a", "/a/", "/a/b", "/ab", "/a/b/c")
STEADY = settings(max_examples=150, deadline=None, derandomize=True)


class Request(NamedTuple):
    path: str
    method: str
    headers: tuple[tuple[str, str], ...]
    query: tuple[tuple[str, str], ...]


def fits(match: RouteMatch, request: Request) -> bool:
    return (
        _path_fits(match.path, request.path)
        and match.method in ("", request.method)
        and all(_value_fits(one, dict(request.headers)) for one in match.headers)
        and all(_value_fits(one, dict(request.query)) for one in match.query)
    )


def _path_fits(wanted: ValueMatch, path: str) -> bool:
    match wanted.kind:
        case MatchKind.EXACT:
            return path == wanted.value
        case MatchKind.REGEX:
            return re.fullmatch(wanted.value, path) is not None
    prefix = wanted.value.rstrip("/")
    return path == prefix or path.startswith(f"{prefix}/")


def _value_fits(wanted: ValueMatch, values: dict[str, str]) -> bool:
    if wanted.name not in values:
        return False
    value = values[wanted.name]
    return bool(re.fullmatch(wanted.value, value)) if wanted.kind is MatchKind.REGEX else value == wanted.value


def decided(found: tuple[RouteRule, ...], request: Request) -> tuple[str, int] | None:
    """Route and rule of the first that fits."""
    return next(((one.route.name, one.rule) for one in found if fits(one.match, request)), None)


class Written(NamedTuple):
    """A match as it stands in YAML, and where."""

    route: int
    rule: int
    match: dict[str, Any]


def naive(matches: list[Written], ages: list[int], request: Request) -> tuple[str, int] | None:
    """The specification's text: keep the best by one criterion, continue on ties."""
    left = [one for one in matches if _written_fits(one.match, request)]

    def kind(one: Written) -> str:
        return str(one.match.get("path", {}).get("type", "PathPrefix"))

    def length(one: Written) -> int:
        return len(one.match.get("path", {}).get("value", "/").rstrip("/") or "/")

    for wanted in ("Exact", "RegularExpression"):
        left = [one for one in left if kind(one) == wanted] or left
    for criterion in (
        length,
        lambda one: "method" in one.match,
        lambda one: len(one.match.get("headers", ())),
        lambda one: len(one.match.get("queryParams", ())),
        lambda one: -ages[one.route],
        lambda one: -one.route,  # names are r0, r1, ...
        lambda one: -one.rule,
    ):
        best = max((criterion(one) for one in left), default=0)
        left = [one for one in left if criterion(one) == best]
    return (f"r{left[0].route}", left[0].rule) if left else None


def _written_fits(match: dict[str, Any], request: Request) -> bool:
    path = match.get("path", {})
    kind, value = path.get("type", "PathPrefix"), path.get("value", "/")
    if not _path_fits(ValueMatch(MatchKind(kind), value), request.path):
        return False
    if match.get("method", request.method) != request.method:
        return False
    headers = {one["name"]: one["value"] for one in match.get("headers", ())}
    query = {one["name"]: one["value"] for one in match.get("queryParams", ())}
    return headers.items() <= dict(request.headers).items() and query.items() <= dict(request.query).items()


def _fields(names: str) -> st.SearchStrategy[list[dict[str, str]]]:
    some = st.lists(st.sampled_from(names), max_size=2, unique=True)
    return some.map(lambda chosen: [{"name": name, "value": "1"} for name in chosen])


def _path() -> st.SearchStrategy[dict[str, str]]:
    plain = st.builds(
        lambda kind, value: {"type": kind, "value": value},
        st.sampled_from(["Exact", "PathPrefix"]),
        st.sampled_from(PATHS),
    )
    regex = st.sampled_from(["/a.*", "/[ab]", ".*", "/a/b"])
    return plain | regex.map(lambda value: {"type": "RegularExpression", "value": value})


@st.composite
def a_match(draw: st.DrawFn) -> dict[str, Any]:
    match: dict[str, Any] = {}
    if draw(st.booleans()):
        match["path"] = draw(_path())
    if draw(st.booleans()):
        match["method"] = draw(st.sampled_from(["GET", "POST"]))
    for field, names in (("headers", "xyz"), ("queryParams", "pq")):
        if found := draw(_fields(names)):
            match[field] = found
    return match


A_REQUEST = st.builds(
    Request,
    st.sampled_from(PATHS),
    st.sampled_from(["GET", "POST"]),
    st.sets(st.sampled_from("xyz")).map(lambda names: tuple((name, "1") for name in sorted(names))),
    st.sets(st.sampled_from("pq")).map(lambda names: tuple((name, "1") for name in sorted(names))),
)
ROUTES = st.lists(st.lists(st.lists(a_match(), min_size=1, max_size=3), min_size=1, max_size=3), min_size=1, max_size=3)


@given(ROUTES, st.lists(A_REQUEST, min_size=1, max_size=6), st.randoms(use_true_random=False))
@STEADY
def test_the_first_rule_that_fits_is_the_one_that_the_specification_names(
    routes: list[list[list[dict[str, Any]]]], requests: list[Request], random: Any
) -> None:
    order = list(range(len(routes)))
    random.shuffle(order)
    text = service("api")
    for number in order:  # each object is younger than the one before
        body = [{"matches": matches, "backendRefs": [{"name": "api", "port": 80}]} for matches in routes[number]]
        text += route(f"r{number}", json.dumps(body))
    found = table(compiled(text)).rules
    written = [
        Written(number, index, match)
        for number, some in enumerate(routes)
        for index, matches in enumerate(some)
        for match in matches
    ]
    ages = [order.index(number) for number in range(len(routes))]
    for request in requests:
        assert decided(found, request) == naive(written, ages, request)


ONE_AFTER_THE_OTHER = (
    "{path: {type: Exact, value: /a/b}}",
    '{path: {type: RegularExpression, value: "/a/[b]"}}',
    '{path: {type: RegularExpression, value: "/.*"}}',
    "{path: {value: /a/b}}",
    "{path: {value: /a}, method: GET}",
    '{path: {value: /a}, headers: [{name: x, value: "1"}, {name: z, value: "1"}]}',
    '{path: {value: /a}, headers: [{name: x, value: "1"}], queryParams: [{name: p, value: "1"}]}',
    '{path: {value: /a}, headers: [{name: x, value: "1"}]}',
    '{path: {value: /a}, queryParams: [{name: p, value: "1"}, {name: q, value: "1"}]}',
    '{path: {value: /a}, queryParams: [{name: p, value: "1"}]}',
    "{path: {value: /a}}",
    "{}",
)
"""Each is looked at before the next; all fit one request."""


@pytest.mark.parametrize("at", range(len(ONE_AFTER_THE_OTHER) - 1))
def test_each_criterion(at: int) -> None:
    better, worse = ONE_AFTER_THE_OTHER[at : at + 2]
    found = rules(f"[{{matches: [{worse}]}}, {{matches: [{better}]}}]")
    assert [one.rule for one in found] == [1, 0]


def test_of_two_routes_the_older_wins() -> None:
    one = "[{backendRefs: [{name: api, port: 80}]}]"
    found = table(compiled(service("api") + route("r-b", one) + route("r-a", one))).rules
    assert [each.route.name for each in found] == ["r-b", "r-a"]


def test_of_two_routes_of_one_age_the_first_in_the_alphabet_wins() -> None:
    one = '[{matches: [{path: {value: "/a"}}], backendRefs: [{name: api, port: 80}]}]'
    made = world(service("api") + route("r-b", one) + route("r-a", one))
    same = {ref: replace(each, created=7) for ref, each in made.routes.items()}
    found = table(Compiler().compile(replace(made, routes=same))).rules
    assert [each.route.name for each in found] == ["r-a", "r-b"]


GRPC = """
- matches: [{headers: [{name: x, value: "1"}]}]
- matches: [{method: {method: Get}}]
- matches: [{method: {service: a.B}}]
- matches: [{method: {service: a.B, method: Get}}]
- matches: [{method: {service: a.B, method: Get}, headers: [{name: x, value: "1"}]}]
- matches: [{method: {service: a.Longer}}]
- matches: [{method: {type: RegularExpression, service: "a[.].*", method: "G.*"}}]
- {}
"""


def test_grpc_routes_have_an_order_of_their_own() -> None:
    found = rules(GRPC.strip(), "GRPCRoute")
    assert [one.rule for one in found] == [5, 4, 3, 2, 1, 6, 0, 7]
    paths = {one.rule: (one.match.path.kind, one.match.path.value) for one in found}
    assert paths == {
        0: (MatchKind.PREFIX, "/"),
        1: (MatchKind.REGEX, "/[^/]+/Get"),
        2: (MatchKind.PREFIX, "/a.B"),
        3: (MatchKind.EXACT, "/a.B/Get"),
        4: (MatchKind.EXACT, "/a.B/Get"),
        5: (MatchKind.PREFIX, "/a.Longer"),
        6: (MatchKind.REGEX, "/(a[.].*)/(G.*)"),
        7: (MatchKind.PREFIX, "/"),
    }
