"""The weft arm: the real agent, two pods, a policy that allows the one to reach the other, and services in front."""

from __future__ import annotations

import json
import os
from ipaddress import IPv4Address

from bench.arms import BULK_PORT, PORT, SERVICE_PORT
from bench.tools import cpus, tool
from tests.lab import traces
from tests.lab.lab import Lab

PORTS_EACH = 100
"""Ports of one service: service i of bench/c/trip.c is port i%100 of address i/100."""
FIRST_SERVICE = IPv4Address("10.96.64.1")


def policy(*ports: int, rules: str = "") -> str:
    """The client may reach these ports of the server and nothing else; ``rules``: only so, in toPorts' spelling."""
    listed = ", ".join(f'{{port: "{port}", protocol: TCP}}' for port in ports)
    return f"""
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: bench, namespace: default}}
spec:
  endpointSelector: {{matchLabels: {{app: server}}}}
  ingress:
  - fromEndpoints: [{{matchLabels: {{app: client}}}}]
    toPorts: [{{ports: [{listed}]{f", rules: {rules}" if rules else ""}}}]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {{name: bench-client, namespace: default}}
spec:
  endpointSelector: {{matchLabels: {{app: client}}}}
  egress: [{{toEndpoints: [{{matchLabels: {{app: server}}}}]}}]
"""


class Weft:
    """client ── weft ── server, on one node; ``services`` service ports lead to the server."""

    manifests = policy(PORT, BULK_PORT)
    """Applied before the pods start."""

    def __init__(self, name: str, services: int = 0) -> None:
        self.name, self.services = name, str(FIRST_SERVICE)
        self.lab = Lab()
        self.lab.__enter__()
        try:
            self.lab.apply(self.manifests)
            script = f"{self.servers()} & exec iperf3 -s -p {BULK_PORT}"
            ready = {"tcpSocket": {"port": BULK_PORT}, "periodSeconds": 1}
            command = ["/bin/sh", "-c", script]
            server = self.lab.run("server", command, labels={"app": "server"}, readiness=ready, wait="Ready")
            self.pod = self.lab.run("client", labels={"app": "client"})
            self.address = server.v4
            if services:
                self._serve(services)
        except BaseException:
            self.close()
            raise

    def servers(self) -> str:
        """The shell command line of what serves beside iperf3."""
        return f"{tool('serve')} {PORT}"

    def _serve(self, count: int) -> None:
        """As JSON, of which YAML is a superset: the fastest to parse. 100 services of 100 ports in one call."""
        manifests = [
            _service(first // PORTS_EACH, min(PORTS_EACH, count - first)) for first in range(0, count, PORTS_EACH)
        ]
        for start in range(0, len(manifests), 100):
            self.lab.apply("\n---\n".join(map(json.dumps, manifests[start : start + 100])), "services.json")

    def client(self, *command: str) -> list[str]:
        return self.pod.argv(*command, stdin=False)

    def pin_servers(self, pinned: bool) -> None:
        for node in traces.node_cgroups(self.lab.name):
            for path in (node / "pods" / "default_server").rglob("cgroup.procs"):
                for pid in path.read_text().split():
                    os.sched_setaffinity(int(pid), cpus(pinned))

    def close(self) -> None:
        self.lab.close()


def _service(number: int, ports: int) -> dict[str, object]:
    named = [
        {"name": f"p{port}", "port": SERVICE_PORT + port, "targetPort": PORT, "protocol": "TCP"}
        for port in range(ports)
    ]
    spec = {"clusterIP": str(FIRST_SERVICE + number), "selector": {"app": "server"}, "ports": named}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": f"service-{number}"}, "spec": spec}
