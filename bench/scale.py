"""What the size of the cluster costs before the kernel is touched: time to compile, entries in the policy tables, and
what a change of policy comes to among 10,000 identities."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from dataclasses import replace

from bench.limits import POLICY_ENTRIES_PER_POD, Row
from bench.node import CONFIG
from weft.model.desired import Write
from weft.model.net import EndpointId
from weft.model.objects import LocalEndpoint, Namespace, NamespacedName, Workload
from weft.model.policy import PolicyRef, PolicySpec
from weft.model.world import World
from weft.plan import Compiled, Compiler, transition
from weft.policy.translate import translate
from weft.sources.decode import decode
from weft.sources.yaml import parse

FEW, MANY = 10, 10_000
APPS = 10
"""Applications; the pods are replicas of these."""
LOCAL_EACH = 10
"""Replicas of each application on this node; all others are elsewhere."""
V4, V6 = ipaddress.IPv4Address("10.55.0.10"), ipaddress.IPv6Address("fd55::10")

POLICY = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: policy-{app}, namespace: scale}}
spec:
  endpointSelector: {{matchLabels: {{app: app-{app}}}}}
  ingress:
  - fromEndpoints: [{{matchLabels: {{app: app-{next}}}}}]
    toPorts: [{{ports: [{{port: "8080", protocol: TCP}}, {{port: "9000", endPort: 9100, protocol: TCP}}]}}]
  - fromCIDRSet: [{{cidr: 192.0.2.0/24, except: [192.0.2.128/25]}}]
  egress:
  - toEntities: [cluster]
  egressDeny:
  - toEndpoints: [{{matchLabels: {{app: app-{app}}}}}]
"""
EDIT = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: edit, namespace: scale}}
spec:
  endpointSelector: {{matchLabels: {{app: app-1}}}}
  ingress: [{{fromEndpoints: [{{matchLabels: {selector}}}]}}]
"""


def measure(quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Rows of compile times, and the limit: not one policy entry more for 1,000 times as many pods."""
    many = MANY // 10 if quick else MANY
    results = {}
    for count in (FEW, many):
        compiler, world = Compiler(), _world(count)
        began = time.perf_counter()
        compiled = compiler.compile(world)
        whole = time.perf_counter() - began
        extra = _pod(count)
        began = time.perf_counter()
        compiler.compile(replace(world, workloads={**world.workloads, extra.key: extra}))
        results[count] = (_entries(compiled), 1000 * whole, 1000 * (time.perf_counter() - began))
        say(f"scale: {count:,} pods")
    (few_entries, *_), (many_entries, whole, one_more) = results[FEW], results[many]
    growth = float(many_entries - few_entries)
    return [
        Row("weft", f"policy entries, {FEW} pods", float(few_entries), "entries"),
        Row("weft", f"policy entries more for {many:,} pods, same labels", growth, "entries", POLICY_ENTRIES_PER_POD),
        Row("weft", f"compile of {FEW} pods and {APPS} policies, from nothing", results[FEW][1], "ms"),
        Row("weft", f"compile of {many:,} pods and {APPS} policies, from nothing", whole, "ms"),
        Row("weft", f"compile of one pod more, at {FEW}", results[FEW][2], "ms"),
        Row("weft", f"compile of one pod more, at {many:,}", one_more, "ms"),
        *_edits(many),
    ]


def _edits(count: int) -> list[Row]:
    """A policy whose selector nobody used before: it splits classes, and who changes his class is written anew."""
    everybody = {}
    for number in range(count):
        pod = _pod(number)
        labels = {**pod.labels, "id": f"id-{number}", "third": str(number % 3)}
        everybody[pod.key] = replace(pod, labels=labels)
    world, compiler, rows = replace(_world(0), workloads=everybody), Compiler(), []
    before = compiler.compile(world)
    for selector, matched in (("{id: id-17}", 1), ("{third: '0'}", -(-count // 3))):
        added = dict([_policy(EDIT.format(selector=selector))])
        began = time.perf_counter()
        after = compiler.compile(replace(world, policies={**world.policies, **added}))
        steps = transition(before.desired, after.desired)
        spent = 1000 * (time.perf_counter() - began)
        writes = sum(len(step.puts) + len(step.deletes) for step in steps if isinstance(step, Write))
        what = f"a policy that matches {matched:,} of {count:,} identities"
        rows.append(Row("weft", f"compile of {what}, and its steps", spent, "ms"))
        rows.append(Row("weft", f"writes of {what}", float(writes), "entries"))
        compiler.compile(world)
    return rows


def _entries(compiled: Compiled) -> int:
    return sum(map(len, compiled.desired.tables.values()))


def _pod(number: int) -> Workload:
    key = NamespacedName("scale", f"pod-{number}")
    local = LocalEndpoint(EndpointId(number + 1), number + 10, bytes(6)) if number < APPS * LOCAL_EACH else None
    node = CONFIG.name if local else "another-node"
    labels = {"app": f"app-{number % APPS}"}
    return Workload(key, labels, "default", node, (V4 + number, V6 + number), ready=True, local=local)


def _policy(text: str) -> tuple[PolicyRef, tuple[PolicySpec, ...]]:
    (document,) = parse(text, "scale.yaml")
    resource, _ = decode(document)
    specs = translate(resource.obj, resource.origin, resource.namespace, CONFIG.cluster)
    return specs[0].policy, specs


def _world(count: int) -> World:
    policies = dict(_policy(POLICY.format(app=app, next=(app + 1) % APPS)) for app in range(APPS))
    workloads = {pod.key: pod for pod in map(_pod, range(count))}
    return World(CONFIG, {"scale": Namespace("scale")}, workloads, policies=policies)
