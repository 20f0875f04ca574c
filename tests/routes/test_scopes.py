"""Whom a route concerns: producer and consumer routes, ports, kinds."""

from __future__ import annotations

from ipaddress import ip_address

from tests.routes.scene import Pod, compiled, ref, route, service, table, world
from weft.model.net import TCP, from_wide
from weft.model.objects import NamespacedName
from weft.model.route import ClusterEndpoint, ClusterRef, MatchKind, RouteTable, ValueMatch
from weft.plan import Compiled, Compiler

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


def to(name: str, namespace: str = "") -> str:
    where = f", namespace: {namespace}" if namespace else ""
    return f"[{{backendRefs: [{{name: {name}, port: 80{where}}}]}}]"


def goes(plan: Compiled, scope: str = "", port: int = 80) -> list[ClusterRef | None]:
    return [one.cluster for rule in table(plan, port, scope).rules for one in rule.backends]


def scopes(plan: Compiled, port: int = 80) -> int:
    return len({key.scope for key, number in plan.desired.routes.items() if at(plan, number) == cluster("api", port)})


def at(plan: Compiled, number: int) -> ClusterRef:
    found = plan.desired.listeners[number]
    assert isinstance(found, RouteTable)
    return found.cluster


def test_a_consumer_route_concerns_its_namespace_alone_and_wins_there() -> None:
    own = route("own", to("api", "shop"), "{name: api, namespace: shop, port: 80}", namespace="web")
    plan = compiled(BACKENDS + route("all", to("v1"), "{name: api, port: 80}") + own)
    assert goes(plan) == [cluster("v1")]
    assert goes(plan, "web") == [cluster("api")]
    assert [one.route for one in table(plan, scope="web").rules] == [ref("own", namespace="web")]


def test_where_there_are_only_consumer_routes_other_clients_are_passed_on_untouched() -> None:
    own = route("own", to("api", "shop"), "{name: api, namespace: shop, port: 80}", namespace="web")
    plan = compiled(BACKENDS + own)
    assert table(plan) == RouteTable(cluster("api"))
    assert plan.desired.clusters[cluster("api")], "where they are passed on to"
    assert goes(plan, "web") == [cluster("api")]


def test_a_parent_without_port_is_all_tcp_ports() -> None:
    dns = "ports: [{name: http, port: 80}, {name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53}]"
    plan = compiled(service("other") + service("api").replace(_ports(service("api")), dns) + route("r", to("other")))
    assert {(at(plan, number).port) for number in plan.desired.routes.values()} == {80, 53}
    routed = [(key.protocol, entry.routed) for key, entry in plan.desired.services.items() if key.port == 53]
    assert sorted(routed) == [(TCP, 1), (TCP, 1), (17, 0), (17, 0)]


def _ports(text: str) -> str:
    return next(line.strip() for line in text.splitlines() if line.strip().startswith("ports:"))


def test_a_port_by_its_name() -> None:
    plan = compiled(BACKENDS + route("r", to("v1"), "{name: api, sectionName: metrics}"))
    assert {at(plan, number) for number in plan.desired.routes.values()} == {cluster("api", 9090)}


def test_two_parents_of_one_route() -> None:
    plan = compiled(BACKENDS + route("r", to("v1"), "{name: api, port: 80}; {name: v2, port: 9090}"))
    assert {at(plan, number) for number in plan.desired.routes.values()} == {cluster("api"), cluster("v2", 9090)}


def test_a_grpc_route_keeps_http_routes_off_its_port() -> None:
    both = route("http", to("v1")) + route("grpc", to("v2"), "{name: api, port: 80}", kind="GRPCRoute")
    plan = compiled(BACKENDS + both)
    assert goes(plan) == [cluster("v2")]
    assert goes(plan, port=9090) == [cluster("v1")]
    assert plan.outcomes[ref("http")].parents == ((0, None),), "one of its ports is left"


def test_a_grpc_route_of_one_namespace_says_nothing_about_another() -> None:
    grpc = route("grpc", to("api", "shop"), "{name: api, namespace: shop}", kind="GRPCRoute", namespace="web")
    plan = compiled(BACKENDS + route("http", to("v1")) + grpc)
    assert goes(plan) == [cluster("v1")]
    assert goes(plan, "web") == [cluster("api")]


def test_equal_tables_of_one_port_share_a_listener() -> None:
    one = route("own", to("api", "shop"), "{name: api, namespace: shop, port: 80}", namespace="web")
    plan = compiled(BACKENDS + one)
    assert len(plan.desired.listeners) == len(set(plan.desired.routes.values())) == 2
    assert scopes(plan) == 2
    assert len(plan.desired.routes) == 4, "two addresses, two scopes"


def test_endpoints_follow_readiness_and_drain() -> None:
    def endpoints(*pods: Pod) -> list[tuple[str, bool]]:
        found = compiled(BACKENDS + route("r", to("v1")), pods).desired.clusters[cluster("v1")]
        return [(str(each.address), each.draining) for each in found if each.address.version == 4]

    ready, unready = Pod("a", "v1", 1), Pod("b", "v1", 2, ready=False)
    leaving, gone = Pod("c", "v1", 3, leaving=True), Pod("d", "v1", 4, ready=False, leaving=True)
    assert endpoints(ready, unready, leaving, gone) == [("10.42.0.1", False)]
    assert endpoints(unready, leaving, gone) == [("10.42.0.3", True)]
    assert endpoints(unready, gone) == []


def test_a_headless_service_can_be_a_backend_and_no_parent() -> None:
    headless = service("v1", "clusterIP: None").replace("  clusterIPs: [10.96.0.", "  # clusterIPs: [10.96.0.")
    plan = compiled(service("api") + headless + route("r", to("v1")) + route("s", to("api"), "{name: v1}"))
    assert goes(plan) == [cluster("v1")]
    assert [str(each.address) for each in plan.desired.clusters[cluster("v1")]] == ["10.42.0.2", "fd42::2"]
    assert [problem and problem.reason for _, problem in plan.outcomes[ref("s")].parents] == ["NoMatchingParent"]
    assert cluster("v1") not in {at(plan, number) for number in plan.desired.routes.values()}


def test_hand_written_endpoints_can_be_a_backend() -> None:
    outside = """
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: outside-1, namespace: shop, labels: {kubernetes.io/service-name: outside}}
addressType: IPv4
ports: [{port: 5432}]
endpoints: [{addresses: [192.0.2.1]}, {addresses: [192.0.2.2], conditions: {ready: false}}]
"""
    plan = compiled(BACKENDS + outside + route("r", to("outside")))
    assert plan.desired.clusters[cluster("outside")] == (ClusterEndpoint(ip_address("192.0.2.1"), 5432),)


def test_a_pod_has_the_scope_of_its_namespace() -> None:
    own = route("own", to("api", "shop"), "{name: api, namespace: shop, port: 80}", namespace="web")
    desired = compiled(BACKENDS + own).desired
    scopes = {str(from_wide(wide)): entry.scope for wide, entry in desired.endpoints.items()}
    shop, web = scopes["10.42.0.1"], scopes["10.42.0.4"]
    assert {key.scope for key in desired.routes} == {0, web}
    assert len({0, shop, web}) == 3
    assert scopes["fd42::4"] == web


def test_a_scope_keeps_its_number_while_pods_or_routes_need_it() -> None:
    own = route("own", to("api", "shop"), "{name: api, namespace: shop, port: 80}", namespace="web")
    compiler = Compiler()

    def numbers(text: str, *pods: Pod) -> int:
        return len(compiler.compile(world(text, pods)).numbering.spaces["scope"])

    client = Pod("client", "client", 4, "web")
    assert numbers(BACKENDS + own, client) == 1
    assert numbers(BACKENDS, client) == 1
    assert numbers(BACKENDS + own, client) == 1
    assert numbers(BACKENDS + own) == 1
    assert numbers(BACKENDS) == 0
