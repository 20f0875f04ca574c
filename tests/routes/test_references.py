"""Backends that are not there, or not to be used: their share is answered with 500, and the status says why."""

from __future__ import annotations

import pytest

from tests.routes.scene import compiled, grant, ref, route, service, table
from weft.model.objects import NamespacedName
from weft.model.route import ClusterRef
from weft.plan import Compiled

OTHER = service("v1", namespace="web")
V1 = ClusterRef(NamespacedName("web", "v1"), 80)


def backend(text: str, kind: str = "HTTPRoute", extra: str = "") -> tuple[ClusterRef | None, list[str]]:
    """Where a single backend's requests go, and the reasons of ResolvedRefs."""
    plan = compiled(service("api") + OTHER + extra + route("r", f"[{{backendRefs: [{{{text}}}]}}]", kind=kind))
    (choice,) = table(plan).rules[0].backends
    return choice.cluster, reasons(plan, kind)


def reasons(plan: Compiled, kind: str = "HTTPRoute") -> list[str]:
    return [problem.reason for problem in plan.outcomes[ref("r", kind)].problems]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name: gone, port: 80", "BackendNotFound"),
        ("name: api, port: 81", "BackendNotFound"),
        ("name: ports, port: 53", "UnsupportedProtocol"),
        ("name: ports, port: 443", "UnsupportedProtocol"),
        ("name: ports, port: 444", "UnsupportedProtocol"),
        ("name: outside, port: 80", "UnsupportedValue"),
        ("name: api, kind: Bucket, group: storage.example", "InvalidKind"),
        ("name: api, kind: Pod", "InvalidKind"),
        ("name: v1, namespace: web, port: 80", "RefNotPermitted"),
        ("name: gone, namespace: web, port: 80", "RefNotPermitted"),
    ],
)
@pytest.mark.parametrize("kind", ["HTTPRoute", "GRPCRoute"])
def test_a_backend_that_cannot_be_used(text: str, reason: str, kind: str) -> None:
    extra = """
---
apiVersion: v1
kind: Service
metadata: {name: ports, namespace: shop}
spec:
  selector: {app: udp}
  ports:
    - {name: a, port: 53, protocol: UDP}
    - {name: b, port: 443, appProtocol: https}
    - {name: c, port: 444, appProtocol: kubernetes.io/wss}
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: shop}
spec: {type: ExternalName, externalName: example.org, ports: [{port: 80}]}
"""
    assert backend(text, kind, extra) == (None, [reason])


@pytest.mark.parametrize("protocol", ["", "http", "kubernetes.io/ws", "kubernetes.io/h2c", "own.example/x"])
def test_what_a_backend_speaks(protocol: str) -> None:
    extra = f"""
---
apiVersion: v1
kind: Service
metadata: {{name: two, namespace: shop}}
spec: {{selector: {{app: two}}, ports: [{{port: 80, appProtocol: "{protocol}"}}]}}
"""
    two = ClusterRef(NamespacedName("shop", "two"), 80, protocol == "kubernetes.io/h2c")
    assert backend("name: two, port: 80", extra=extra) == (two, [])


@pytest.mark.parametrize(
    ("given", "permitted"),
    [
        (grant("web"), True),
        (grant("web", to='{group: "", kind: Service, name: v1}'), True),
        (grant("web", to="{group: core, kind: Service, name: v1}"), True),
        (grant("web", to='{group: "", kind: Service, name: v2}'), False),
        (grant("web", to='{group: "", kind: Secret}'), False),
        (grant("web", to="{group: apps, kind: Service}"), False),
        (grant("web", source="elsewhere"), False),
        (grant("web", kind="GRPCRoute"), False),
        (grant("shop"), False),
        (grant("shop") + grant("web"), True),
    ],
)
def test_another_namespace_has_to_permit_it(given: str, permitted: bool) -> None:
    found = backend("name: v1, namespace: web, port: 80", extra=given)
    assert found == ((V1, []) if permitted else (None, ["RefNotPermitted"]))


def test_the_service_that_clients_dial_needs_no_grant() -> None:
    """Upstream's mesh suite has a consumer route like this without a ReferenceGrant (GEP-1294: none is needed)."""
    own = "[{backendRefs: [{name: v1, namespace: web, port: 80}, {name: v2, namespace: web, port: 80}]}]"
    plan = compiled(OTHER + service("v2", namespace="web") + route("r", own, "{name: v1, namespace: web}"))
    (rule,) = table(plan, scope="shop", name="v1", namespace="web").rules
    assert [choice.cluster for choice in rule.backends] == [V1, None]
    assert reasons(plan) == ["RefNotPermitted"]


def test_an_invalid_backend_keeps_its_weight() -> None:
    text = "[{backendRefs: [{name: api, port: 80, weight: 3}, {name: gone, port: 80, weight: 1}]}]"
    plan = compiled(service("api") + route("r", text))
    (rule,) = table(plan).rules
    assert [(choice.cluster is None, choice.weight) for choice in rule.backends] == [(False, 3), (True, 1)]


def test_a_mirror_that_leads_nowhere_is_dropped() -> None:
    mirror = "{type: RequestMirror, requestMirror: {backendRef: {name: gone, port: 80}}}"
    plan = compiled(service("api") + route("r", f"[{{filters: [{mirror}], backendRefs: [{{name: api, port: 80}}]}}]"))
    (rule,) = table(plan).rules
    assert rule.mirrors == ()
    assert rule.backends[0].cluster is not None
    assert reasons(plan) == ["BackendNotFound"]


def test_an_unknown_filter_is_a_reference_that_leads_nowhere() -> None:
    extension = "{type: ExtensionRef, extensionRef: {group: a.example, kind: Auth, name: x}}"
    text = f"[{{filters: [{extension}], backendRefs: [{{name: api, port: 80}}]}}]"
    assert reasons(compiled(service("api") + route("r", text))) == ["InvalidKind"]
