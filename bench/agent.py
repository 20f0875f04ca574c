"""The agent under a large cluster: its memory, a policy change, a new workload. The real agent, API and pods."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.limits import ADD_WORKLOAD_MS, AGENT_MB, POLICY_CHANGE_MS, REMOTE_ENDPOINT_BYTES, Row
from bench.tools import percentile
from tests.lab.lab import Lab
from tests.lab.pods import PAUSE
from tests.lab.tools import ROOT

LOCAL, REMOTE = 100, 10_000
APPS = 500
"""Applications that remote workloads are replicas of, where memory is measured."""
PAUSE_SECONDS = 0.1
"""Between workloads, so that each is one that comes alone: without it, each waits for the kernel's RCU in its turn."""

POLICY = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: changing}}
spec:
  endpointSelector: {{matchLabels: {{app: local}}}}
  ingress:
  - fromEndpoints:
    - matchLabels: {{tier: tier-{tier}, k8s:io.kubernetes.pod.namespace: elsewhere}}
    - matchLabels: {{app: app-{app}, k8s:io.kubernetes.pod.namespace: elsewhere}}
    toPorts: [{{ports: [{{port: "{port}", protocol: TCP}}]}}]
  ingressDeny:
  - fromEndpoints: [{{matchLabels: {{app: app-{denied}, k8s:io.kubernetes.pod.namespace: elsewhere}}}}]
"""


CHANGES: dict[str, Callable[[int], str]] = {
    "other ports": lambda number: POLICY.format(tier=1, app=1, port=8000 + number, denied=2),
    "another peer": lambda number: POLICY.format(tier=1, app=number * 7 % 1000, port=8000, denied=2),
    "a tenth of all peers for another": lambda number: POLICY.format(tier=number % 10, app=1, port=8000, denied=2),
}
"""Edits of one policy that selects every local pod; each is different from the one before it."""


class BigLab(Lab):
    """A lab whose agent is bench.big_agent."""

    def agent_argv(self, *extra: str) -> list[str]:
        argv = super().agent_argv(*extra)
        at = argv.index(str(ROOT / "bin" / "weft"))
        return [*argv[:at], str(ROOT / ".venv" / "bin" / "python"), "-m", "bench.big_agent", *argv[at + 1 :]]

    def launch_agent(self) -> None:
        with self.log.open("ab") as log:
            self._agent = subprocess.Popen(
                self.agent_argv(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=ROOT
            )

    def resize(self, workloads: int, apps: int) -> int:
        """Make the cluster this large, replicas of so many applications; the agent's anonymous memory in bytes."""
        assert self._agent is not None and self._agent.stdin is not None and self._agent.stdout is not None
        self._agent.stdin.write(b"%d %d\n" % (workloads, apps))
        self._agent.stdin.flush()
        return int(self._agent.stdout.readline())


def measure(rounds: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Rows of the agent's limits; ``rounds`` policy changes and pods a tenth of that many times with ``quick``."""
    local, remote, changes = (20, 1000, 20) if quick else (LOCAL, REMOTE, 20 * rounds)
    with BigLab(pod_cidrs=("10.244.0.0/22", "fd00:244::/64")) as lab:
        empty = lab.resize(0, 1)
        lab.resize(remote, remote)
        say(f"agent: {remote:,} remote workloads")
        adding = [_add_workload(lab, number, PAUSE_SECONDS) for number in range(local)]
        say(f"agent: {local} local pods")
        changing = {kind: [_change_policy(lab, text(n)) for n in range(changes)] for kind, text in CHANGES.items()}
        say(f"agent: {changes} policy changes")
        full = lab.resize(remote, APPS)
        growth = (lab.resize(2 * remote, APPS) - full) / remote
        distinct = (lab.resize(2 * remote, 2 * remote) - full) / remote
        shims = _shims(lab)
        crowding = [_add_workload(lab, local + number) for number in range(local)]
    among = f"{remote:,} remote identities"
    return [
        *(row for kind, values in changing.items() for row in _changes(f"{kind}, {among}", values)),
        Row("weft", f"adding a workload p50, {among}", statistics.median(adding), "ms"),
        Row("weft", f"adding a workload p99, {among}", percentile(adding, 0.99), "ms", ADD_WORKLOAD_MS),
        Row("weft", f"adding {local} without a pause, p50 of each", statistics.median(crowding), "ms"),
        Row("weft", f"adding {local} without a pause, p99 of each", percentile(crowding, 0.99), "ms"),
        Row("weft", "agent, anonymous memory, nothing on the node", empty / 1e6, "MB"),
        Row("weft", f"agent, {local} local pods and {remote:,} remote ones", full / 1e6, "MB", AGENT_MB),
        Row("weft", "agent, each further remote one", growth, "bytes", REMOTE_ENDPOINT_BYTES),
        Row("weft", "agent, each further remote one, every one with labels of its own", distinct, "bytes"),
        Row("weft", "a pod's supervisor, anonymous memory", statistics.median(shims) / 1000, "kB"),
    ]


def _changes(what: str, values: Sequence[float]) -> list[Row]:
    return [
        Row("weft", f"policy change in force p50, {what}", statistics.median(values), "ms"),
        Row("weft", f"policy change in force p99, {what}", percentile(values, 0.99), "ms", POLICY_CHANGE_MS),
    ]


def _add_workload(lab: Lab, number: int, pause: float = 0) -> float:
    """Milliseconds from the request, ``pause`` seconds from now, until the pod's process runs behind its policy."""
    time.sleep(pause)
    container = {"name": "main", "image": "host", "command": list(PAUSE)}
    metadata = {"name": f"local-{number}", "namespace": "default", "labels": {"app": "local"}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
    pods = [{"namespace": "default", "name": metadata["name"]}]
    client = lab.client
    started = time.perf_counter()
    client.post("/v1/run", {"pod": pod})
    client.post("/v1/wait", {"pods": pods, "namespace": "default", "condition": "Running", "timeout": 30})
    return 1000 * (time.perf_counter() - started)


def _change_policy(lab: Lab, text: str) -> float:
    """Milliseconds of one apply: it returns when the kernel enforces it."""
    started = time.perf_counter()
    lab.apply(text)
    return 1000 * (time.perf_counter() - started)


def _shims(lab: Lab) -> Sequence[int]:
    """Anonymous bytes of the supervisors of the node's pods."""
    found = []
    listing = subprocess.run(["pgrep", "-f", f"weft-shim.*{lab.name}"], capture_output=True, text=True, check=False)
    for pid in listing.stdout.split():
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in rollup if line.startswith("Anonymous")]
    return found or [0]
