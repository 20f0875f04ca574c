"""``weft explain --kernel``: the loaded program's rules and listeners are held against what policy says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.routes.scene import world
from weft.agent.explaining import Answer, answer
from weft.model.http import HttpRuleSet
from weft.model.net import RuleId
from weft.model.verdicts import Verdict
from weft.plan import Compiler

WORLD = world("""
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: v1, namespace: shop}
spec:
  endpointSelector: {matchLabels: {app: v1}}
  ingress:
  - fromEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": web}}]
    toPorts: [{ports: [{port: "8080", protocol: TCP}], rules: {http: [{method: GET}]}}]
""")
PLAN = Compiler().compile(WORLD)
[(LISTENER, CONTENT)] = PLAN.desired.listeners.items()
[RULE] = PLAN.rules
TRUE = Answer(Verdict.FORWARDED, None, RuleId(0), RULE, 0, LISTENER)
OTHER = LISTENER + 1


def asked(said: Answer) -> dict[str, Any]:
    """The kernel's line, where another listener allows other requests."""
    assert isinstance(CONTENT, HttpRuleSet)
    match = replace(CONTENT.permissions[0].match, method="POST")
    other = replace(CONTENT, permissions=(CONTENT.permissions[0]._replace(match=match),))
    plan = replace(PLAN, desired=replace(PLAN.desired, listeners={LISTENER: CONTENT, OTHER: other}))
    body = {"source": "web/client", "destination": "shop/v1-1:8080", "kernel": True}
    return dict(answer(WORLD, plan, body, lambda _: [said], lambda _: None, lambda *_: ()))


def test_the_listener_of_the_rule() -> None:
    said = asked(TRUE)
    assert not said["disagrees"]
    expected = f"kernel: FORWARDED (ingress rule CiliumNetworkPolicy/shop/v1 at Envoy's listener {LISTENER}), agrees"
    assert said["json"]["kernel"] == {"agrees": True, "text": expected}


@pytest.mark.parametrize("number", [0, OTHER, LISTENER + 2], ids=["none", "another's", "nobody's"])
def test_another_listener(number: int) -> None:
    assert asked(replace(TRUE, ingress_l7=number))["disagrees"]


def test_a_listener_that_nobody_asked_for() -> None:
    assert asked(replace(TRUE, egress_l7=LISTENER))["disagrees"]
