"""A real cluster with weft on each node, as a service of the machine: what a DaemonSet's pod runs, without an image."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from cluster import Cluster, Node
from cluster.credentials import INSIDE
from tests.lab import Held, Prober
from tests.lab.tools import tool
from tests.lab.waiting import until

ROOT = Path(__file__).parents[2]
CRDS = ROOT / "deploy" / "helm" / "weft" / "crds"
AGENT = "weft-agent"
IMAGE = "weft.test/busybox:1"


class Mesh:
    """``options``: more words for every ``weft agent``."""

    def __init__(self, cluster: Cluster, *options: str) -> None:
        self.cluster, self.options = cluster, options
        config = json.loads(cluster.kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = INSIDE
        self._kubeconfig = cluster.state / "weft.conf"
        self._kubeconfig.write_text(json.dumps(config))

    # ---- agents ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """An agent on each node; returns when all nodes are Ready because of it."""
        self.cluster.kubectl("apply", "--server-side", "-f", str(CRDS))
        for node in self.cluster.nodes:
            self.start_agent(node)
        self.cluster.wait_ready()

    def start_agent(self, node: Node) -> None:
        node.start(AGENT, *self._agent(node))

    def kill_agent(self, node: Node) -> None:
        node.stop(AGENT)

    def restart(self, *options: str) -> None:
        """Other options for every agent; those that have them already go on."""
        if options == self.options:
            return
        self.options = options
        for node in self.cluster.nodes:
            self.kill_agent(node)
            self.start_agent(node)
        for node in self.cluster.nodes:
            until(lambda: self.answers(node), f"the agent of {node.name} answers", 60)  # noqa: B023

    def answers(self, node: Node) -> bool:
        try:
            self.status(node)
        except OSError:
            return False
        return True

    def clean_up(self, node: Node) -> None:
        node.stop(AGENT)
        node.run(*self._agent(node), "--cleanup")

    def _agent(self, node: Node) -> list[str]:
        return [
            *(sys.executable, "-m", "weft.cli", "agent", "--node-name", node.name, "--kubernetes"),
            *("--kubeconfig", str(self._kubeconfig), *self.options),
        ]

    def weft(self, node: Node, *words: str, ok: bool = True) -> str:
        done = subprocess.run(
            [*node.enter(), sys.executable, "-m", "weft.cli", *words, "--node-name", node.name],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=ROOT,
        )
        assert not ok or done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def status(self, node: Node) -> Any:
        """``weft status -o json``, asked by this process."""
        root = Path(f"/proc/{node.pid}/root")
        with closing(HTTPConnection("agent", timeout=30)) as asking:
            asking.sock = socket.socket(socket.AF_UNIX)
            asking.sock.settimeout(30)
            asking.sock.connect(str(root / f"run/weft/{node.name}/agent.sock"))
            asking.request("GET", "/v1/status")
            return json.load(asking.getresponse())

    def settle(self, policies: int) -> None:
        """Until every node enforces that many policies."""
        for node in self.cluster.nodes:
            until(lambda: self.status(node)["policy"]["policies"] == policies, f"{policies} on {node.name}", 30)  # noqa: B023

    # ---- pods -----------------------------------------------------------------------------------------------------

    def apply(self, *objects: dict[str, Any]) -> None:
        self.cluster.kubectl(
            "apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        )

    def exec(self, namespace: str, pod: str, *argv: str, seconds: float = 30) -> str:
        return self.cluster.kubectl("exec", "-n", namespace, pod, "--", *argv, seconds=seconds)

    def enter(self, namespace: str, name: str) -> tuple[str, ...]:
        """The words before a command that is to run in a pod's network namespace: it outlives the API server."""
        found = self.cluster.get("pod", name, "-n", namespace)
        node = next(node for node in self.cluster.nodes if node.name == found["spec"]["nodeName"])
        container = found["status"]["containerStatuses"][0]["containerID"].rpartition("/")[2]
        tasks = [line.split() for line in node.ctr("tasks", "list").splitlines()]
        pid = next(words[1] for words in tasks if words[0] == container)
        return "nsenter", f"--net=/proc/{pid}/ns/net"

    def prober(self, inside: Sequence[str]) -> Prober:
        return Prober([*inside, tool("probe")])

    def hold(self, inside: Sequence[str], address: str) -> Held:
        return Held([*inside, tool("hold"), address, "80", "20", "60000"])

    def wait_pods(self, namespace: str, seconds: float = 90) -> None:
        """Until every pod of the namespace is ready."""
        self.cluster.kubectl(
            "wait", "-n", namespace, "--for=condition=Ready", "pods", "--all", f"--timeout={seconds:.0f}s"
        )


def pod(namespace: str, name: str, node: str, labels: dict[str, str], command: Sequence[str], **spec: Any) -> Any:
    """A Pod of the busybox image, on that node."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": labels},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {"name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": [*command]},
            ],
            **spec,
        },
    }


__all__ = ["Mesh", "pod", "until"]
