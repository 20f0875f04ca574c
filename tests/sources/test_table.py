"""``get``: kubectl's columns, ages and outputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.sources.builders import NOW, open_store, pod, read, service
from weft.sources import columns, registry, table
from weft.sources.decode import decode_all
from weft.sources.objects import Key
from weft.sources.status import ContainerStatus, pod_status
from weft.sources.store import Store
from weft.sources.yaml import parse

OBJECTS = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  replicas: 2
  selector: {matchLabels: {app: api}, matchExpressions: [{key: tier, operator: NotIn, values: [a, b]}]}
  template: {metadata: {labels: {app: api}}, spec: {containers: [{name: main, command: [a]}]}}
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: example.org}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: legacy-1, labels: {kubernetes.io/service-name: legacy}}
addressType: IPv4
ports: [{port: 5432}]
endpoints: [{addresses: [192.0.2.1]}, {addresses: [192.0.2.2]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {matchLabels: {app: db}}}
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: allow, namespace: shop}
spec: {endpointSelector: {}, ingress: [{}]}
---
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: all}
spec: {endpointSelector: {}, ingress: [{}]}
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: HTTPRoute
metadata: {name: canary}
spec:
  parentRefs: [{group: "", kind: Service, name: web}]
  hostnames: [web.example, "*.web.example"]
  rules: [{backendRefs: [{name: web, port: 80}]}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: calls, namespace: shop}
spec: {parentRefs: [{group: "", kind: Service, name: web}]}
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {name: from-shop}
spec:
  from: [{group: gateway.networking.k8s.io, kind: GRPCRoute, namespace: shop}]
  to: [{group: "", kind: Service}]
"""
LATER = NOW + timedelta(minutes=5, seconds=3)
GOLDEN = Path(__file__).parent.parent / "golden/get.txt"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = open_store(tmp_path)
    found.apply(read(OBJECTS + "---" + service("web", "clusterIP: 10.96.0.9, ipFamilyPolicy: PreferDualStack")))
    found.apply(read("---".join(pod(name) for name in ("crash", "end", "gone", "web"))))
    addresses = [ip_address("10.0.0.1"), ip_address("fd00::1")]
    crash = ContainerStatus("main", restarts=12, reason="CrashLoopBackOff", message="back-off 5m0s")
    ended = ContainerStatus("main", reason="Completed", exit_code=0)
    running = ContainerStatus("main", True, 1, NOW)
    found.set_status(
        {
            Key("Pod", "default", "crash"): pod_status("Running", addresses, [crash]),
            Key("Pod", "default", "end"): pod_status("Succeeded", (), [ended]),
            Key("Pod", "default", "gone"): pod_status("Running", addresses, [running]),
            Key("Pod", "default", "web"): pod_status("Running", addresses, [running], ip_address("10.0.0.254")),
        }
    )
    found.delete([Key("Pod", "default", "gone")])
    return found


def test_columns(store: Store, golden: Callable[[Path, str], None]) -> None:
    parts = []
    for info in registry.KINDS.values():
        for output in ("", "wide", "name"):
            parts.append(f"$ get {info.plural} {f'-o {output}' if output else ''}".rstrip())
            parts.append(table.render(store.objects(info.kind), output, LATER) + "\n")
    parts += ["$ get all kinds -A", table.render(store.objects(), "", LATER, all_namespaces=True) + "\n"]
    for output in ("yaml", "json"):
        parts.append(f"$ get pod web -o {output}")
        parts.append(table.render([store.get(Key("Pod", "default", "web"))], output, LATER, one=True) + "\n")
    parts += ["$ get ns -o yaml", table.render(store.objects("Namespace"), "yaml", LATER) + "\n"]
    parts += ["$ get nothing", table.render([], "", LATER)]
    golden(GOLDEN, "\n".join(parts))


def test_what_get_prints_can_be_applied_again(store: Store) -> None:
    for output in ("yaml", "json"):
        documents = parse(table.render(store.objects(), output, LATER), "again")
        living = [one for one in documents if one.data["metadata"]["name"] != "gone"]
        applied = store.apply(decode_all(living)[0])
        assert {one.action.value for one in applied} == {"unchanged"}


def test_a_pod_on_its_way_out_says_since_when(store: Store) -> None:
    text = table.render([store.get(Key("Pod", "default", "gone"))], "json", LATER, one=True)
    assert json.loads(text)["metadata"]["deletionTimestamp"] == "2026-01-01T12:00:00Z"


def test_unknown_output_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="unknown output 'xml'; expected one of: wide, yaml, json, name"):
        table.render(store.objects(), "xml", LATER)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-1, "0s"),
        (-10, "<invalid>"),
        (0, "0s"),
        (119.9, "119s"),
        (120, "2m"),
        (199, "3m19s"),
        (600, "10m"),
        (3 * 3600 - 1, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (8 * 3600, "8h"),
        (48 * 3600 - 1, "47h"),
        (48 * 3600, "2d"),
        (3 * 86400 + 4 * 3600, "3d4h"),
        (8 * 86400, "8d"),
        (730 * 86400, "2y"),
        (740 * 86400, "2y10d"),
        (9 * 365 * 86400, "9y"),
    ],
)
def test_age_is_written_as_kubectl_does(seconds: float, expected: str) -> None:
    assert columns.age(seconds) == expected


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("po", "Pod"),
        ("pods", "Pod"),
        ("Pod", "Pod"),
        ("svc", "Service"),
        ("deploy", "Deployment"),
        ("deployments.apps", "Deployment"),
        ("ns", "Namespace"),
        ("netpol", "NetworkPolicy"),
        ("cnp", "CiliumNetworkPolicy"),
        ("ccnp", "CiliumClusterwideNetworkPolicy"),
        ("endpointslices", "EndpointSlice"),
    ],
)
def test_resource_names(name: str, kind: str) -> None:
    assert registry.find(name).kind == kind


def test_unknown_resource_names_the_nearest() -> None:
    with pytest.raises(LookupError, match='no resource type "podz"; did you mean "pod'):
        registry.find("podz")


def test_identities() -> None:
    rows = [(70000, ["k8s:app=a", "k8s:io.kubernetes.pod.namespace=shop"], 2), (1, ["reserved:host"], 0)]
    assert table.identities(rows).splitlines() == [
        "ID      ENDPOINTS   LABELS",
        "1       0           reserved:host",
        "70000   2           k8s:app=a",
        "                    k8s:io.kubernetes.pod.namespace=shop",
    ]
    assert json.loads(table.identities(rows, "json"))[0] == {"id": 1, "labels": ["reserved:host"], "endpoints": 0}
