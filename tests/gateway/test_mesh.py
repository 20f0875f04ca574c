"""The Gateway API's features for meshes, each with real pods and Envoy; docs/GATEWAY-API.md names the test of each."""

from __future__ import annotations

import math
from collections import Counter
from uuid import uuid4

from tests.gateway.features import shows
from tests.gateway.scene import IN_A_ROW, Shop
from tests.lab.waiting import until
from tests.routes.scene import grant, route


@shows("HTTPRoute", "MeshTrafficSplit")
def test_canary_by_header_and_weights(shop: Shop) -> None:
    shop.lab.apply(
        route(
            "canary",
            '- matches: [{headers: [{name: X-Canary-User, value: "true"}]}]\n'
            "  backendRefs: [{name: v2, port: 80}]\n"
            "- backendRefs: [{name: v1, port: 80}]",
        )
    )
    shop.all_by("v2", headers={"X-Canary-User": "true"})
    shop.all_by("v1")


def to(name: str, more: str = "") -> str:
    return f"backendRefs: [{{name: {name}, port: 80{', ' if more else ''}{more}}}]"


def at(path: str, kind: str = "PathPrefix") -> str:
    return f"matches: [{{path: {{type: {kind}, value: '{path}'}}}}]"


def apply(shop: Shop, *rules: str, parents: str = "{name: api}", **where: str) -> None:
    shop.lab.apply(route("r", "\n".join(f"- {{{rule}}}" for rule in rules), parents, **where))


def near(count: int, share: float, of: int) -> bool:
    """Within four and a half standard deviations of a binomial count: one run in 150,000 is outside."""
    return abs(count - share * of) <= 4.5 * math.sqrt(of * share * (1 - share)) + 1


def locations(shop: Shop, path: str, status: int, headers: dict[str, str] | None = None) -> str:
    """The one place to which all redirects lead."""
    found = {one.headers["location"] for one in shop.all_get(status, path, headers=headers)}
    assert len(found) == 1
    return found.pop()


@shows("Mesh", "MeshBasic")
def test_a_service_without_routes_is_as_before(shop: Shop) -> None:
    before = shop.lab.status()["envoy"]["sent"]
    shop.all_by("api")
    assert shop.lab.status()["envoy"]["sent"] == before, "no connection goes to Envoy"


@shows("HTTPRouteMethodMatching", "MeshHTTPRouteMatching")
def test_paths_headers_and_methods(shop: Shop) -> None:
    apply(
        shop,
        f"{at('/exact', 'Exact')}, {to('v2')}",
        f"{at('/v[0-9]+', 'RegularExpression')}, {to('v2')}",
        f"{at('/a')}, {to('v1')}",
        f"matches: [{{method: PUT}}], {to('v2')}",
        f"matches: [{{headers: [{{name: version, value: two}}]}}], {to('v2')}",
        f"matches: [{{headers: [{{name: version, type: RegularExpression, value: 'o.*'}}]}}], {to('v1')}",
    )
    shop.all_by("v2", "/exact")
    shop.all_by("v2", "/v17")
    shop.all_by("v1", "/a/b")
    shop.all_by("v2", "/x", method="PUT")
    shop.all_by("v2", "/x", headers={"Version": "two"})
    shop.all_by("v1", "/x", headers={"version": "one"})
    shop.all_get(404, "/ab")
    shop.all_get(404, "/exact/more")


@shows("MeshHTTPRouteQueryParamMatching", "HTTPRouteQueryParamMatching")
def test_query_parameters(shop: Shop) -> None:
    regex = "{name: c, type: RegularExpression, value: '[0-9]+'}"
    apply(
        shop,
        f"matches: [{{queryParams: [{{name: a, value: one}}]}}], {to('v1')}",
        f"matches: [{{queryParams: [{{name: a, value: one}}, {{name: b, value: two}}]}}], {to('v2')}",
        f"matches: [{{queryParams: [{regex}]}}], {to('v2')}",
    )
    shop.all_by("v1", "/?a=one")
    shop.all_by("v2", "/?b=two&a=one")
    shop.all_by("v2", "/?c=17")
    shop.all_get(404, "/?a=two")
    shop.all_get(404, "/?c=x")


@shows("MeshHTTPRouteWeight")
def test_weights(shop: Shop) -> None:
    apply(shop, "backendRefs: [{name: v1, port: 80, weight: 90}, {name: v2, port: 80, weight: 10}, "
          "{name: api, port: 80, weight: 0}]")  # fmt: skip
    count = Counter(one.server for one in shop.ask(times=1000))
    assert set(count) == {"v1", "v2"}
    assert near(count["v2"], 0.1, 1000), count


def test_invalid_backends_get_their_share_of_500(shop: Shop) -> None:
    apply(shop, "backendRefs: [{name: v1, port: 80, weight: 1}, {name: gone, port: 80, weight: 1}]")
    count = Counter((one.status, one.server) for one in shop.ask(times=400))
    assert set(count) == {(200, "v1"), (500, "")}
    assert near(count[500, ""], 0.5, 400), count
    apply(shop, to("v1", "weight: 0"))
    shop.all_get(500)
    apply(shop, at("/"))
    shop.all_get(500)


@shows("HTTPRouteParentRefPort", "MeshPorts")
def test_ports(shop: Shop) -> None:
    apply(shop, to("v1"), parents="{name: api, port: 80}")
    shop.all_by("v1")
    assert {one.echo["port"] for one in shop.all_by("api", port=81)} == {8081}
    apply(shop, to("v2"), parents="{name: api, sectionName: alt}")
    shop.all_by("api")
    shop.all_by("v2", port=81)
    apply(shop, to("v2"))
    shop.all_by("v2")
    shop.all_by("v2", port=81)


@shows("MeshClusterIPMatching", "MeshFrontendHostname")
def test_the_service_is_known_by_its_address_and_not_by_the_host_header(shop: Shop) -> None:
    apply(shop, to("v1"))
    shop.all_by("v1", headers={"Host": "v2"})
    shop.all_by("v2", host="v2.shop", headers={"Host": "api"})
    for address in shop.lab.get("services", "api", "shop")["spec"]["clusterIPs"]:
        shop.all_by("v1", host=address)


@shows("MeshFrontend")
def test_a_pods_own_address_is_not_routed(shop: Shop) -> None:
    apply(shop, to("v1"))
    api = shop.lab.pod("api", "shop")
    shop.all_by("api", host=api.v4, port=8080)


@shows("MeshHTTPRouteSimpleSameNamespace")
def test_a_producer_route_is_for_every_namespace(shop: Shop) -> None:
    apply(shop, to("v1"))
    shop.all_by("v1")
    shop.all_by("v1", client=shop.consumer)


@shows("MeshConsumerRoute")
def test_a_consumer_route_is_for_its_namespace_and_wins_there(shop: Shop) -> None:
    header = "filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: X-Own, value: 'yes'}]}}]"
    own = f"[{{{header}, backendRefs: [{{name: api, namespace: shop, port: 80}}]}}]"
    shop.lab.apply(route("own", own, "{name: api, namespace: shop}", namespace="web"))
    assert {one.headers["x-own"] for one in shop.all_by("api", client=shop.consumer)} == {"yes"}
    assert all("x-own" not in one.headers for one in shop.all_by("api"))
    apply(shop, to("v1"))
    shop.all_by("api", client=shop.consumer)
    shop.all_by("v1")


@shows("HTTPRouteResponseHeaderModification", "MeshHTTPRouteRequestHeaderModifier")
def test_request_and_response_headers(shop: Shop) -> None:
    change = "{set: [{name: X-Set, value: s}], add: [{name: X-Add, value: a}], remove: [X-Gone]}"
    apply(
        shop,
        f"filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {change}}}], {to('v1')}, {at('/request')}",
        f"filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {change.replace('X-Gone', 'X-Server')}}}],"
        f" {to('v1')}, {at('/response')}",
    )
    for one in shop.all_by("v1", "/request", headers={"X-Set": "old", "X-Add": "old", "X-Gone": "old"}):
        got = one.echo["headers"]
        assert (got["x-set"], "x-gone" in got) == ("s", False)
        assert got["x-add"] == "old,a"
    for one in shop.ask("/response"):
        assert (one.status, one.headers["x-set"], one.headers["x-add"], one.server) == (200, "s", "a", "")


@shows(
    "MeshHTTPRouteBackendRequestHeaderModification",
    "HTTPRouteBackendRequestHeaderModification",
    "MeshHTTPRouteBackendRequestHeaderModifier",
)
def test_headers_of_one_backend(shop: Shop) -> None:
    set_ = "{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: X-Set, value: only-v1}]}}"
    apply(shop, f"backendRefs: [{{name: v1, port: 80, filters: [{set_}]}}, {{name: v2, port: 80}}]")
    seen = {(one.server, one.echo["headers"].get("x-set")) for one in shop.ask(times=60)}
    assert seen == {("v1", "only-v1"), ("v2", None)}


@shows(
    "MeshHTTPRouteSchemeRedirect",
    "MeshHTTPRouteRedirectPort",
    "MeshHTTPRouteRedirectPath",
    "HTTPRouteSchemeRedirect",
    "HTTPRoutePortRedirect",
    "HTTPRoutePathRedirect",
    "HTTPRoute303RedirectStatusCode",
    "HTTPRoute307RedirectStatusCode",
    "HTTPRoute308RedirectStatusCode",
    "MeshHTTPRouteRedirectHostAndStatus",
    "MeshHTTPRoute303Redirect",
    "MeshHTTPRoute307Redirect",
    "MeshHTTPRoute308Redirect",
)
def test_redirects(shop: Shop) -> None:
    def redirect(path: str, text: str) -> str:
        return f"{at(path)}, filters: [{{type: RequestRedirect, requestRedirect: {{{text}}}}}]"

    replace = "path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}"
    codes = (301, 302, 303, 307, 308)
    apply(
        shop,
        redirect("/host", "hostname: example.org"),
        redirect("/scheme", "scheme: https, hostname: example.org"),
        redirect("/tls", "scheme: https"),
        redirect("/port", "port: 8083"),
        redirect("/both", "port: 8083, hostname: example.org"),
        redirect("/prefix", replace),
        redirect("/full", "path: {type: ReplaceFullPath, replaceFullPath: /all}"),
        *(redirect(f"/code{code}", f"statusCode: {code}, hostname: example.org") for code in codes),
    )
    assert locations(shop, "/host/x", 302) == "http://example.org/host/x"
    assert locations(shop, "/scheme/x", 302) == "https://example.org/scheme/x"
    assert locations(shop, "/tls/x", 302) == "https://api.shop/tls/x"
    assert locations(shop, "/port", 302) == "http://api.shop:8083/port"
    assert locations(shop, "/both", 302) == "http://example.org:8083/both"
    assert locations(shop, "/prefix/lemon", 302) == "http://api.shop/new/lemon"
    assert locations(shop, "/full/x", 302) == "http://api.shop/all"
    for code in codes:
        assert locations(shop, f"/code{code}", code) == f"http://example.org/code{code}"


@shows("MeshHTTPRouteRewritePath", "HTTPRouteHostRewrite", "HTTPRoutePathRewrite")
def test_rewrites(shop: Shop) -> None:
    def rewrite(path: str, text: str) -> str:
        return f"{at(path)}, filters: [{{type: URLRewrite, urlRewrite: {{{text}}}}}], {to('v1')}"

    apply(
        shop,
        rewrite("/prefix/one", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /one}"),
        rewrite("/strip", 'path: {type: ReplacePrefixMatch, replacePrefixMatch: ""}'),
        rewrite("/full", "path: {type: ReplaceFullPath, replaceFullPath: /all}"),
        rewrite("/host", "hostname: one.example.org"),
    )
    for asked, got in (
        ("/prefix/one/two", "/one/two"),
        ("/strip/two", "/two"),
        ("/strip", "/"),
        ("/full/x/y", "/all"),
        ("/full/x?q=1", "/all?q=1"),
        ("/host", "/host"),
    ):
        assert {one.echo["path"] for one in shop.all_by("v1", asked)} == {got}
    assert {one.echo["headers"]["host"] for one in shop.all_by("v1", "/host")} == {"one.example.org"}


@shows("HTTPRouteRequestMirror", "HTTPRouteRequestMultipleMirrors", "HTTPRouteRequestPercentageMirror")
def test_mirrors(shop: Shop) -> None:
    def mirror(name: str, share: str = "") -> str:
        return f"{{type: RequestMirror, requestMirror: {{backendRef: {{name: {name}, port: 80}}{share}}}}}"

    mark = uuid4().hex
    apply(
        shop,
        f"{at('/two')}, filters: [{mirror('v2')}, {mirror('api')}], {to('v1')}",
        f"{at('/some')}, filters: [{mirror('v2', ', percent: 20')}], {to('v1')}",
        f"{at('/part')}, filters: [{mirror('v2', ', fraction: {numerator: 1, denominator: 2}')}], {to('v1')}",
    )

    def seen(server: str, path: str) -> int:
        host = shop.lab.pod(server, "shop").v4
        return sum(one == path for one in shop.ask("/seen", host=host, port=8080, times=1)[0].echo["seen"])

    shop.all_by("v1", f"/two/{mark}")
    until(lambda: seen("v2", f"/two/{mark}") == seen("api", f"/two/{mark}") == IN_A_ROW, "every request is mirrored")
    for path, share in (("/some", 0.2), ("/part", 0.5)):
        shop.all_by("v1", f"{path}/{mark}", times=400)
        until(lambda: near(seen("v2", f"{path}/{mark}"), share, 400), f"mirrored: {share}")  # noqa: B023


@shows("HTTPRouteCORS")
def test_cors(shop: Shop) -> None:
    policy = "{allowOrigins: ['https://*.a.example'], allowMethods: [PUT], allowHeaders: [X-A], maxAge: 60}"
    apply(shop, f"filters: [{{type: CORS, cors: {policy}}}], {to('v1')}")
    asked = {"Origin": "https://www.a.example", "Access-Control-Request-Method": "PUT"}
    for one in shop.ask(method="OPTIONS", headers=asked):
        assert (one.status, one.server) == (200, "")
        assert one.headers["access-control-allow-origin"] == "https://www.a.example"
        assert one.headers["access-control-allow-methods"] == "PUT"
        assert one.headers["access-control-max-age"] == "60"
    for one in shop.all_by("v1", headers={"Origin": "https://b.example"}):
        assert "access-control-allow-origin" not in one.headers


@shows("MeshHTTPRouteNamedRouteRule", "HTTPRouteNamedRouteRule", "MeshHTTPRouteNamedRule")
def test_named_rules(shop: Shop) -> None:
    apply(shop, f"name: one, {at('/one')}, {to('v1')}", f"name: two, {at('/two')}, {to('v2')}")
    shop.all_by("v1", "/one")
    shop.all_by("v2", "/two")
    assert [one["name"] for one in shop.lab.get("httproute", "r", "shop")["spec"]["rules"]] == ["one", "two"]


@shows("ReferenceGrant")
def test_a_backend_in_another_namespace_needs_a_grant(shop: Shop) -> None:
    apply(shop, "backendRefs: [{name: far, namespace: web, port: 80}]")
    shop.all_get(500)
    shop.lab.apply(grant("web"))
    shop.all_by("far")
    shop.lab.delete("referencegrants", "grant", namespace="web")
    shop.all_get(500)


def test_status_is_there_when_apply_returns(shop: Shop) -> None:
    def conditions() -> dict[str, str]:
        (parent,) = shop.lab.get("httproute", "r", "shop")["status"]["parents"]
        assert parent["controllerName"] == "weft.io/mesh-controller"
        return {one["type"]: one["reason"] for one in parent["conditions"]}

    apply(shop, to("v1"))
    assert conditions() == {"Accepted": "Accepted", "ResolvedRefs": "ResolvedRefs"}
    apply(shop, to("gone"))
    assert conditions() == {"Accepted": "Accepted", "ResolvedRefs": "BackendNotFound"}
    apply(shop, to("v1"), parents="{name: nobody}")
    assert conditions() == {"Accepted": "NoMatchingParent", "ResolvedRefs": "ResolvedRefs"}


def test_several_routes_are_merged(shop: Shop) -> None:
    shop.lab.apply(route("first", f"- {{{to('v1')}}}"))
    shop.lab.apply(route("second", f"- {{{at('/two')}, {to('v2')}}}"))
    shop.lab.apply(route("third", f"- {{{to('api')}}}"))
    shop.all_by("v2", "/two")
    shop.all_by("v1", "/else")
