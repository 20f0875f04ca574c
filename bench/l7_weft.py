"""The arms of layer 7 with weft: an http rule of the server's policy, and a route in front of the server."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path

from bench.arms import PORT
from bench.l7_arms import H2_PORT, h2_server, http_answers, judges, pin_threads
from bench.weft_arm import Weft, policy
from tests.lab import traces
from tests.lab.waiting import until
from weft.proxy.spawn import binary

ONLY_GET = '{http: [{method: GET, path: "/"}]}'
ROUTED = "10.96.64.1"
ROUTE = "".join(
    f"""
---
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  clusterIP: {address}
  selector: {{app: server}}
  ports: [{{name: http, port: {PORT}, protocol: TCP}}, {{name: h2, port: {H2_PORT}, protocol: TCP}}]
"""
    for name, address in (("shop", ROUTED), ("shop-v1", "10.96.64.2"), ("shop-v2", "10.96.64.3"))
) + "".join(
    f"""
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: shop-{port}}}
spec:
  parentRefs: [{{group: "", kind: Service, name: shop, port: {port}}}]
  rules:
  - backendRefs: [{{name: shop-v1, port: {port}, weight: 90}}, {{name: shop-v2, port: {port}, weight: 10}}]
"""
    for port in (PORT, H2_PORT)
)
"""A Service in front of two others, each of which leads to the same server: what counts is the way, not the pods."""


class WeftHttp(Weft):
    """client ── weft, its Envoy ── server."""

    dialled = ""
    """What the client dials instead of the server."""
    has_rules = False
    """Whether a policy is about requests."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.address = self.dialled or self.address
        try:
            until(lambda: http_answers(self), f"{name}: both servers answer through Envoy")
            if not self.envoys():
                raise RuntimeError(f"{name}: no Envoy runs on the node")
            if judges(self) != self.has_rules:
                raise RuntimeError(f"{name}: not the requests that should be are refused")
        except BaseException:
            self.close()
            raise

    def servers(self) -> str:
        return f"{super().servers()} & {shlex.join(h2_server())}"

    def envoys(self) -> list[int]:
        """Process numbers of the node's Envoys."""
        return [
            int(pid)
            for node in traces.node_cgroups(self.lab.name)
            for path in node.rglob("cgroup.procs")
            for pid in path.read_text().split()
            if _runs(int(pid), binary())
        ]

    def pin_servers(self, pinned: bool) -> None:
        super().pin_servers(pinned)
        pin_threads(self.envoys(), pinned)


class WeftRule(WeftHttp):
    """The server's policy allows GET / and nothing else."""

    manifests = policy(PORT, H2_PORT, rules=ONLY_GET)
    has_rules = True


class WeftRoute(WeftHttp):
    """The client dials a Service whose HTTPRoute has two backends; policies are of layers 3 and 4."""

    manifests = policy(PORT, H2_PORT) + ROUTE
    dialled = ROUTED


def _runs(pid: int, program: Path) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/exe").samefile(program)
    return False
