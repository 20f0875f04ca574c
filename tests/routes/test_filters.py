"""What the fields of a rule come to, one by one."""

from __future__ import annotations

import pytest

from tests.routes.scene import compiled, route, rules, service, table
from weft.model.objects import NamespacedName
from weft.model.route import (
    BackendChoice,
    ClusterRef,
    Cors,
    HeaderChange,
    MatchKind,
    Mirror,
    Persistence,
    Redirect,
    Retry,
    Rewrite,
    RouteRule,
    ValueMatch,
)

V1 = ClusterRef(NamespacedName("shop", "v1"), 80)
V2 = ClusterRef(NamespacedName("shop", "v2"), 80)
TO_V1 = "backendRefs: [{name: v1, port: 80}]"


def rule(text: str, kind: str = "HTTPRoute") -> RouteRule:
    (found,) = rules(f"[{{{text}}}]", kind)
    return found


def filtered(filters: str, more: str = TO_V1, kind: str = "HTTPRoute") -> RouteRule:
    return rule(f"filters: [{filters}]{', ' if more else ''}{more}", kind)


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_request_and_response_headers(kind: str) -> None:
    found = filtered(
        "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: '1'}], remove: [X-C]}},"
        "{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: X-B, value: '2'}]}}",
        kind=kind,
    )
    assert found.request_headers == HeaderChange((("X-A", "1"),), (), ("X-C",))
    assert found.response_headers == HeaderChange((), (("X-B", "2"),), ())


@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_headers_of_one_backend(kind: str) -> None:
    filters = (
        "[{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-A, value: '1'}]}},"
        " {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [X-B]}}]"
    )
    found = rule(f"backendRefs: [{{name: v1, port: 80, weight: 3, filters: {filters}}}, {{name: v2, port: 80}}]", kind)
    assert found.backends == (
        BackendChoice(V1, 3, HeaderChange((("X-A", "1"),)), HeaderChange(remove=("X-B",))),
        BackendChoice(V2, 1),
    )
    assert found.request_headers == HeaderChange()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", Redirect(302)),
        ("{scheme: https}", Redirect(302, "https")),
        ("{hostname: example.org, port: 8083}", Redirect(302, host="example.org", port=8083)),
        ("{path: {type: ReplaceFullPath, replaceFullPath: /x}}", Redirect(full_path="/x")),
        ("{path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}", Redirect(prefix="/x")),
        *((f"{{statusCode: {code}}}", Redirect(code)) for code in (301, 302, 303, 307, 308)),
    ],
)
def test_redirect(text: str, expected: Redirect) -> None:
    found = filtered(f"{{type: RequestRedirect, requestRedirect: {text}}}", "matches: [{path: {value: /a}}]")
    assert found.redirect == expected
    assert found.backends == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{hostname: one.example}", Rewrite("one.example")),
        ("{path: {type: ReplaceFullPath, replaceFullPath: /x}}", Rewrite(full_path="/x")),
        ('{path: {type: ReplacePrefixMatch, replacePrefixMatch: ""}}', Rewrite(prefix="")),
    ],
)
def test_rewrite(text: str, expected: Rewrite) -> None:
    assert filtered(f"{{type: URLRewrite, urlRewrite: {text}}}").rewrite == expected


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        ("", Mirror(V2)),
        (", percent: 20", Mirror(V2, 20, 100)),
        (", fraction: {numerator: 1}", Mirror(V2, 1, 100)),
        (", fraction: {numerator: 1, denominator: 3}", Mirror(V2, 1, 3)),
    ],
)
@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_mirror(share: str, expected: Mirror, kind: str) -> None:
    mirror = f"{{type: RequestMirror, requestMirror: {{backendRef: {{name: v2, port: 80}}{share}}}}}"
    assert filtered(mirror, kind=kind).mirrors == (expected,)


def test_several_mirrors_and_one_of_nothing() -> None:
    def mirror(name: str, share: str = "") -> str:
        return f"{{type: RequestMirror, requestMirror: {{backendRef: {{name: {name}, port: 80}}{share}}}}}"

    found = filtered(", ".join([mirror("v1"), mirror("v2"), mirror("v1", ", percent: 0"), mirror("gone")]))
    assert found.mirrors == (Mirror(V1), Mirror(V2))


def test_cors() -> None:
    found = filtered(
        "{type: CORS, cors: {allowOrigins: ['https://a.example'], allowMethods: [GET, PUT], allowHeaders: [X-A],"
        " exposeHeaders: [X-B], allowCredentials: true, maxAge: 60}}"
    )
    assert found.cors == Cors(("https://a.example",), ("GET", "PUT"), ("X-A",), ("X-B",), True, 60)
    assert filtered("{type: CORS, cors: {}}").cors == Cors()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", (None, None)),
        ("{request: 1m30s}", (90_000, None)),
        ("{request: 0s, backendRequest: 250ms}", (0, 250)),
        ("{backendRequest: 1h}", (None, 3_600_000)),
    ],
)
def test_timeouts(text: str, expected: tuple[int | None, int | None]) -> None:
    found = rule(TO_V1 + (f", timeouts: {text}" if text else ""))
    assert (found.request_timeout_ms, found.backend_timeout_ms) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", Retry((), 1)),
        ("{codes: [500, 503], attempts: 3, backoff: 20ms}", Retry((500, 503), 3, 20)),
        ("{codes: [503], attempts: 0}", None),
    ],
)
def test_retry(text: str, expected: Retry | None) -> None:
    assert rule(f"{TO_V1}, retry: {text}").retry == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{sessionName: s}", Persistence(True, "s")),
        ("{sessionName: s, absoluteTimeout: 10m}", Persistence(True, "s")),
        (
            "{sessionName: s, absoluteTimeout: 1500ms, cookieConfig: {lifetimeType: Permanent}}",
            Persistence(True, "s", 2),
        ),
        ("{sessionName: X-S, type: Header}", Persistence(False, "x-s")),
        ("{cookie: {name: s, path: /shop}}", Persistence(True, "s", 0, "/shop")),
        ("{absoluteTimeout: 2s, cookie: {name: s, lifetimeType: Permanent}}", Persistence(True, "s", 2)),
        ("{type: Header, header: {name: X-S}}", Persistence(False, "x-s")),
    ],
)
@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_session_persistence(text: str, expected: Persistence, kind: str) -> None:
    assert rule(f"{TO_V1}, sessionPersistence: {text}", kind).persistence == expected


def test_sessions_without_a_name_have_one_for_each_rule() -> None:
    first, second = rules(f"[{{{TO_V1}, sessionPersistence: {{}}}}, {{{TO_V1}, sessionPersistence: {{}}}}]")
    assert first.persistence is not None
    assert second.persistence is not None
    assert first.persistence.name != second.persistence.name


def test_matches() -> None:
    found = rule(
        "matches: [{path: {type: RegularExpression, value: '/v[0-9]+'}, method: PUT,"
        " headers: [{name: X-A, value: '1'}, {name: x-a, value: '2'}, {name: B, value: b.*, type: RegularExpression}],"
        f" queryParams: [{{name: Q, value: '3'}}]}}], {TO_V1}"
    )
    assert found.match.path == ValueMatch(MatchKind.REGEX, "/v[0-9]+")
    assert found.match.method == "PUT"
    assert found.match.headers == (
        ValueMatch(MatchKind.EXACT, "1", "x-a"),
        ValueMatch(MatchKind.REGEX, "b.*", "b"),
    ), "of two equal names the first counts"
    assert found.match.query == (ValueMatch(MatchKind.EXACT, "3", "Q"),)


@pytest.mark.parametrize(("written", "kept"), [("/", "/"), ("/a", "/a"), ("/a/", "/a")])
def test_a_slash_at_the_end_of_a_prefix_says_nothing(written: str, kept: str) -> None:
    assert rule(f"matches: [{{path: {{value: {written}}}}}], {TO_V1}").match.path == ValueMatch(MatchKind.PREFIX, kept)


def test_what_is_not_written() -> None:
    found = rule(TO_V1)
    assert found.match.path == ValueMatch(MatchKind.PREFIX, "/")
    assert (found.match.headers, found.match.query, found.match.method, found.name) == ((), (), "", "")
    assert rule(f"name: all, matches: [], {TO_V1}").name == "all"
    assert rule("matches: [{}]").backends == (), "without backends and redirect: 500"


def test_a_route_without_rules_answers_everything_with_an_error() -> None:
    for kind in ("HTTPRoute", "GRPCRoute"):
        (found,) = table(compiled(service("api") + route("r", "[]", kind=kind))).rules
        assert found.match.path == ValueMatch(MatchKind.PREFIX, "/")
        assert found.backends == ()


@pytest.mark.parametrize(
    "text",
    [
        "filters: [{type: ExtensionRef, extensionRef: {group: a.example, kind: Auth, name: x}}], " + TO_V1,
        "filters: [{type: ExternalAuth, externalAuth: {protocol: GRPC, grpc: {}, backendRef: {name: v1, port: 80}}}], "
        + TO_V1,
        "backendRefs: [{name: v1, port: 80, filters: [{type: URLRewrite, urlRewrite: {hostname: a.example}}]}]",
        "backendRefs: [{name: v1, port: 80, filters: [{type: CORS, cors: {}}]}, {name: v2, port: 80}]",
    ],
    ids=["extension", "external-auth", "rewrite-on-backend", "cors-on-backend"],
)
def test_a_rule_with_a_filter_that_weft_has_not_is_answered_with_an_error(
    text: str,
) -> None:
    found = rule(f"matches: [{{path: {{value: /a}}}}], {text}")
    assert found.match.path.value == "/a"
    assert (found.backends, found.redirect, found.mirrors) == ((), None, ())
