"""The real Envoy carries out route tables: matches, weights, filters, retries, sessions, and endpoints that change."""

from __future__ import annotations

import collections
from dataclasses import replace

import pytest

from tests.lab.waiting import until
from tests.proxy.scene import BACKENDS, CLIENT, SERVER, Client, Scene, cluster, endpoints
from weft.model.l7 import L7Verdict, Phase, RouteRuleRef
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
    RouteMatch,
    RouteRef,
    RouteRule,
    RouteTable,
    ValueMatch,
)

SERVICE, ONE, TWO, THREE, DEAD = (cluster(name) for name in ("service", "one", "two", "three", "dead"))
CLUSTERS = {
    SERVICE: endpoints(*BACKENDS),
    ONE: endpoints(BACKENDS[0]),
    TWO: endpoints(BACKENDS[1]),
    THREE: endpoints(BACKENDS[2]),
    DEAD: (),
}
ROUTE = RouteRef("HTTPRoute", "default", "shop")
EXACT, PREFIX, REGEX = MatchKind.EXACT, MatchKind.PREFIX, MatchKind.REGEX


def path(value: str, kind: MatchKind = PREFIX) -> ValueMatch:
    return ValueMatch(kind, value)


def to(*refs: ClusterRef | None) -> tuple[BackendChoice, ...]:
    return tuple(BackendChoice(ref) for ref in refs)


def rule(match: ValueMatch | RouteMatch, backends: tuple[BackendChoice, ...] = to(ONE), **fields: object) -> RouteRule:
    whole = match if isinstance(match, RouteMatch) else RouteMatch(match)
    return RouteRule(ROUTE, 0, "", whole, backends, **fields)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def routed(stage: Scene) -> Scene:
    for address in BACKENDS:
        stage.serve(address, 8080)
    return stage


_numbers = iter(range(30_000, 40_000))


def table(scene: Scene, *rules: RouteRule) -> int:
    """The number of a listener with these routes."""
    number = next(_numbers)
    assert scene.ensure({number: RouteTable(SERVICE, rules)}, CLUSTERS) == []
    return number


def served_by(scene: Scene, number: int, *args: object, **kwargs: object) -> str:
    answer = scene.ask(number, *args, **kwargs)  # type: ignore[arg-type]
    assert answer.status == 200, answer
    return str(answer.echo["server"])


def test_what_is_not_grpc_fits_no_grpc_route(routed: Scene) -> None:
    of_grpc = replace(rule(path("/")), route=RouteRef("GRPCRoute", "default", "calls"))
    number = table(routed, of_grpc)
    assert routed.ask(number, "/shop.Orders/Put", "POST").status == 404
    grpc = {"Content-Type": "application/grpc", "TE": "trailers"}
    assert routed.ask(number, "/shop.Orders/Put", "POST", grpc).status == 200


def test_first_match_wins_and_none_is_404(routed: Scene) -> None:
    query = (ValueMatch(EXACT, "1", "v"), ValueMatch(REGEX, "a+", "w"))
    headers = (ValueMatch(EXACT, "true", "x-canary"), ValueMatch(REGEX, "[0-9]+", "x-number"))
    number = table(
        routed,
        rule(path("/exact", EXACT), to(TWO)),
        rule(path("/re[a-z]+", REGEX), to(TWO)),
        rule(RouteMatch(path("/"), headers=headers), to(TWO)),
        rule(RouteMatch(path("/"), query=query), to(THREE)),
        rule(RouteMatch(path("/m"), "DELETE"), to(THREE)),
        rule(path("/a/")),
    )
    first, second, third = BACKENDS
    assert served_by(routed, number, "/exact?x=1") == second
    assert served_by(routed, number, "/regex") == second
    assert served_by(routed, number, "/", headers={"X-Canary": "true", "X-Number": "17"}) == second
    assert served_by(routed, number, "/?v=1&w=aa") == third
    assert served_by(routed, number, "/m/x", "DELETE") == third
    for inside in ("/a", "/a/", "/a/b", "/a?b"):
        assert served_by(routed, number, inside) == first
    for outside in ("/exact/", "/regex1", "/ab", "/m", "/?v=1&w=b"):
        assert routed.ask(number, outside).status == 404
    assert routed.ask(number, "/", headers={"X-Canary": "true", "X-Number": "17a"}).status == 404


def test_record_names_the_route_and_the_backend(routed: Scene) -> None:
    number = table(routed, rule(path("/")))
    client = Client(number)
    client.ask("/x")
    record = routed.record(client_port=client.port)
    client.close()
    assert (record.phase, record.verdict, record.rule) == (Phase.ROUTE, L7Verdict.FORWARDED, RouteRuleRef(ROUTE, 0))
    assert (str(record.server), record.server_port) == (SERVER, number)
    assert (str(record.upstream), record.upstream_port) == (BACKENDS[0], 8080)


def test_server_sees_the_client(routed: Scene) -> None:
    number = table(routed, rule(path("/")))
    answer = routed.ask(number)
    assert answer.echo["client"] == CLIENT


def test_weights(routed: Scene) -> None:
    choices = (BackendChoice(ONE, 3), BackendChoice(TWO, 1), BackendChoice(THREE, 0))
    number = table(routed, rule(path("/"), choices))
    client = Client(number)
    seen = collections.Counter(client.ask("/").echo["server"] for _ in range(1000))
    client.close()
    assert set(seen) == set(BACKENDS[:2])
    # Four standard deviations of a binomial with p = 1/4.
    assert abs(seen[BACKENDS[1]] - 250) < 4 * (1000 * 0.25 * 0.75) ** 0.5


def test_invalid_backends(routed: Scene) -> None:
    number = table(
        routed,
        rule(path("/half"), (BackendChoice(None, 1), BackendChoice(ONE, 1))),
        rule(path("/zero"), (BackendChoice(ONE, 0),)),
        rule(path("/none"), ()),
        rule(path("/invalid"), to(None)),
        rule(path("/empty"), to(DEAD)),
    )
    client = Client(number)
    seen = collections.Counter(client.ask("/half").status for _ in range(200))
    assert set(seen) == {200, 500}
    assert abs(seen[500] - 100) < 4 * 50**0.5
    for place, status in (("/zero", 500), ("/none", 500), ("/invalid", 500), ("/empty", 503)):
        assert client.ask(place).status == status
    port = client.port
    client.close()
    assert routed.record(client_port=port, path="/invalid").verdict is L7Verdict.ERROR
    assert routed.record(client_port=port, path="/empty").details == "no endpoint is ready"


def test_header_modifiers(routed: Scene) -> None:
    change = HeaderChange((("x-set", "100%"),), (("x-add", "2"),), ("x-remove",))
    backend = BackendChoice(ONE, 1, HeaderChange((("x-backend", "b"),)), HeaderChange((("x-answer-backend", "b"),)))
    answers = HeaderChange((("server", "mine"),), (("x-answer", "1"),), ("x-mixedcase",))
    number = table(routed, rule(path("/"), (backend,), request_headers=change, response_headers=answers))
    answer = routed.ask(number, headers={"X-Set": "0", "X-Add": "1", "X-Remove": "1"})
    got = {name: answer.server_header(name) for name in ("x-set", "x-add", "x-remove", "x-backend")}
    assert got == {"x-set": ["100%"], "x-add": ["1", "2"], "x-remove": [], "x-backend": ["b"]}
    assert (answer.header["server"], answer.header["x-answer"], answer.header["x-answer-backend"]) == ("mine", "1", "b")
    assert "x-mixedcase" not in answer.header


@pytest.mark.parametrize(
    ("prefix", "replacement", "asked", "served"),
    [
        # The table at HTTPPathModifier.replacePrefixMatch.
        ("/foo", "/xyz", "/foo/bar", "/xyz/bar"),
        ("/foo", "/xyz/", "/foo/bar", "/xyz/bar"),
        ("/foo/", "/xyz", "/foo/bar", "/xyz/bar"),
        ("/foo/", "/xyz/", "/foo/bar", "/xyz/bar"),
        ("/foo", "/xyz", "/foo", "/xyz"),
        ("/foo", "/xyz", "/foo/", "/xyz/"),
        ("/foo", "", "/foo/bar", "/bar"),
        ("/foo", "", "/foo/", "/"),
        ("/foo", "", "/foo", "/"),
        ("/foo", "/", "/foo/", "/"),
        ("/foo", "/", "/foo", "/"),
        ("/foo", "/", "/foo?a=/foo", "/?a=/foo"),
        ("/", "/xyz", "/bar?q", "/xyz/bar?q"),
        ("/", "/", "/bar", "/bar"),
        ("/f.o", "", "/f.o/f.o", "/f.o"),
    ],
)
def test_prefix_rewrite_and_redirect(routed: Scene, prefix: str, replacement: str, asked: str, served: str) -> None:
    number = table(routed, rule(path(prefix), rewrite=Rewrite("new.example", None, replacement)))
    answer = routed.ask(number, asked)
    assert (answer.echo["path"], answer.server_header("host")) == (served, ["new.example"])
    moved = table(routed, rule(path(prefix), (), redirect=Redirect(host="h", port=1, prefix=replacement)))
    assert routed.ask(moved, asked).header["location"] == f"http://h:1{served}"


def test_full_path_rewrite(routed: Scene) -> None:
    number = table(routed, rule(path("/a"), rewrite=Rewrite(full_path="/b\\1")))
    assert routed.ask(number, "/a/c?q=1").echo["path"] == "/b\\1?q=1"


@pytest.mark.parametrize(
    ("redirect", "status", "location"),
    [
        (Redirect(301, host="h"), 301, "http://h/a?q=1"),
        (Redirect(303, scheme="https", host="h"), 303, "https://h/a?q=1"),
        (Redirect(307, host="h", port=8083), 307, "http://h:8083/a?q=1"),
        (Redirect(308, scheme="https", host="h", port=443), 308, "https://h/a?q=1"),
        (Redirect(scheme="https"), 302, "https://HOST/a?q=1"),
        (Redirect(scheme="https", port=8443), 302, "https://HOST:8443/a?q=1"),
        (Redirect(scheme="http"), 302, "http://HOST/a?q=1"),
        (Redirect(port=8083), 302, "http://HOST:8083/a?q=1"),
        (Redirect(port=80), 302, "http://HOST/a?q=1"),
        (Redirect(full_path="/new", host="h"), 302, "http://h/new?q=1"),
        (Redirect(full_path="/new"), 302, "http://HOST/new?q=1"),
    ],
)
def test_redirect(routed: Scene, redirect: Redirect, status: int, location: str) -> None:
    """A port that is the scheme's own is left out, unless the client named one: then it must be replaced."""
    number = table(routed, rule(path("/"), (), redirect=redirect))
    client = Client(number)
    for host in ("client.example", "[2001:db8::1]"):
        own = ":443" if redirect.scheme == "https" else ":80"
        with_port = location.replace("HOST/", f"HOST{own}/")
        for asked, wanted in ((f"{host}:81", with_port), (host, location)):
            answer = client.ask("/a?q=1", headers={"Host": asked})
            assert (answer.status, answer.header["location"]) == (status, wanted.replace("HOST", host))
    record = routed.record(client_port=client.port)
    client.close()
    assert record.verdict is L7Verdict.REDIRECTED


def test_mirrors(routed: Scene) -> None:
    two, three = (routed.serve(address, 8080) for address in BACKENDS[1:])
    two.seen.clear()
    three.seen.clear()
    number = table(routed, rule(path("/"), mirrors=(Mirror(TWO), Mirror(THREE, 1, 4))))
    client = Client(number)
    assert {client.ask(f"/{n}", headers={"Host": "me"}).echo["server"] for n in range(200)} == {BACKENDS[0]}
    client.close()
    until(lambda: len(two.seen) == 200, "every request is mirrored")
    assert abs(len(three.seen) - 50) < 4 * (200 * 0.25 * 0.75) ** 0.5
    hosts = {value for seen in two.seen for name, value in seen["headers"] if name.lower() == "host"}
    assert hosts == {"me"}
    assert {seen["client"] for seen in two.seen + three.seen} == {CLIENT}
    names = {name.lower() for seen in two.seen for name, _ in seen["headers"]}
    assert names == {"host", "accept-encoding"}
    two.seen.clear()
    body = routed.ask(number, "/x", "POST", {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"})
    until(lambda: two.seen, "the request is mirrored")
    ours = dict(body.echo["headers"]).items()
    assert {(name.lower(), value) for name, value in two.seen[0]["headers"]} == {(n.lower(), v) for n, v in ours}


def test_retries(routed: Scene) -> None:
    server = routed.serve(BACKENDS[0], 8080)
    number = table(
        routed, rule(path("/"), retry=Retry((503,), 2, 10)), rule(path("/"), retry=Retry((), 0)),
    )  # fmt: skip
    server.seen.clear()
    assert routed.ask(number, "/?status=503").status == 503
    assert len(server.seen) == 3
    server.seen.clear()
    assert routed.ask(number, "/?status=500").status == 500
    assert len(server.seen) == 1


def test_timeouts(routed: Scene) -> None:
    number = table(
        routed,
        rule(path("/request"), request_timeout_ms=100),
        rule(path("/backend"), backend_timeout_ms=100),
        rule(path("/retried"), backend_timeout_ms=100, retry=Retry((504,), 1)),
        rule(path("/none"), request_timeout_ms=0, backend_timeout_ms=0),
    )
    for place in ("/request", "/backend", "/retried"):
        assert routed.ask(number, f"{place}?sleep=0.5").status == 504
    assert routed.ask(number, "/none?sleep=0.5").status == 200


@pytest.mark.parametrize("cookie", [True, False], ids=["cookie", "header"])
def test_session_persistence(routed: Scene, cookie: bool) -> None:
    number = table(routed, rule(path("/"), to(SERVICE), persistence=Persistence(cookie, "x-session")))
    first = routed.ask(number)
    if cookie:
        back = {"Cookie": first.header["set-cookie"].partition(";")[0]}
    else:
        back = {"X-Session": first.header["x-session"]}
    assert {served_by(routed, number, headers=back) for _ in range(20)} == {first.echo["server"]}
    assert {served_by(routed, number) for _ in range(50)} == set(BACKENDS)


def test_cors(routed: Scene) -> None:
    policy = Cors(("https://a.example", "https://*.b.example"), ("GET", "PUT"), ("x-one",), ("x-two",), True, 30)
    number = table(routed, rule(path("/"), cors=policy))
    ask = {"Origin": "https://x.b.example", "Access-Control-Request-Method": "PUT"}
    answer = routed.ask(number, "/", "OPTIONS", ask)
    names = ("origin", "methods", "headers", "credentials")
    got = {name: answer.header.get(f"access-control-allow-{name}") for name in names}
    assert got == {"origin": ask["Origin"], "methods": "GET,PUT", "headers": "x-one", "credentials": "true"}
    assert answer.header["access-control-max-age"] == "30"
    plain = routed.ask(number, "/", "GET", {"Origin": "https://a.example"})
    assert plain.header["access-control-allow-origin"] == "https://a.example"
    assert plain.header["access-control-expose-headers"] == "x-two"
    assert "access-control-allow-origin" not in routed.ask(number, "/", "GET", {"Origin": "https://c.example"}).header


def test_endpoints_change_without_cutting(routed: Scene) -> None:
    moving = cluster("moving")
    number = next(_numbers)
    routed.ensure({number: RouteTable(SERVICE, (rule(path("/"), to(moving)),))}, {moving: endpoints(BACKENDS[0])})
    client = Client(number)
    client.ask("/")
    port = client.port
    for address in (BACKENDS[1], BACKENDS[0], BACKENDS[2]):
        routed.proxy.update_clusters({moving: endpoints(address)})
        until(lambda address=address: client.ask("/").echo["server"] == address, f"{address} serves")  # type: ignore[misc]
    routed.proxy.update_clusters({moving: endpoints(BACKENDS[0], draining=True) + endpoints(BACKENDS[1])})
    until(lambda: client.ask("/").echo["server"] == BACKENDS[1], "the ready one serves")
    assert {client.ask("/").echo["server"] for _ in range(20)} == {BACKENDS[1]}
    routed.proxy.update_clusters({moving: endpoints(BACKENDS[0], draining=True)})
    until(lambda: client.ask("/").echo["server"] == BACKENDS[0], "the terminating one serves while it is alone")
    assert client.port == port
    client.close()


def test_table_without_routes_passes_anything(routed: Scene) -> None:
    number = next(_numbers)
    routed.ensure({number: RouteTable(SERVICE)}, CLUSTERS)
    client = Client(number)
    assert client.ask("/a/../b%2f").echo["path"] == "/a/../b%2f"
    port = client.port
    client.close()
    assert (routed.record(client_port=port).protocol, routed.record(client_port=port).rule) == ("TCP", None)
