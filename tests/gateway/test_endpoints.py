"""A route's backends follow their pods."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway.scene import ASK_ON, Shop, service, start
from tests.lab.inside import Process
from tests.lab.waiting import SLOWNESS, until
from tests.routes.scene import route


@pytest.fixture
def replicas(shop: Shop) -> Iterator[Shop]:
    """Service many, with pods m1 and m2, behind a route of Service api."""
    shop.lab.apply(service("many", "shop", "many"))
    for name in ("m1", "m2"):
        start(shop.lab, name, "shop", {"app": "many"})
    for name in ("m1", "m2"):
        shop.lab.pod(name, "shop", "Ready")
    shop.lab.apply(route("r", "- {backendRefs: [{name: many, port: 80}]}"))
    yield shop
    shop.lab.delete("pods", "m1", "m2", "m3", namespace="shop")
    shop.lab.delete("services", "many", namespace="shop")


def test_no_request_is_lost_while_a_replica_drains(replicas: Shop) -> None:
    """It is asked no more, and whoever asks meanwhile is answered."""
    with Process(replicas.client, ASK_ON, "api.shop", 60 * SLOWNESS) as asking:
        seen = [asking.heard() for _ in range(100)]
        assert {server for _, _, server in seen} == {"m1", "m2"}
        replicas.lab.delete("pods", "m1", namespace="shop")
        while {server for _, _, server in seen[-100:]} != {"m2"}:
            seen.append(asking.heard())
            assert seen[-1] != "ended", "the replica is still asked"
    assert {status for _, status, _ in seen} == {200}


def test_the_last_replica_serves_until_it_stops_and_then_nobody(replicas: Shop) -> None:
    replicas.lab.delete("pods", "m1", namespace="shop")
    with Process(replicas.client, ASK_ON, "api.shop", 1) as asking:
        assert asking.heard()[1] == 200
        replicas.lab.delete("pods", "m2", namespace="shop")
        seen = []
        while (heard := asking.heard()) != "ended":
            seen.append(heard)
    assert {(status, server) for _, status, server in seen} == {(200, "m2")}, "it is terminating, and all there is"
    body = {"pods": [{"namespace": "shop", "name": "m2"}], "namespace": "shop", "condition": "delete", "timeout": 30}
    replicas.lab.client.post("/v1/wait", body)
    assert {one.status for one in replicas.ask()} == {503}


def test_a_new_replica_is_asked(replicas: Shop) -> None:
    start(replicas.lab, "m3", "shop", {"app": "many"})
    replicas.lab.pod("m3", "shop", "Ready")
    until(lambda: "m3" in {one.server for one in replicas.ask(times=10)}, "the new one is asked")
