"""Worlds made of YAML: a shop with two versions of an API, and what routes come to in it."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import NamedTuple

from weft.model.net import EndpointId
from weft.model.objects import LocalEndpoint, NamespacedName, NodeConfig
from weft.model.route import ClusterRef, RouteRef, RouteRule, RouteTable
from weft.model.world import World
from weft.plan import Compiled, Compiler
from weft.plan.scopes import scope_digest
from weft.sources.decode import decode_all
from weft.sources.objects import Stored
from weft.sources.status import pod_status
from weft.sources.world import build_world
from weft.sources.yaml import parse

NODE = NodeConfig("node", pod_cidrs=(ipaddress.ip_network("10.42.0.0/24"), ipaddress.ip_network("fd42::/64")))
START = datetime(2026, 1, 1, 12, tzinfo=UTC)
HEADER = "apiVersion: gateway.networking.k8s.io/v1\n"
SHOP = """
---
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Namespace
metadata: {name: web}
"""


def service(name: str, spec: str = "", namespace: str = "shop", app: str = "") -> str:
    """Of two addresses with ports http (80 → 8080) and metrics (9090); ``spec`` adds to it or changes it."""
    number = sum(f"{namespace}/{name}".encode()) % 250
    return f"""
---
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  selector: {{app: {app or name}}}
  clusterIPs: [10.96.0.{number}, "fd96::{number}"]
  ports: [{{name: http, port: 80, targetPort: 8080}}, {{name: metrics, port: 9090}}]
""" + "".join(f"  {line}\n" for line in spec.splitlines())


def route(name: str, rules: str, parents: str = "{name: api}", kind: str = "HTTPRoute", namespace: str = "shop") -> str:
    """``parents``: without group and kind, which are a Service's; ``rules``: the list, in flow or block style."""
    refs = ", ".join(
        f'{{group: "", kind: Service, {one.strip().lstrip("{").rstrip("}")}}}' for one in parents.split(";")
    )
    body = rules if rules.startswith("[") else "\n" + "\n".join(f"    {line}" for line in rules.splitlines())
    return f"""
---
{HEADER}kind: {kind}
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  parentRefs: [{refs}]
  rules: {body}
"""


def grant(namespace: str, to: str = '{group: "", kind: Service}', source: str = "shop", kind: str = "HTTPRoute") -> str:
    return f"""
---
apiVersion: gateway.networking.k8s.io/v1beta1
kind: ReferenceGrant
metadata: {{name: grant, namespace: {namespace}}}
spec:
  from: [{{group: gateway.networking.k8s.io, kind: {kind}, namespace: {source}}}]
  to: [{to}]
"""


class Pod(NamedTuple):
    name: str
    app: str
    number: int
    namespace: str = "shop"
    ready: bool = True
    leaving: bool = False


PODS = (Pod("api-1", "api", 1), Pod("v1-1", "v1", 2), Pod("v2-1", "v2", 3), Pod("client", "client", 4, "web"))


def stored(text: str, pods: tuple[Pod, ...] = PODS) -> list[Stored]:
    """Objects as the store holds them; each a minute younger than the one before."""
    text += "".join(
        f"\n---\napiVersion: v1\nkind: Pod\n"
        f"metadata: {{name: {p.name}, namespace: {p.namespace}, labels: {{app: {p.app}}}}}\n"
        "spec: {containers: [{name: main, command: [sleep]}]}\n"
        for p in pods
    )
    resources, _ = decode_all(parse(text, "input.yaml"))
    minutes = count()
    found = [Stored(each, f"uid-{each.key}", 1, 1, START + timedelta(minutes=next(minutes))) for each in resources]
    by_name = {(p.namespace, p.name): p for p in pods}
    return [_with_status(one, by_name) for one in found]


def _with_status(one: Stored, pods: dict[tuple[str, str], Pod]) -> Stored:
    if one.key.kind != "Pod":
        return one
    pod = pods[one.key.namespace, one.key.name]
    addresses = [ipaddress.ip_address(f"10.42.0.{pod.number}"), ipaddress.ip_address(f"fd42::{pod.number:x}")]
    status = pod_status("Running", addresses, [])
    status["conditions"] = [{"type": "Ready", "status": "True" if pod.ready else "False"}]
    return replace(one, status=status, deleting=START if pod.leaving else None)


def world(text: str, pods: tuple[Pod, ...] = PODS) -> World:
    objects = stored(text + SHOP, pods)
    local = {
        one.key.namespaced: LocalEndpoint(EndpointId(number), number, bytes(6))
        for number, one in enumerate((one for one in objects if one.key.kind == "Pod"), 1)
    }
    return build_world(NODE, objects, local)


def compiled(text: str, pods: tuple[Pod, ...] = PODS) -> Compiled:
    return Compiler().compile(world(text, pods))


def table(plan: Compiled, port: int = 80, scope: str = "", name: str = "api", namespace: str = "shop") -> RouteTable:
    """What clients of a namespace (empty = of one without routes of its own) meet at a service's port.

    Both addresses of the service must lead to the same."""
    cluster = ClusterRef(NamespacedName(namespace, name), port)
    number = plan.numbering.spaces["scope"][scope_digest(scope)] if scope else 0
    listeners = {
        listener
        for key, listener in plan.desired.routes.items()
        if key.scope == number and _table(plan, listener).cluster == cluster
    }
    assert len(listeners) == 1, listeners
    return _table(plan, listeners.pop())


def _table(plan: Compiled, number: int) -> RouteTable:
    found = plan.desired.listeners[number]
    assert isinstance(found, RouteTable)
    return found


def rules(text: str, kind: str = "HTTPRoute", **where: object) -> tuple[RouteRule, ...]:
    """The table of Service shop/api that one route with these rules makes, backends api, v1 and v2 being there."""
    plan = compiled(service("api") + service("v1") + service("v2") + route("r", text, kind=kind))
    return table(plan).rules


def ref(name: str, kind: str = "HTTPRoute", namespace: str = "shop") -> RouteRef:
    return RouteRef(kind, namespace, name)
