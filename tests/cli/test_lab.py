"""``weft lab``: two nodes on this machine, one store, traffic between them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from uuid import uuid4

import pytest

from tests.lab.probes import Prober, Question
from tests.lab.tools import ROOT, tool
from tests.lab.traces import remains
from tests.lab.waiting import SLOWNESS, until


class Nodes:
    """A lab with nodes a and b."""

    def __init__(self) -> None:
        self.name = f"wl{os.getpid()}x{uuid4().hex[:6]}"
        self.a, self.b = f"{self.name}-1", f"{self.name}-2"

    def weft(self, *words: str, stdin: str | None = None) -> str:
        argv = [str(ROOT / "bin" / "weft"), *words]
        done = subprocess.run(
            argv, capture_output=True, text=True, input=stdin, timeout=200 * SLOWNESS, cwd=ROOT, check=False
        )
        assert done.returncode == 0, f"weft {' '.join(words)}\n{done.stdout}{done.stderr}"
        return done.stdout

    def apply(self, node: str, *objects: Mapping[str, object]) -> None:
        self.weft("--node-name", node, "apply", "-f", "-", stdin="\n---\n".join(map(json.dumps, objects)))

    def get(self, node: str, kind: str, namespace: str = "default") -> list[dict[str, dict[str, object]]]:
        return list(json.loads(self.weft("--node-name", node, "get", kind, "-n", namespace, "-o", "json"))["items"])

    def agents(self) -> dict[str, int]:
        return dict(json.loads(Path("/run/weft-lab", self.name, "agents.json").read_text()))


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    made = Nodes()
    made.weft("lab", "up", "--nodes", "2", "--name", made.name)
    try:
        yield made
    finally:
        made.weft("lab", "down", "--name", made.name)
    assert not [left for node in (made.a, made.b) for left in remains(node)]
    assert not list(Path("/run/netns").glob(f"{made.name}*"))


def pod(name: str, node: str, *command: str, app: str = "") -> dict[str, object]:
    container: dict[str, object] = {"name": name, "command": list(command)}
    if app:
        container["readinessProbe"] = {"tcpSocket": {"port": 8080}, "periodSeconds": 1}
    metadata = {"name": name, "labels": {"app": app or name}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": node, "containers": [container]},
    }


def answers(nodes: Nodes, node: str, client: str, address: str) -> set[str]:
    """Who answers a pod's connections; failures by their outcome."""
    weft = [str(ROOT / "bin" / "weft"), "--node-name", node]
    prober = Prober([*weft, "exec", client, "-i", "--", tool("probe")])
    try:
        said = prober.ask([Question("tcp", address, 80)] * 24, int(2000 * SLOWNESS))
    finally:
        prober.close()
    return {answer.server or answer.outcome for answer in said}


def test_a_service_across_nodes(nodes: Nodes) -> None:
    """Applied at one node, run at both; policy holds across them."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {
            "selector": {"app": "web"},
            "ipFamilyPolicy": "RequireDualStack",
            "ports": [{"port": 80, "targetPort": 8080}],
        },
    }
    servers = [
        pod(name, node, tool("server"), "-s", name, "tcp:8080", app="web")
        for name, node in (("one", nodes.a), ("two", nodes.b))
    ]
    nodes.apply(nodes.a, service, *servers, pod("client", nodes.b, "sleep", "infinity"))
    nodes.weft("--node-name", nodes.a, "wait", "pod/one", "pod/two", "--for", "Ready", "--timeout", "60")
    nodes.weft("--node-name", nodes.a, "wait", "pod/client", "--for", "Running", "--timeout", "60")
    (web,) = (one for one in nodes.get(nodes.b, "services") if one["metadata"]["name"] == "web")
    addresses = web["spec"]["clusterIPs"]
    assert isinstance(addresses, list)
    for address in addresses:
        until(lambda: {"one", "two"} <= answers(nodes, nodes.b, "client", address), "both answer", 30)  # noqa: B023
    closed = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "closed"}}
    nodes.apply(nodes.b, closed | {"spec": {"podSelector": {}}})
    until(lambda: not {"one", "two"} & answers(nodes, nodes.b, "client", addresses[0]), "policy holds at both", 30)
    nodes.weft("--node-name", nodes.a, "delete", "netpol", "closed")


def test_another_agent_leads_when_the_first_dies(nodes: Nodes) -> None:
    labels = {"app": "many"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "command": ["sleep", "99999"]}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "many"}, "spec": spec}
    leader = next(one["spec"]["nodeName"] for one in nodes.get(nodes.a, "pods", "kube-system"))
    other = nodes.b if leader == nodes.a else nodes.a

    def many() -> int:
        return sum(str(one["metadata"]["name"]).startswith("many-") for one in nodes.get(other, "pods"))

    nodes.apply(other, deployment)
    until(lambda: many() == 2, "the leader makes two pods", 30)
    os.kill(nodes.agents()[str(leader)], signal.SIGKILL)
    nodes.apply(other, deployment | {"spec": spec | {"replicas": 4}})
    until(lambda: many() == 4, "the other agent makes the rest", 30)
