"""On a real cluster of two nodes: how long a change of the API's takes until both nodes enforce it.

A change begins when the request to the API server is sent, on a connection that is open; it is in force when every
agent has it in the kernel (the agents are asked all the time; one answer takes about 2 ms, and that is the error).
"""

from __future__ import annotations

import json
import socket
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPSConnection
from ssl import SSLContext, create_default_context
from typing import Any

from bench import adds
from bench.limits import Row
from cluster import Cluster, Node
from tests.kubernetes.mesh import Mesh
from tests.kubernetes.pods import LAB_IMAGE, lab_image
from tests.lab.kubernetes import own_name

ARM = "kubernetes"
SECONDS = 30.0


class Api:
    """The API server, on one connection."""

    def __init__(self, cluster: Cluster) -> None:
        config = json.loads(cluster.kubeconfig.read_text())
        server = config["clusters"][0]["cluster"]["server"].removeprefix("https://")
        self._token = config["users"][0]["user"]["token"]
        self._connection = HTTPSConnection(server, context=_trust(cluster), timeout=SECONDS)

    def send(self, method: str, path: str, body: Any = None) -> Any:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        self._connection.request(method, path, json.dumps(body) if body else None, headers)
        answer = self._connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer.status} {text.decode()[:300]}")
        return json.loads(text)


def _trust(cluster: Cluster) -> SSLContext:
    config = json.loads(cluster.kubeconfig.read_text())
    authority = b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    return create_default_context(cadata=authority)


class Watching:
    """One agent, asked on a connection that stays open."""

    def __init__(self, node: Node) -> None:
        self._connection = HTTPConnection("agent", timeout=SECONDS)
        self._connection.sock = socket.socket(socket.AF_UNIX)
        self._connection.sock.connect(f"/proc/{node.pid}/root/run/weft/{node.name}/agent.sock")

    def status(self) -> Any:
        self._connection.request("GET", "/v1/status")
        return json.loads(self._connection.getresponse().read())

    def until(self, holds: Callable[[Any], bool]) -> float:
        """When that is so."""
        deadline = time.perf_counter() + SECONDS
        while not holds(self.status()):
            if time.perf_counter() > deadline:
                raise TimeoutError("an agent does not follow")
        return time.perf_counter()


@contextmanager
def _cluster() -> Iterator[Mesh]:
    with Cluster(own_name("b"), nodes=2) as cluster:
        cluster.load_image(lab_image())
        mesh = Mesh(cluster)
        mesh.start()
        yield mesh


def measure(rounds: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Rows without limits: DESIGN has none across nodes."""
    count = 5 if quick else 10 * rounds
    with _cluster() as mesh:
        say(f"kubernetes: two nodes, {count} changes of each kind")
        api, agents = Api(mesh.cluster), [Watching(node) for node in mesh.cluster.nodes]
        policy = [_policy(api, agents, number) for number in range(count)]
        backend = _backend(api, agents, count)
        pods = _pods(mesh, api, count)
        cni = adds.measure(mesh, count)
    return [
        *_rows("a policy in force on both nodes, from the request to the API server", policy),
        *_rows("a backend that became (un)ready chosen by neither or both nodes", backend),
        *_rows("a pod Running, from the request to the API server (the kubelet's and runc's time included)", pods),
        *cni,
    ]


def _rows(what: str, seconds: list[float]) -> list[Row]:
    ordered = sorted(seconds)
    p50, p99 = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return [Row(ARM, f"{what}, p50", 1000 * p50, "ms"), Row(ARM, f"{what}, p99", 1000 * p99, "ms")]


def _policy(api: Api, agents: list[Watching], number: int) -> float:
    name = f"bench-{number}"
    body = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name},
        "spec": {"podSelector": {"matchLabels": {"app": name}}, "policyTypes": ["Ingress"]},
    }
    path = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies"
    began = time.perf_counter()
    api.send("POST", path, body)
    ended = max(agent.until(lambda status: status["policy"]["policies"] == 1) for agent in agents)
    api.send("DELETE", f"{path}/{name}")
    for agent in agents:
        agent.until(lambda status: status["policy"]["policies"] == 0)
    return ended - began


def _backend(api: Api, agents: list[Watching], count: int) -> list[float]:
    """An EndpointSlice of a Service without a selector, whose endpoint turns ready and unready."""
    api.send(
        "POST",
        "/api/v1/namespaces/default/services",
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "bench"}, "spec": {"ports": [{"port": 80}]}},
    )
    path = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    body: dict[str, Any] = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "bench", "labels": {"kubernetes.io/service-name": "bench"}},
        "addressType": "IPv4",
        "ports": [{"port": 80, "protocol": "TCP"}],
        "endpoints": [{"addresses": ["192.0.2.1"], "conditions": {"ready": False}}],
    }
    api.send("POST", path, body)
    time.sleep(0.5)
    without = agents[0].status()["services"]["backends"]
    seconds = []
    for number in range(count):
        ready = number % 2 == 0
        body["endpoints"][0]["conditions"] = {"ready": ready, "serving": ready}
        began = time.perf_counter()
        api.send("PATCH", f"{path}/bench", {"endpoints": body["endpoints"]})
        seconds.append(max(one.until(_has_backends(without + ready)) for one in agents) - began)
    return seconds


def _has_backends(count: int) -> Callable[[Any], bool]:
    return lambda status: bool(status["services"]["backends"] == count)


def _pods(mesh: Mesh, api: Api, count: int) -> list[float]:
    """One pod after the other; the API server is asked every 5 ms."""
    seconds = []
    path = "/api/v1/namespaces/default/pods"
    container = {"name": "main", "image": LAB_IMAGE, "imagePullPolicy": "Never", "command": ["/bin/sleep", "1000"]}
    for number in range(count):
        spec = {
            "nodeName": mesh.cluster.nodes[number % 2].name,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": [container],
        }
        name = f"bench-{number}"
        began = time.perf_counter()
        api.send("POST", path, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
        while api.send("GET", f"{path}/{name}")["status"].get("phase") != "Running":
            if time.perf_counter() > began + SECONDS:
                raise TimeoutError(f"pod {name} does not run")
            time.sleep(0.005)
        seconds.append(time.perf_counter() - began)
        api.send("DELETE", f"{path}/{name}")
    return seconds
