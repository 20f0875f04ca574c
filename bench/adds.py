"""CNI ADDs on a node of a real cluster, called as a container runtime calls them: how long until a pod's first allowed
packet is answered, and how many at once a node stands.

The node's kubelet stands still meanwhile, so what is measured is weft's plugin and agent, not runc. Each pod's
namespace is there before, as the runtime makes it; from the moment in which the plugin is started a packet goes out
every half millisecond to a pod of the same node, whose policy lets in these pods alone. The first echo ends it.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.limits import Row
from bench.tools import ROOT, percentile
from cluster import Node
from tests.kubernetes.mesh import Mesh, pod
from tests.kubernetes.pods import LAB_IMAGE
from weft.datapath import netns

GROUP = "kubernetes"
AT_ONCE = 100
PORT = 80
STEP_SECONDS = 0.0005
SECONDS = 60.0
PLUGIN, CONFLIST = "/opt/cni/bin/weft-cni", Path("/etc/cni/net.d/05-weft.conflist")
_SLEEP = ("/bin/sleep", "1000000")

# ---- from the cluster's side ----------------------------------------------------------------------------------------


def measure(mesh: Mesh, count: int, at_once: int = AT_ONCE) -> list[Row]:
    """``count`` ADDs one after the other, then ``at_once`` together."""
    node = mesh.cluster.nodes[0]
    server = _server(mesh, node)
    node.stop("kubelet")
    try:
        first = _ask(mesh, node, [f"add-{number}" for number in range(count)], {"server": server})["first"]
        many = _ask(mesh, node, [f"adds-{number}" for number in range(at_once)], {})
    finally:
        node.start_kubelet()
        mesh.cluster.kubectl("delete", "pod/add-server", "networkpolicy/add-server", "--grace-period=0", "--force")
    rows = [("from ADD to the first allowed packet", first), (f"one of {at_once} ADDs at once", many["adds"])]
    return [
        *(Row(GROUP, f"{what}, {name}", 1000 * percentile(seconds, share), "ms")
          for what, seconds in rows for name, share in (("p50", 0.5), ("p99", 0.99))),
        Row(GROUP, f"{at_once} ADDs at once, all", 1000 * many["all"], "ms"),
    ]  # fmt: skip


def _server(mesh: Mesh, node: Node) -> str:
    """An echo for pods labelled ``bench: add``; its address."""
    made = pod("default", "add-server", node.name, {"app": "add-server"}, ("/bin/server", "-s", "echo", f"udp:{PORT}"))
    made["spec"]["containers"][0]["image"] = LAB_IMAGE
    policy = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "add-server", "namespace": "default"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "add-server"}},
            "ingress": [{"from": [{"podSelector": {"matchLabels": {"bench": "add"}}}]}],
        },
    }
    mesh.apply(made, policy)
    mesh.wait_pods("default")
    mesh.settle(1)
    return str(mesh.cluster.get("pod", "add-server", "-n", "default")["status"]["podIP"])


def _ask(mesh: Mesh, node: Node, names: Sequence[str], more: dict[str, Any]) -> Any:
    """This program on the node, for new pods of these names; the API server has lost them afterwards."""
    mesh.apply(*(pod("default", name, node.name, {"bench": "add"}, _SLEEP) for name in names))
    try:
        found = mesh.cluster.get("pods", "-n", "default", "-l", "bench=add")["items"]
        asked = {"pods": {one["metadata"]["name"]: one["metadata"]["uid"] for one in found}, **more}
        done = subprocess.run(
            [*node.enter(), sys.executable, "-m", "bench.adds"],
            input=json.dumps(asked), env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"ADDs on {node.name}: {done.stderr}")
        return json.loads(done.stdout)
    finally:
        words = ("delete", "pods", "-n", "default", "-l", "bench=add", "--grace-period=0", "--force")
        mesh.cluster.kubectl(*words, seconds=120)


# ---- on the node ----------------------------------------------------------------------------------------------------


class Sandbox:
    """What the runtime has of a pod before it calls the plugin."""

    def __init__(self, name: str, uid: str) -> None:
        self.netns = Path(f"/run/bench/{name}")
        os.close(netns.create(self.netns))
        conflist = json.loads(CONFLIST.read_text())
        config = {"cniVersion": conflist["cniVersion"], "name": conflist["name"], **conflist["plugins"][0]}
        self._config = json.dumps(config).encode()
        self._environment = {
            "CNI_CONTAINERID": f"bench-{name}",
            "CNI_NETNS": str(self.netns),
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME={name};K8S_POD_UID={uid}",
        }

    def call(self, verb: str) -> subprocess.Popen[bytes]:
        environment = {**self._environment, "CNI_COMMAND": verb}
        made = subprocess.Popen([PLUGIN], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert made.stdin
        made.stdin.write(self._config)
        made.stdin.close()
        made.stdin = None
        return made

    @staticmethod
    def end(called: subprocess.Popen[bytes]) -> None:
        """Errors: RuntimeError with what the plugin said."""
        said, _ = called.communicate(timeout=SECONDS)
        if called.returncode:
            raise RuntimeError(said.decode())

    def remove(self) -> None:
        self.end(self.call("DEL"))
        netns.delete(self.netns)

    def first(self, server: str) -> float:
        """Seconds from the start of ADD until something that the pod has sent is answered."""
        with netns.entered(self.netns):
            sending = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sending:
            began = time.perf_counter()
            called = self.call("ADD")
            while time.perf_counter() < began + SECONDS:
                try:
                    sending.sendto(b"?", (server, PORT))
                except OSError:  # no address, no route yet
                    time.sleep(STEP_SECONDS)
                    continue
                if select.select([sending], [], [], STEP_SECONDS)[0]:
                    ended = time.perf_counter()
                    self.end(called)
                    return ended - began
            self.end(called)
            raise TimeoutError(f"{self.netns.name}: no packet is answered")

    def add(self) -> float:
        """Seconds from the start of ADD to its end."""
        began = time.perf_counter()
        self.end(self.call("ADD"))
        return time.perf_counter() - began


def main() -> None:
    asked = json.loads(sys.stdin.read())
    sandboxes = [Sandbox(name, uid) for name, uid in asked["pods"].items()]
    each: Callable[[Sandbox], None] = Sandbox.remove
    try:
        if "server" in asked:
            json.dump({"first": [one.first(asked["server"]) for one in sandboxes]}, sys.stdout)
            return
        with ThreadPoolExecutor(len(sandboxes)) as threads:
            began = time.perf_counter()
            adds = list(threads.map(Sandbox.add, sandboxes))
            json.dump({"adds": adds, "all": time.perf_counter() - began}, sys.stdout)
    finally:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(each, sandboxes))


if __name__ == "__main__":
    main()
