"""Layer-7 records for the flow tests: a policy's listener, a route's, and the requests that they saw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.flows.scene import ALLOW_RULE, OFFSET_NS, address, names
from weft.flows.names import NameBook
from weft.flows.store import FlowStore
from weft.model.http import HttpMatch, HttpPermission, HttpRuleSet
from weft.model.l7 import L7Batch, L7Entry, L7Record, L7Verdict, Phase, PolicyRuleRef, RouteRuleRef
from weft.model.net import RuleId
from weft.model.objects import NamespacedName
from weft.model.origin import Origin
from weft.model.route import ClusterRef, MatchKind, RouteMatch, RouteRef, RouteRule, RouteTable, ValueMatch

INGRESS_LISTENER, ROUTE_LISTENER = 10_000, 10_001
CLIENT, SERVER, CLUSTER_IP = address("10.244.0.11"), address("10.244.0.12"), address("10.96.0.10")
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"
SECOND = 10**9

_HTTP_PATH = ("spec", "ingress", 0, "toPorts", 0, "rules", "http", 0)
RULE_SET = HttpRuleSet(False, (HttpPermission(RuleId(1), HttpMatch("GET", "/public", field_path=_HTTP_PATH)),))
ROUTE = RouteRef("HTTPRoute", "default", "product-api")


def _route_rule(rule: int, name: str, line: int) -> RouteRule:
    origin = Origin("shop/route.yaml", {("spec", "rules", rule): line})
    return RouteRule(ROUTE, rule, name, RouteMatch(ValueMatch(MatchKind.PREFIX, "/")), origin=origin)


ROUTES = RouteTable(
    ClusterRef(NamespacedName("default", "product-api"), 80), (_route_rule(0, "canary", 11), _route_rule(1, "", 19))
)


def book() -> NameBook:
    made = names()
    made.set_listeners({INGRESS_LISTENER: RULE_SET, ROUTE_LISTENER: ROUTES})
    assert ALLOW_RULE.path == ("spec", "ingress", 0)
    return made


def request(**changes: Any) -> L7Record:
    """``GET /public`` of frontend-1 to product-api-1, allowed by the policy's first alternative; 12 ms."""
    made = L7Record(
        time_ns=OFFSET_NS + 5 * SECOND,
        latency_ns=12_300_000,
        client=CLIENT,
        client_port=45678,
        server=SERVER,
        server_port=8080,
        upstream=SERVER,
        upstream_port=8080,
        listener=INGRESS_LISTENER,
        phase=Phase.INGRESS,
        protocol="HTTP/1.1",
        verdict=L7Verdict.FORWARDED,
        method="GET",
        scheme="http",
        host="product-api",
        path="/public",
        status=200,
        rule=PolicyRuleRef(1, 0),
    )
    return made._replace(**changes)


def refused(**changes: Any) -> L7Record:
    """``POST /public``: 403."""
    made = request(verdict=L7Verdict.DROPPED, method="POST", status=403, rule=None, upstream=None, upstream_port=0)
    return made._replace(details="no rule allows it", latency_ns=300_000)._replace(**changes)


def routed(**changes: Any) -> L7Record:
    """By the Service's address, and the route's first rule chose product-api-1."""
    made = request(server=CLUSTER_IP, server_port=80, listener=ROUTE_LISTENER, phase=Phase.ROUTE)
    return made._replace(rule=RouteRuleRef(ROUTE, 0))._replace(**changes)


class Given(L7Entry):
    def __init__(self, record: L7Record) -> None:
        self._record = record

    @property
    def end_ns(self) -> int:
        return self._record.time_ns + self._record.latency_ns

    def record(self) -> L7Record:
        return self._record


class GivenBatch(L7Batch):
    """As Envoy's, but of values."""

    def __init__(self, *records: L7Record, nbytes: int = 0) -> None:
        self._records, self._nbytes = records, nbytes

    @property
    def nbytes(self) -> int:
        return self._nbytes

    def __len__(self) -> int:
        return len(self._records)

    def entries(self) -> Sequence[L7Entry]:
        return [Given(record) for record in self._records]


def store_with(*records: L7Record, **options: Any) -> FlowStore:
    from tests.flows.scene import NODE
    from weft.flows.ring import ByteRing

    store = FlowStore(ByteRing(64), book(), NODE, lambda: OFFSET_NS, **options)
    store.take_l7(GivenBatch(*records))
    return store
