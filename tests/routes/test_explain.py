"""``weft explain`` of a request to a routed Service: the rule that decides, why not others, and who may serve it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.routes.scene import route, service, world
from weft.agent.explaining import answer
from weft.model.world import World
from weft.plan import Compiled

CANARY = """
- name: canary
  matches: [{headers: [{name: X-Canary-User, value: "true"}]}]
  backendRefs: [{name: v2, port: 80}]
- matches: [{path: {type: PathPrefix, value: /old}}]
  filters: [{type: RequestRedirect, requestRedirect: {statusCode: 301}}]
- matches:
  - {method: GET, path: {type: PathPrefix, value: /shop}, queryParams: [{name: v, value: "1"}]}
  backendRefs: [{name: v1, port: 80, weight: 9}, {name: v2, port: 80, weight: 1}]
- matches: [{path: {type: Exact, value: /gone}}]
"""
SHOP = service("api") + service("v1") + service("v2") + route("canary", CANARY)
GRPC = (
    service("api")
    + service("v1")
    + route(
        "calls",
        "[{matches: [{method: {service: shop.Orders}}], backendRefs: [{name: v1, port: 80}]}]",
        kind="GRPCRoute",
    )
)
OWN = SHOP + route("mine", "[{backendRefs: [{name: v2, namespace: shop, port: 80}]}]", "{name: api, namespace: shop}",
                   namespace="web")  # fmt: skip


@pytest.fixture(scope="module")
def shop() -> World:
    return world(SHOP)


def asked(where: World, path: str, *headers: str, method: str = "GET", source: str = "web/client") -> dict[str, Any]:
    body = {"source": source, "destination": "shop/api:80",
            "request": {"method": method, "path": path, "headers": headers}}  # fmt: skip
    return answer(where, Compiled(), body, lambda _: [], lambda _: None, lambda *_: ())


def test_the_rule_that_decides_and_its_backend(shop: World) -> None:
    said = asked(shop, "/", "X-Canary-User: true")
    assert said["text"].splitlines()[0] == "service shop/api:80 is routed"
    assert "HTTPRoute/shop/canary rules[0] (canary)  input.yaml:" in said["text"]
    assert "shop/v2:80 (1 of 1)" in said["text"] and "service shop/v2:80 -> shop/v2-1:8080" in said["text"]
    assert said["json"]["route"]["rule"]["route"] == "HTTPRoute/shop/canary"


def test_why_not_another_and_the_weights(shop: World) -> None:
    said = asked(shop, "/shop/x?v=1&v=2")
    assert said["json"]["route"]["outcome"] == "shop/v1:80 (9 of 10), shop/v2:80 (1 of 10)"
    assert said["json"]["via"] == "service shop/v1:80" and said["json"]["same_for"] == ["web/client -> shop/v2-1"]
    assert "not HTTPRoute/shop/canary rules[3]" in said["text"] and "expected Exact /gone" in said["text"]


@pytest.mark.parametrize(
    ("path", "outcome", "why"),
    [
        ("/shopping?v=1", "404", "path is /shopping, expected PathPrefix /shop"),
        ("/shop?v=2", "404", "query v is 2, expected Exact 1"),
        ("/shop", "404", "no query v"),
        ("/other/../shop?v=1", "shop/v1:80 (9 of 10), shop/v2:80 (1 of 10)", ""),
        ("/old/x", "redirected (301)", ""),
        ("/gone", "500, no valid backend", ""),
        ("/a%2Fb", "400", "Envoy refuses the path"),
    ],
)
def test_outcomes(shop: World, path: str, outcome: str, why: str) -> None:
    said = asked(shop, path)
    value = said["json"][0] if isinstance(said["json"], list) else said["json"]
    assert value["route"]["outcome"] == outcome
    assert why in said["text"]


def test_a_consumers_own_routes_come_first() -> None:
    said = asked(world(OWN), "/")
    assert said["json"]["route"]["scope"] == "web"
    assert "service shop/api:80 is routed, for clients of namespace web" in said["text"]
    assert asked(world(OWN), "/", source="shop/v1-1")["json"]["route"]["outcome"] == "404"


def test_what_is_not_grpc_fits_no_grpc_route() -> None:
    where = world(GRPC)
    said = asked(where, "/shop.Orders/Put", method="POST")
    assert said["json"]["route"]["outcome"] == "404" and "it is not gRPC" in said["text"]
    assert "(1 of 1)" in asked(where, "/shop.Orders/Put", "Content-Type: application/grpc", method="POST")["text"]
