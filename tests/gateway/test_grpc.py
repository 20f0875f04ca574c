"""GRPCRoute with real pods and Envoy."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.features import shows
from tests.gateway.scene import IN_A_ROW, Shop
from tests.gateway.test_mesh import near
from tests.lab.waiting import until
from tests.routes.scene import route

CALLS = str(Path(__file__).parent / "calls.py")
GET, PUT, STOCK = "/shop.Orders/Get", "/shop.Orders/Put", "/shop.Stock/Get"


@dataclass
class Calls:
    shop: Shop
    address: str

    def call(
        self, path: str = GET, times: int = IN_A_ROW, headers: dict[str, str] | None = None
    ) -> list[dict[str, Any]]:
        words = (sys.executable, CALLS, "call", self.address, "90", path, str(times), json.dumps(headers or {}))
        done = self.shop.client.exec(*words, timeout=60)
        assert done.returncode == 0, done.stderr[-2000:]
        return [json.loads(line) for line in done.stdout.splitlines()]

    def all_by(self, server: str, *args: Any, **words: Any) -> list[dict[str, Any]]:
        answers = self.call(*args, **words)
        assert {(one["status"], one["server"]) for one in answers} == {("OK", server)}, answers[0]
        return answers

    def all_get(self, status: str, *args: Any, **words: Any) -> None:
        assert {(one["status"], one["server"]) for one in self.call(*args, **words)} == {(status, "")}


@pytest.fixture(scope="module")
def servers(whole_shop: Shop) -> Iterator[Calls]:
    """Services calls, g1 and g2, port 90; calls has no pods of its own."""
    lab = whole_shop.lab
    text = "".join(
        f"""
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: shop}}
spec: {{selector: {{app: {name}}}, ports: [{{name: grpc, port: 90}}]}}
"""
        for name in ("calls", "g1", "g2")
    )
    lab.apply(text)
    for name in ("g1", "g2"):
        lab.run(
            name,
            [sys.executable, CALLS, "serve", name, "90"],
            namespace="shop",
            labels={"app": name},
            readiness={"tcpSocket": {"port": 90}, "periodSeconds": 1},
            wait="Ready",
        )
    yield Calls(whole_shop, lab.get("services", "calls", "shop")["spec"]["clusterIP"])
    lab.delete("pods", "g1", "g2", namespace="shop")


@pytest.fixture
def calls(servers: Calls, shop: Shop) -> Calls:
    """With the shop's clearing up after each test."""
    assert servers.shop is shop
    return servers


def apply(calls: Calls, *rules: str) -> None:
    body = "\n".join(f"- {{{rule}}}" for rule in rules)
    calls.shop.lab.apply(route("calls", body, "{name: calls, port: 90}", kind="GRPCRoute"))


def to(name: str) -> str:
    return f"backendRefs: [{{name: {name}, port: 90}}]"


@shows("GRPCRoute")
def test_service_and_method(calls: Calls) -> None:
    apply(
        calls,
        f"matches: [{{method: {{service: shop.Orders, method: Put}}}}], {to('g2')}",
        f"matches: [{{method: {{service: shop.Orders}}}}], {to('g1')}",
        f"matches: [{{method: {{type: RegularExpression, service: '.*[.]St.*'}}}}], {to('g2')}",
    )
    calls.all_by("g2", PUT)
    calls.all_by("g1", GET)
    calls.all_by("g2", STOCK)


def test_headers_and_no_match(calls: Calls) -> None:
    apply(calls, f"matches: [{{headers: [{{name: version, value: two}}]}}], {to('g2')}")
    calls.all_by("g2", headers={"version": "two"})
    calls.all_get("UNIMPLEMENTED")


@shows("MeshGRPCRouteWeight")
def test_weights(calls: Calls) -> None:
    refs = "{name: g1, port: 90, weight: 70}, {name: g2, port: 90, weight: 30}, {name: calls, port: 90, weight: 0}"
    apply(calls, f"backendRefs: [{refs}]")
    count = Counter(one["server"] for one in calls.call(times=500))
    assert set(count) == {"g1", "g2"}
    assert near(count["g2"], 0.3, 500), count


@shows("MeshGRPCRouteRequestHeaderModifier")
def test_header_modifiers(calls: Calls) -> None:
    request = "{set: [{name: x-set, value: s}], add: [{name: x-add, value: a}], remove: [x-gone]}"
    apply(
        calls,
        f"filters: [{{type: RequestHeaderModifier, requestHeaderModifier: {request}}},"
        f" {{type: ResponseHeaderModifier, responseHeaderModifier: {{set: [{{name: x-back, value: b}}]}}}}],"
        f" {to('g1')}",
    )
    for one in calls.all_by("g1", headers={"x-set": "old", "x-gone": "old"}):
        assert one["headers"]["x-set"] == "s"
        assert one["headers"]["x-add"] == "a"
        assert "x-gone" not in one["headers"]
        assert one["got"]["x-back"] == "b"


def test_invalid_backends_are_unavailable(calls: Calls) -> None:
    apply(calls, to("gone"))
    calls.all_get("UNAVAILABLE")
    apply(calls, "backendRefs: [{name: g1, port: 90}, {name: gone, port: 90}]")
    assert {(one["status"], one["server"]) for one in calls.call(times=60)} == {("OK", "g1"), ("UNAVAILABLE", "")}


@shows("GRPCRouteNamedRouteRule")
def test_named_rules(calls: Calls) -> None:
    apply(
        calls,
        f"name: put, matches: [{{method: {{method: Put}}}}], {to('g2')}",
        f"name: rest, {to('g1')}",
    )
    calls.all_by("g2", PUT)
    calls.all_by("g1", GET)
    rules = calls.shop.lab.get("grpcroute", "calls", "shop")["spec"]["rules"]
    assert [one["name"] for one in rules] == ["put", "rest"]


@shows("MeshGRPCRouteRequestMirror")
def test_mirror(calls: Calls) -> None:
    """The mirrored call arrives: the other server counts it."""
    mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: g2, port: 90}}}"
    apply(
        calls,
        f"matches: [{{method: {{method: Put}}}}], filters: [{mirror}], {to('g1')}",
        to("g2"),
    )
    before = calls.all_by("g2", times=1)[0]["calls"]
    calls.all_by("g1", PUT)
    until(lambda: calls.all_by("g2", times=1)[0]["calls"] > before + IN_A_ROW, "every call is mirrored")
