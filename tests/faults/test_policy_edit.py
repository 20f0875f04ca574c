"""A policy edit cuts open connections: busy or idle, both ends learn it at once by a reset."""

from __future__ import annotations

import pytest

from tests.faults.scene import POLICY, PORT, scene
from tests.lab import Lab, until

NOW = 2.0
"""Seconds within which both ends must know; an idle connection that hangs would take minutes."""
EGRESS = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: friend}
spec:
  endpointSelector: {matchLabels: {app: friend}}
  egressDeny: [{toEndpoints: [{matchLabels: {app: server}}]}]
"""


@pytest.mark.parametrize("interval_ms", [0, 1], ids=["idle", "busy"])
@pytest.mark.parametrize("family", ["v4", "v6"])
@pytest.mark.parametrize("edit", ["ingress", "egress", "labels"])
def test_both_ends_see_a_reset(lab: Lab, family: str, interval_ms: int, edit: str) -> None:
    pods = scene(lab)
    held = pods.friend.hold(getattr(pods.server, family), PORT, interval_ms)
    if edit == "ingress":
        lab.apply(POLICY.replace("app: friend", "app: stranger"))
    elif edit == "egress":
        lab.apply(EGRESS)
    else:
        lab.apply(POLICY.replace('"8080"', '"8081"'))
    assert held.ended(NOW).outcome == "reset"
    until(lambda: "reset" in lab.weft("logs", "server"), "the server saw a reset too", NOW + 3)
    cut = until(lambda: lab.observe(verdict=["DROPPED"], source_pod=["default/friend"]), "the flow log says so")
    assert cut


def test_an_edit_that_leaves_it_allowed_cuts_nothing(lab: Lab) -> None:
    pods = scene(lab)
    busy, idle = pods.friend.hold(pods.server.v4, PORT, 1), pods.friend.hold(pods.server.v6, PORT)
    for number in range(5):
        lab.apply(POLICY.replace('"8080"', f'"{8080 - number}", endPort: 9000'))
    assert busy.stop().outcome == "held"
    assert idle.stop().outcome == "held"


def test_a_malformed_edit_changes_nothing(lab: Lab) -> None:
    pods = scene(lab)
    held = pods.friend.hold(pods.server.v4, PORT, 1)
    revision = lab.status()["policy"]["revision"]
    for broken in (
        POLICY.replace("fromEndpoints", "fromEndpoint"),
        POLICY.replace("matchLabels: {app: friend}", "matchLabels: [friend]"),
        POLICY.replace('"8080"', '"808080"'),
        POLICY.replace("name: server", "nam: server"),
        POLICY.replace("ingress:", "ingress: &loop [*loop]\n  egress:"),
        POLICY + "---\n" + POLICY.replace("ANY", "TPC"),
        POLICY + "\n\tx: y\n",
    ):
        refused = lab.weft("apply", "-f", "-", ok=False, stdin=broken)
        assert "<stdin>:" in refused, refused
    assert lab.status()["policy"]["revision"] == revision
    assert held.stop().outcome == "held"
    assert pods.stranger.probe("tcp", pods.server.v4, PORT).outcome == "timeout"
