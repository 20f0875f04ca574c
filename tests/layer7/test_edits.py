"""An edit leaves connections alone whose own rules it does not change; what routes say changes under connections that
live on. From the moment that apply returns, each request goes by what was applied."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Lab, until
from tests.layer7.scene import FORBIDDEN, POLICY, PUBLIC, SERVICE, Held, Load, Scene

OURS = """  - fromEndpoints: [{matchLabels: {app: client}}]
    toPorts: [{ports: [{port: "8080", protocol: TCP}], rules: {http: [{method: GET, path: /public}]}}]
"""
OTHERS = """  - fromEndpoints: [{matchLabels: {app: other}}]
    toPorts: [{ports: [{port: "8080", protocol: TCP}], rules: {http: [{method: GET, path: /other}]}}]
"""
ANOTHER = POLICY.replace("name: server}\nspec", "name: another}\nspec").replace(OURS, OTHERS)
UNCONCERNED = {
    "another rule before it": POLICY.replace("  ingress:\n", f"  ingress:\n{OTHERS}"),
    "other rules of this policy": POLICY.replace("fromEntities: [world]", "fromEntities: [remote-node]"),
    "more peers": POLICY.replace("matchLabels: {app: client}", "matchExpressions: [{key: app, operator: Exists}]"),
    "more ports": POLICY.replace('"8080"', '"8000", endPort: 8090'),
    "another policy": f"{POLICY}---\n{ANOTHER}",
    "no other policy": POLICY,
}
CONCERNED = {
    "more": POLICY.replace("path: /public", 'path: "/(public|more)"'),
    "less": POLICY.replace("path: /public", "path: /public, host: nobody"),
}
ROUTE = """
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: server}
spec:
  parentRefs: [{group: "", kind: Service, name: server}]
  rules:
  - matches: [{path: {type: PathPrefix, value: /public}}]
    backendRefs: [{name: server, port: 80}]
"""
GONE = """  - matches: [{path: {type: PathPrefix, value: /private}}]
    filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /gone}, statusCode: 301}}]
"""  # noqa: E501
SECOND = SERVICE.replace("name: server}", "name: second}")


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab() as lab:
        yield Scene(lab)


def test_a_rule_that_comes_to_the_same_keeps_its_connections(scene: Scene) -> None:
    lab = scene.lab
    lab.apply(POLICY)
    with Held(scene.client, scene.targets(scene.client)) as held:
        assert set(held.first) == {"200"}
        for what, edit in UNCONCERNED.items():
            lab.apply(edit)
            if what == "no other policy":
                lab.delete("cnp", "another")
            assert set(held.tell(PUBLIC)) == {"200"}, what
            assert set(held.tell(FORBIDDEN)) == {"403"}, what
            if what == "another rule before it":
                until(lambda: "spec.ingress[1]" in latest(lab), "records name the rule by its new place")
    for what, edit in CONCERNED.items():
        with Held(scene.client, scene.targets(scene.client)) as held:
            lab.apply(edit)
            assert set(held.tell(PUBLIC)) == {"reset"}, what
        lab.apply(POLICY)
    lab.delete("cnp", "server")


def latest(lab: Lab) -> str:
    return lab.weft("observe", "--type", "l7", "--http-path", PUBLIC, "--last", "1")


def test_routes_change_under_open_connections(scene: Scene) -> None:
    lab = scene.lab
    lab.apply(SECOND + "---" + ROUTE)
    with Held(scene.client, scene.by_service) as held:
        assert set(held.first) == {"200"}
        for _ in range(10):
            lab.apply(ROUTE + GONE)
            assert set(held.tell(FORBIDDEN)) == {"301"}
            lab.apply(ROUTE.replace("backendRefs: [{name: server", "backendRefs: [{name: second"))
            assert set(held.tell(PUBLIC)) == {"200"}
            assert set(held.tell(FORBIDDEN)) == {"404"}
            lab.apply(ROUTE)
            assert set(held.tell(PUBLIC)) == {"200"}
        lab.delete("httproute", "server")
        assert set(held.tell(PUBLIC)) == {"reset"}
    lab.delete("service", "second")


def test_routes_change_under_load(scene: Scene) -> None:
    """Backends come and go with them; nobody's connection is cut, and every request is answered."""
    lab = scene.lab
    lab.apply(SECOND + "---" + ROUTE)
    with Load(scene.client, scene.by_service, [PUBLIC], keep=True) as load:
        for _ in range(5):
            for backends in ("[{name: second, port: 80}]", "[{name: server, port: 80}, {name: second, port: 80}]"):
                lab.apply(ROUTE.replace("[{name: server, port: 80}]", backends))
                load.served(5)
            lab.apply(ROUTE)
        counts, longest = load.end()
    assert counts[PUBLIC].keys() == {"200"} and longest < 3, (counts, longest)
    lab.delete("httproute", "server")
    lab.delete("service", "second")
