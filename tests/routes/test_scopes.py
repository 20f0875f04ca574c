"""Whom a route concerns: producer and consumer routes, ports, kinds."""

from __future__ import annotations

from ipaddress import ip_address

from tests.routes.scene import compiled, ref, route, service, table
from weft.model.objects import NamespacedName
from weft.model.route import ClusterEndpoint, ClusterRef, MatchKind, ValueMatch

BACKENDS = service("api") + service("v1") + service("v2")
CANARY = """
- matches: [{headers: [{name: X-Canary-User, value: "true"}]}]
  backendRefs: [{name: v2, port: 80}]
- backendRefs: [{name: v1, port: 80, weight: 90}, {name: v2, port: 80, weight: 10}]
""".strip()


def cluster(name: str, port: int = 80, namespace: str = "shop") -> ClusterRef:
    return ClusterRef(NamespacedName(namespace, name), port)


def test_a_canary_by_header_and_by_weight() -> None:
    plan = compiled(BACKENDS + route("canary", CANARY, "{name: api, port: 80}"))
    first, second = table(plan).rules
    assert first.match.headers == (ValueMatch(MatchKind.EXACT, "true", "x-canary-user"),)
    assert [(one.cluster, one.weight) for one in first.backends] == [(cluster("v2"), 1)]
    assert [(one.cluster, one.weight) for one in second.backends] == [(cluster("v1"), 90), (cluster("v2"), 10)]
    assert (first.route, first.rule, second.rule) == (ref("canary"), 0, 1)
    assert plan.desired.clusters[cluster("v1")] == (
        ClusterEndpoint(ip_address("10.42.0.2"), 8080),
        ClusterEndpoint(ip_address("fd42::2"), 8080),
    )


def test_only_the_ports_with_a_route_are_routed() -> None:
    plan = compiled(BACKENDS + route("canary", CANARY, "{name: api, port: 80}"))
    routed = {(key.address, key.port): entry.routed for key, entry in plan.desired.services.items()}
    api = next(key.address for key, entry in plan.desired.services.items() if entry.routed)
    assert sum(routed.values()) == 2, "one for each address family"
    assert routed[api, 80] == 1
    assert routed[api, 9090] == 0
    ids = {entry.id for entry in plan.desired.services.values() if entry.routed}
    assert {key.service for key in plan.desired.routes} == ids
    assert len(set(plan.desired.routes.values())) == 1
