"""Pods of one test in a namespace of its own, with the lab's server in each and the lab's tools to ask them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

from cluster import Node, build
from tests.kubernetes.mesh import Mesh, pod
from tests.kubernetes.pods import LAB_IMAGE
from tests.lab import Held, Outcome, Prober, Question
from tests.lab.probes import TIMEOUT_MS

SERVES = ("tcp:80", "udp:80")
PATIENT_MS = 5 * TIMEOUT_MS
"""For questions that should be answered: a busy machine may be slow."""


class Scene:
    def __init__(self, mesh: Mesh, namespace: str) -> None:
        self.mesh, self.namespace = mesh, namespace
        self._exec = (str(build.program("kubernetes", "kubectl")), f"--kubeconfig={mesh.cluster.kubeconfig}", "exec")
        self._probers: dict[str, Prober] = {}

    @property
    def nodes(self) -> list[Node]:
        return self.mesh.cluster.nodes

    def run(self, name: str, node: Node, labels: Mapping[str, str] | None = None, **spec: Any) -> dict[int, str]:
        """A pod that serves TCP and UDP 80, ready; its address of each family."""
        self.start(name, node, labels, **spec)
        return self.addresses(name)

    def start(self, name: str, node: Node, labels: Mapping[str, str] | None = None, **spec: Any) -> None:
        command = ("/bin/server", "-s", name, *SERVES)
        made = pod(self.namespace, name, node.name, dict(labels or {"app": name}), command, **spec)
        made["spec"]["containers"][0]["image"] = LAB_IMAGE
        made["spec"]["containers"][0].setdefault("readinessProbe", {"tcpSocket": {"port": 80}, "periodSeconds": 1})
        self.mesh.apply(made)

    def addresses(self, name: str, seconds: float = 90) -> dict[int, str]:
        self.kubectl("wait", "--for=condition=Ready", f"pod/{name}", f"--timeout={seconds:.0f}s", seconds=seconds + 10)
        found = self.mesh.cluster.get("pod", name, "-n", self.namespace)["status"]["podIPs"]
        return {ip_address(one["ip"]).version: one["ip"] for one in found}

    def kubectl(self, *words: str, stdin: str | None = None, seconds: float = 60) -> str:
        return self.mesh.cluster.kubectl(words[0], "-n", self.namespace, *words[1:], stdin=stdin, seconds=seconds)

    def apply(self, manifest: str) -> None:
        self.kubectl("apply", "-f", "-", stdin=manifest)

    def ask(self, name: str, address: str, port: int = 80, protocol: str = "tcp", ms: int = PATIENT_MS) -> Outcome:
        """What a pod sees."""
        if name not in self._probers:
            self._probers[name] = Prober([*self._exec, "-i", "-n", self.namespace, name, "--", "/bin/probe"])
        return self._probers[name].ask([Question(protocol, address, port)], ms)[0]

    def is_open(self, name: str, address: str, port: int = 80, protocol: str = "tcp") -> bool:
        return self.ask(name, address, port, protocol).outcome == "open"

    def is_refused(self, name: str, address: str, port: int = 80, protocol: str = "tcp") -> bool:
        return self.ask(name, address, port, protocol, TIMEOUT_MS).outcome == "timeout"

    def hold(self, name: str, address: str, interval_ms: int = 20) -> Held:
        """A connection of the pod's that stays open; its echoes may take a minute."""
        words = ("-i", "-n", self.namespace, name, "--", "/bin/hold", address, "80", str(interval_ms), "60000")
        return Held([*self._exec, *words])

    def forget(self, name: str) -> None:
        """End our prober in a pod."""
        if prober := self._probers.pop(name, None):
            prober.close()

    def close(self) -> None:
        for name in list(self._probers):
            self.forget(name)


@contextmanager
def scene(mesh: Mesh, namespace: str) -> Iterator[Scene]:
    """Everything in the namespace is gone in the end."""
    mesh.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    made = Scene(mesh, namespace)
    try:
        yield made
    finally:
        made.close()
        mesh.cluster.kubectl("delete", "namespace", namespace, "--timeout=120s", seconds=130)


def network_policy(name: str, labels: Mapping[str, str], **spec: Any) -> str:
    """A NetworkPolicy's manifest (JSON is YAML)."""
    return json.dumps(
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": name},
            "spec": {"podSelector": {"matchLabels": dict(labels)}, **spec},
        }
    )
