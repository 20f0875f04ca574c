"""Traffic between pods of two nodes: weft's direct routing and its VXLAN, against plain routed veth and against the
kernel's VXLAN without a mesh. In all arms the nodes are namespaces joined by a bridge in a third one.
"""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import traffic
from bench.arms import BULK_PORT, PORT, Arm, Plain
from bench.limits import Row
from bench.tools import median_ratio
from bench.weft_arm import policy
from tests.lab.netns import inside, ip
from tests.nodes.scene import Cluster
from weft.datapath.kernel import Options

NO_MESH, AGAIN, NO_MESH_VXLAN = "no mesh", "no mesh again", "no mesh, VXLAN"
DIRECT, VXLAN = "weft direct", "weft VXLAN"
TUNNEL_MTU = 1450


class PlainNodes(Plain):
    """client ── node 1 ── bridge ── node 2 ── server, routed; nothing else."""

    def __init__(self, name: str, tunnel: bool = False) -> None:
        self._tunnel = tunnel
        super().__init__(name)

    def _connect(self) -> None:
        self._switch, self._nodes = f"{self.node}s", (f"{self.node}1", f"{self.node}2")
        for namespace in (self._switch, *self._nodes, self._client, self._server):
            ip("netns", "add", namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
        ip("-n", self._switch, "link", "add", "bridge", "type", "bridge")
        ip("-n", self._switch, "link", "set", "bridge", "up")
        mtu = str(TUNNEL_MTU if self._tunnel else 1500)
        for number, (node, pod) in enumerate(zip(self._nodes, (self._client, self._server), strict=True), 1):
            ip(
                "-n",
                self._switch,
                "link",
                "add",
                f"port{number}",
                "type",
                "veth",
                "peer",
                "name",
                "uplink",
                "netns",
                node,
            )
            ip("-n", self._switch, "link", "set", f"port{number}", "master", "bridge", "up")
            _address(node, "uplink", f"198.51.100.{number}/24")
            ip(
                "-n",
                node,
                "link",
                "add",
                "pod",
                "mtu",
                mtu,
                "type",
                "veth",
                "peer",
                "name",
                "eth0",
                "mtu",
                mtu,
                "netns",
                pod,
            )
            _address(node, "pod", f"10.88.{number}.1/24")
            _address(pod, "eth0", f"10.88.{number}.2/24")
            ip("-n", pod, "route", "add", "default", "via", f"10.88.{number}.1")
            subprocess.run(inside(node, "sysctl", "-qw", "net.ipv4.ip_forward=1"), check=True)
            self._lead(node, number, 3 - number)

    def _lead(self, node: str, number: int, other: int) -> None:
        gateway = f"198.51.100.{other}"
        if self._tunnel:
            ends = ("local", f"198.51.100.{number}", "remote", f"198.51.100.{other}")
            ip(
                "-n",
                node,
                "link",
                "add",
                "vxlan",
                "mtu",
                str(TUNNEL_MTU),
                "type",
                "vxlan",
                "id",
                "1",
                "dstport",
                "8472",
                *ends,
            )
            _address(node, "vxlan", f"10.87.0.{number}/24")
            gateway = f"10.87.0.{other}"
        ip("-n", node, "route", "add", f"10.88.{other}.0/24", "via", gateway)

    def close(self) -> None:
        super().close()
        for namespace in (*self._nodes, self._switch):
            ip("netns", "del", namespace, check=False)


def _address(namespace: str, device: str, address: str) -> None:
    ip("-n", namespace, "address", "add", address, "dev", device)
    ip("-n", namespace, "link", "set", device, "up")


class WeftNodes(Plain):
    """The same with weft's datapath on both nodes, and a policy at both ends."""

    def __init__(self, name: str, tunnel: str = "") -> None:
        self._stack = contextlib.ExitStack()
        self._tunnel = tunnel
        super().__init__(name)

    def _connect(self) -> None:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-nodes-")))
        cluster = self._stack.enter_context(Cluster(folder / "cluster", 2, self._tunnel, options=Options()))
        client = cluster.pod("default/client", "n1", {"app": "client"})
        server = cluster.pod("default/server", "n2", {"app": "server"})
        cluster.apply(policy(PORT, BULK_PORT))
        self.address = str(server.address(4))
        self._homes = {"client": client.netns, "server": server.netns}

    def _in_pod(self, pod: str, namespace: str, command: Sequence[str]) -> list[str]:
        enter = f'echo 0 > {self._pods / pod}/cgroup.procs; exec "$@"'
        return ["nsenter", f"--net={self._homes[pod]}", "--", "/bin/sh", "-c", enter, "sh", *command]

    def close(self) -> None:
        super().close()
        self._stack.close()


def measure(rounds: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    makers: tuple[Callable[[], Arm], ...] = (
        lambda: PlainNodes(NO_MESH),
        lambda: PlainNodes(AGAIN),
        lambda: PlainNodes(NO_MESH_VXLAN, tunnel=True),
        lambda: WeftNodes(DIRECT),
        lambda: WeftNodes(VXLAN, "vxlan"),
    )
    with contextlib.ExitStack() as stack:
        arms = []
        for make in makers:
            arms.append(make())
            stack.callback(arms[-1].close)
        samples = traffic.measure(arms, rounds, quick, say)
    rows = []
    for label, by_arm in samples.items():
        base, unit = by_arm[NO_MESH], next(one.unit for one in traffic.MEASURES if label.startswith(one.name))
        rows.append(Row("two nodes", f"no mesh: {label}", sorted(base)[len(base) // 2], unit))
        rows.append(Row("two nodes", f"A/A: {label}", median_ratio(by_arm[AGAIN], base), "×"))
        rows += [
            Row("two nodes", f"{arm}: {label}", median_ratio(by_arm[arm], base), "×")
            for arm in (DIRECT, NO_MESH_VXLAN, VXLAN)
        ]
    return rows
