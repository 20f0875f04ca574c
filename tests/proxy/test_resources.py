"""Golden cases: tests/golden/envoy/<case>.json is what Envoy is told for these listeners."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.proxy.scene import BACKENDS, cluster, endpoints, header, rules
from weft.model.desired import Listener
from weft.model.http import HttpMatch, Mismatch
from weft.model.route import (
    BackendChoice,
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
from weft.proxy.bootstrap import Paths, bootstrap
from weft.proxy.resources import (
    Json,
    cluster_resources,
    endpoint_resources,
    listener_resources,
    references,
)
from weft.proxy.wire import CLUSTER, ENDPOINTS, LISTENER, ROUTES, resource

FOLDER = Path(__file__).parent.parent / "golden/envoy"
V1, V2 = cluster("v1"), cluster("v2")
CLUSTERS = {V1: endpoints(*BACKENDS[:2]), V2: endpoints(BACKENDS[2], "fd09::1", draining=True)}
EVERYTHING = RouteMatch(ValueMatch(MatchKind.PREFIX, "/"))


def rule(index: int, match: RouteMatch, *backends: BackendChoice, **fields: object) -> RouteRule:
    return RouteRule(RouteRef("HTTPRoute", "shop", "api"), index, "", match, backends, **fields)  # type: ignore[arg-type]


CASES: dict[str, Listener] = {
    "egress-rules": rules(
        HttpMatch(method="GET", path="/public(/.*)?"),
        HttpMatch(host="api[.]shop", headers=(header("x-team", "blue"), header("x-there"))),
    ),
    "ingress-mismatches": rules(
        HttpMatch(
            path="/a", headers=(header("x-log", "1", Mismatch.LOG), header("x-replace", "50%", Mismatch.REPLACE))
        ),
        egress=False,
    ),
    "no-rules": rules(),
    "canary": RouteTable(
        V1,
        (
            rule(
                0,
                RouteMatch(
                    ValueMatch(MatchKind.PREFIX, "/"), headers=(ValueMatch(MatchKind.EXACT, "true", "x-canary-user"),)
                ),
                BackendChoice(V2),
            ),
            rule(1, EVERYTHING, BackendChoice(V1, 90), BackendChoice(V2, 10), BackendChoice(None, 0)),
        ),
    ),
    "filters": RouteTable(
        V1,
        (
            rule(
                0,
                RouteMatch(ValueMatch(MatchKind.PREFIX, "/old/"), "GET"),
                BackendChoice(V1, 1, HeaderChange((("x-backend", "v1"),))),
                BackendChoice(None, 1),
                request_headers=HeaderChange((("x-set", "1"),), (("x-add", "2"),), ("x-remove",)),
                rewrite=Rewrite("api.internal", None, "/"),
                mirrors=(Mirror(V2, 1, 3),),
                request_timeout_ms=1500,
                backend_timeout_ms=500,
                retry=Retry((502, 503), 3, 100),
                persistence=Persistence(True, "session", 60),
            ),
            rule(1, EVERYTHING, redirect=Redirect(301, "https", "shop.example", 0, None, "/new")),
        ),
    ),
    "no-routes": RouteTable(V1),
}


@pytest.mark.parametrize("case", CASES)
def test_resources(case: str, golden: Callable[[Path, str], None]) -> None:
    content = CASES[case]
    built = listener_resources(12_345, content, ("User-Agent", "Cookie"))
    refs = references(content)
    told: dict[str, list[Json]] = {
        LISTENER: [built.listener],
        ROUTES: list(built.routes),
        CLUSTER: cluster_resources(refs),
        ENDPOINTS: endpoint_resources(refs, CLUSTERS),
    }
    golden(
        FOLDER / f"{case}.json", json.dumps({key.rpartition(".")[2]: value for key, value in told.items()}, indent=1)
    )


def test_bootstrap(golden: Callable[[Path, str], None]) -> None:
    told = bootstrap("node-1", Paths(Path("/run/weft/node-1/envoy")), 512 << 20, 50_000)
    golden(FOLDER / "bootstrap.json", json.dumps(told, indent=1))


def test_endpoints_that_terminate() -> None:
    def told(*lists: tuple[object, ...]) -> dict[str, str]:
        flat = tuple(endpoint for list_ in lists for endpoint in list_)
        (four, _) = endpoint_resources([V1], {V1: flat})  # type: ignore[dict-item]
        hosts = four["endpoints"][0]["lb_endpoints"]
        return {host["endpoint"]["address"]["socket_address"]["address"]: host["health_status"] for host in hosts}

    ready, ending = endpoints(BACKENDS[0]), endpoints(BACKENDS[1], draining=True)
    assert told(ready, ending) == {BACKENDS[0]: "HEALTHY", BACKENDS[1]: "DRAINING"}
    assert told(ending) == {BACKENDS[1]: "HEALTHY"}


def test_equal_content_has_equal_versions() -> None:
    def version(content: Listener) -> str:
        return resource(ROUTES, listener_resources(1, content).routes[0]).version

    assert version(CASES["canary"]) == version(RouteTable(V1, CASES["canary"].rules))  # type: ignore[union-attr]
    assert version(CASES["canary"]) != version(CASES["filters"])


def test_too_many_soft_matches_are_refused() -> None:
    soft = tuple(header(f"x-{n}", "1", Mismatch.LOG) for n in range(7))
    with pytest.raises(ValueError, match="7 headerMatches"):
        listener_resources(1, rules(HttpMatch(headers=soft)))


def test_secrets_are_never_asked_for() -> None:
    text = json.dumps(listener_resources(1, rules(), ("Authorization", "COOKIE", "x-api-key", "X-Team")).listener)
    assert '"x-team"' in text
    assert not any(f'"{name}"' in text.lower() for name in ("authorization", "cookie", "x-api-key"))
