"""What a route's backends are spoken to in, how long, how often, and by whom; with real pods and Envoy."""

from __future__ import annotations

import sys
from pathlib import Path
from uuid import uuid4

from tests.gateway.features import shows
from tests.gateway.scene import PORTS, Shop, service
from tests.gateway.test_mesh import apply, at, to
from tests.lab.waiting import SLOWNESS

H2C = str(Path(__file__).parent / "h2c.py")
HALF = """
apiVersion: v1
kind: Service
metadata: {{name: half, namespace: shop}}
spec: {{ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: half, namespace: shop, labels: {{kubernetes.io/service-name: half}}}}
addressType: IPv4
ports: [{{name: "", port: 8080}}]
endpoints: [{{addresses: [{there}]}}, {{addresses: [{refusing}]}}]
"""


def test_a_backend_that_is_the_client_itself(shop: Shop) -> None:
    apply(shop, to("api"))
    shop.all_by("api", client=shop.lab.pod("api", "shop"))
    for address in shop.lab.get("services", "api", "shop")["spec"]["clusterIPs"]:
        shop.all_by("api", host=address, client=shop.lab.pod("api", "shop"))


@shows("HTTPRouteBackendProtocolH2C")
def test_a_backend_that_speaks_http2_only(shop: Shop) -> None:
    """As its Service's port says; the client speaks HTTP/1.1. The port without the word gets what the client speaks."""
    ready = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    command = [sys.executable, H2C, "two", "8080"]
    shop.lab.run("two", command, namespace="shop", labels={"app": "two"}, readiness=ready)
    ports = PORTS.replace("8081", "8080").replace("80,", "80, appProtocol: kubernetes.io/h2c,", 1)
    shop.lab.apply(service("two", "shop", "two").replace(PORTS, ports))
    shop.lab.pod("two", "shop", "Ready")
    try:
        apply(shop, to("two"))
        shop.all_by("two")
        apply(shop, "backendRefs: [{name: two, port: 81}]")
        shop.all_get(502)
    finally:
        shop.lab.delete("pods", "two", namespace="shop")
        shop.lab.delete("services", "two", namespace="shop")


@shows("HTTPRouteRequestTimeout", "HTTPRouteBackendTimeout")
def test_timeouts(shop: Shop) -> None:
    short, long = round(200 * SLOWNESS), SLOWNESS
    apply(
        shop,
        f"{at('/request')}, timeouts: {{request: {short}ms}}, {to('v1')}",
        f"{at('/backend')}, timeouts: {{backendRequest: {short}ms}}, {to('v1')}",
        f"{at('/none')}, timeouts: {{request: 0s}}, {to('v1')}",
    )
    for path in ("/request", "/backend"):
        shop.all_by("v1", path)
        shop.all_get(504, f"{path}?sleep={long}", times=3)
    shop.all_by("v1", f"/none?sleep={long}", times=2)


@shows("HTTPRouteRetry", "HTTPRouteRetryBackendTimeout")
def test_retries(shop: Shop) -> None:
    short, long = round(500 * SLOWNESS), 2 * SLOWNESS
    apply(
        shop,
        f"{at('/twice')}, retry: {{codes: [503], attempts: 2, backoff: 10ms}}, {to('v1')}",
        f"{at('/never')}, retry: {{codes: [503], attempts: 0}}, {to('v1')}",
        f"{at('/late')}, retry: {{attempts: 2}}, timeouts: {{backendRequest: {short}ms}}, {to('v1')}",
    )

    def once(path: str, times: int, how: str = "status=503") -> int:
        return shop.ask(f"{path}?{how}&times={times}&key={uuid4().hex}", times=1)[0].status

    assert {once("/twice", 2) for _ in range(5)} == {200}
    assert {once("/twice", 3) for _ in range(5)} == {503}
    assert once("/never", 1) == 503
    assert [once("/late", times, f"sleep={long}") for times in (2, 3)] == [200, 504]


@shows("HTTPRouteRetryConnectionError")
def test_connections_that_fail_are_tried_again(shop: Shop) -> None:
    """Of the Service's two endpoints one refuses them."""
    there, refusing = (shop.lab.pod(name, "shop").v4 for name in ("v1", "client"))
    shop.lab.apply(HALF.format(there=there, refusing=refusing))
    try:
        apply(shop, f"retry: {{attempts: 30, backoff: 1ms}}, {to('half')}")
        (v4,) = (ip for ip in shop.lab.get("services", "api", "shop")["spec"]["clusterIPs"] if "." in ip)
        shop.all_by("v1", host=v4)
    finally:
        shop.lab.delete("endpointslices", "half", namespace="shop")
        shop.lab.delete("services", "half", namespace="shop")


def test_sessions(shop: Shop) -> None:
    """A session stays with one of the two pods of a Service; without one, both answer."""
    apply(
        shop,
        f"{at('/cookie')}, sessionPersistence: {{cookie: {{name: s, path: /cookie}}}}, {to('pair')}",
        f"{at('/header')}, sessionPersistence: {{sessionName: X-S, type: Header}}, {to('pair')}",
        to("pair"),
    )
    for path, sent, said in (("/cookie", "Cookie", "set-cookie"), ("/header", "X-S", "x-s")):
        started = {one.server: one.headers[said].split(";")[0] for one in shop.ask(path, times=60)}
        assert started.keys() == {"v1", "v2"}
        for server, session in started.items():
            shop.all_by(server, path, headers={sent: session})
    assert {one.server for one in shop.ask(times=60)} == {"v1", "v2"}
