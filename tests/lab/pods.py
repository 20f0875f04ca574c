"""A pod of the lab's node, as tests handle it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.lab.probes import PATIENT_MS, Held, Outcome, Prober, Question
from tests.lab.tools import tool
from tests.lab.waiting import SLOWNESS

PAUSE = ("sleep", "infinity")
PortSpec = tuple[str, int, str]
"""name, number, protocol"""


@dataclass
class Pod:
    """A running pod: its addresses, and processes inside it."""

    namespace: str
    name: str
    v4: str
    v6: str
    exec_prefix: Sequence[str]
    """What `weft exec` would run; it needs no agent."""
    _probers: list[Prober] = field(default_factory=list)

    def argv(self, *command: str, stdin: bool = True) -> list[str]:
        """The command line that runs ``command`` inside the pod."""
        return [*self.exec_prefix, *(["-i"] if stdin else []), "--", *command]

    def exec(self, *command: str, timeout: float = 20) -> subprocess.CompletedProcess[str]:
        """Run a command inside, to its end."""
        argv = self.argv(*command, stdin=False)
        return subprocess.run(argv, capture_output=True, text=True, timeout=timeout * SLOWNESS, check=False)

    def prober(self) -> Prober:
        """This pod's prober, started at the first call."""
        if not self._probers:
            self._probers.append(Prober(self.argv(tool("probe"))))
        return self._probers[0]

    def probe(self, protocol: str, address: str, port: int, timeout_ms: int = PATIENT_MS) -> Outcome:
        return self.prober().ask([Question(protocol, address, port)], timeout_ms)[0]

    def hold(self, address: str, port: int, interval_ms: int = 0) -> Held:
        """A TCP connection from this pod to a lab server, kept open."""
        timeout_ms = int(10_000 * SLOWNESS)
        return Held(self.argv(tool("hold"), address, str(port), str(interval_ms), str(timeout_ms)))

    def forget(self) -> None:
        """End our own processes inside (not the pod's)."""
        while self._probers:
            self._probers.pop().close()


def pod_manifest(
    name: str,
    command: Sequence[str],
    *,
    namespace: str,
    labels: Mapping[str, str],
    ports: Sequence[PortSpec],
    service_account: str,
    capabilities: Sequence[str],
    readiness: Mapping[str, Any] | None,
    restart: str,
) -> dict[str, Any]:
    """A Kubernetes Pod that runs ``command`` on the host's files."""
    container: dict[str, Any] = {
        "name": name,
        "image": "host",
        "command": list(command),
        "ports": [{"name": port, "containerPort": number, "protocol": protocol} for port, number, protocol in ports],
    }
    if capabilities:
        container["securityContext"] = {"capabilities": {"add": list(capabilities)}}
    if readiness:
        container["readinessProbe"] = dict(readiness)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {"serviceAccountName": service_account, "restartPolicy": restart, "containers": [container]},
    }
