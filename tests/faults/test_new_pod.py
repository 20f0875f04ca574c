"""A pod that floods from its first instruction: nothing passes, either way, before its policy is there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.scene import POLICY, PORT, heard
from tests.lab import Lab, Pod, until
from tests.lab.pods import pod_manifest
from tests.lab.tools import tool
from weft.api.client import AgentError

ISOLATED = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: hermit}
spec:
  endpointSelector: {matchLabels: {app: hermit}}
  ingress: [{}]
"""


def _server(lab: Lab) -> Pod:
    """Without a readiness probe: nobody but a flood would send it anything."""
    lab.apply(POLICY)
    return lab.run("server", [tool("server"), "-s", "server", f"tcp:{PORT}", f"udp:{PORT}"], labels={"app": "server"})


def _flooder(lab: Lab, name: str, target: Pod, wait: str = "Started") -> None:
    command = [tool("flood"), "-p", str(PORT), "-r", "1", target.v4, target.v6]
    manifest = pod_manifest(
        name, command, namespace="default", labels={"app": "flooder"}, ports=(), service_account="default",
        capabilities=(), readiness=None, restart="Never",
    )  # fmt: skip
    lab.client.post("/v1/run", {"pod": manifest})
    if wait:
        lab.pod(name, wait=wait)


def _result(lab: Lab, name: str) -> tuple[int, int, int]:
    text = until(lambda: lab.weft("logs", name).strip(), f"{name}'s result", 20)
    sent, answered, connected = map(int, text.split())
    return sent, answered, connected


def test_nothing_leaves_before_policy(lab: Lab) -> None:
    server = _server(lab)
    before = heard(server)
    for number in range(3):
        _flooder(lab, f"flooder-{number}", server)
        sent, answered, connected = _result(lab, f"flooder-{number}")
        assert sent > 100 and (answered, connected) == (0, 0)
    assert heard(server) == before


def test_nothing_arrives_before_policy(lab: Lab) -> None:
    """A pod that floods the addresses that the next pods will have."""
    lab.apply(ISOLATED)
    first = lab.run("first", labels={"app": "first"})
    prefix, _, last = first.v4.rpartition(".")
    targets = [f"{prefix}.{int(last) + 1 + number}" for number in range(8)]
    lab.run("flooder", [tool("flood"), "-p", str(PORT), "-r", "60", *targets], labels={"app": "flooder"})
    for number in range(4):
        hermit = lab.run(f"hermit-{number}", labels={"app": "hermit"})
        assert hermit.v4 in targets
        assert set(heard(hermit).values()) == {0}


@pytest.mark.parametrize("delay", range(4))
def test_nothing_leaves_while_the_agent_is_being_killed(own_lab: Lab, delay: int) -> None:
    """The agent dies while it makes the pod, each time a little later; the next one carries on."""
    lab = own_lab
    server = _server(lab)
    before = heard(server)
    with ThreadPoolExecutor(1) as other:
        making = other.submit(_make_or_fail, lab, server)
        for _ in range(delay):
            server.exec("true")  # the tick of this clock: a few milliseconds
        lab.kill_agent()
        accepted = making.result()
    assert heard(server) == before
    lab.start_agent()
    if accepted or lab.get("pods", namespace="default")["items"][1:]:
        assert _result(lab, "flooder")[1:] == (0, 0)
    assert heard(server) == before


def _make_or_fail(lab: Lab, server: Pod) -> bool:
    try:
        _flooder(lab, "flooder", server, wait="")
    except AgentError:
        return False
    return True
