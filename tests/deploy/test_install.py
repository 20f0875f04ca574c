"""Image and chart on a real cluster: helm install makes the nodes Ready, helm uninstall leaves nothing of it."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from cluster import Cluster
from deploy.image import build
from tests.deploy.helm import CHART, look, run_helm
from tests.lab.kubernetes import own_name, remove_orphans
from tests.lab.waiting import SLOWNESS, until
from weft.datapath.netns import entered

TABLE = "weft status --all -o json || true"
PODS = """
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  nodeName: NODE
  terminationGracePeriodSeconds: 0
  containers:
  - name: shell
    image: weft.test/busybox:1
    imagePullPolicy: Never
    command: [sh, -c, "mkdir /www; echo hello > /www/page; exec httpd -f -p 8080 -h /www"]
---
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: one-page}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEntities: [all]
    toPorts:
    - ports: [{port: "8080", protocol: TCP}]
      rules: {http: [{path: /page}]}
"""


@pytest.fixture
def installed() -> Iterator[Cluster]:
    """A cluster of its own: uninstalling needs one that nobody else uses."""
    remove_orphans()
    with Cluster(own_name("d"), nodes=2) as cluster:
        cluster.load_image(build())
        yield cluster


def test_install_and_uninstall(installed: Cluster) -> None:
    cluster, first = installed, installed.nodes[0]
    before = look(first)
    notes = run_helm(cluster, "install", "weft", str(CHART), "--set", "prometheus.enabled=true")
    assert "172.30.0.1:6443" in notes  # found in the cluster: nobody had to say it
    cluster.kubectl("-n", "kube-system", "rollout", "status", "daemonset/weft", f"--timeout={120 * SLOWNESS:.0f}s")
    cluster.wait_ready()

    def weft(*words: str) -> str:
        return cluster.kubectl("-n", "kube-system", "exec", "daemonset/weft", "--", "weft", *words)

    def states() -> dict[str, str]:
        said = cluster.kubectl("-n", "kube-system", "exec", "daemonset/weft", "--", "sh", "-c", TABLE)
        return {one["node"]: one["state"] for one in json.loads(said)}

    until(lambda: states() == dict.fromkeys((node.name for node in cluster.nodes), "ok"), "every node is well", 60)
    assert first.run("curl", "-s", "http://127.0.0.1:9879/readyz") == "ok\n"
    assert "weft_problems 0\n" in cluster.nodes[1].run("curl", "-s", f"http://{first.addresses[0]}:9962/metrics")
    assert "MISSING" not in weft("doctor")
    assert "unreachable 10.96.0.0/16" in first.run("ip", "route")  # the ServiceCIDR object's

    cluster.kubectl("apply", "-f", "-", stdin=PODS.replace("NODE", first.name))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/server", f"--timeout={60 * SLOWNESS:.0f}s")
    metrics = cluster.nodes[1].run("curl", "-s", f"http://{first.addresses[0]}:9962/metrics")
    assert 'weft_cni_requests_total{command="ADD",code="0"} 1\n' in metrics and "weft_source_connected 1\n" in metrics
    address = cluster.get("pod", "server")["status"]["podIP"]

    def code(path: str) -> str:
        options = f"-s -o /dev/null -w '%{{http_code}}' --max-time {5 * SLOWNESS:.0f}"
        asked = f"curl {options} http://{address}:8080/{path} || true"
        return cluster.nodes[1].run("sh", "-c", asked)

    until(lambda: code("page") == "200" and code("other") == "403", "Envoy lets one page through", 60)
    _upgrade_under_a_connection(cluster, address)
    _end_of_envoys_pod(cluster, lambda: code("page"))
    cluster.kubectl("delete", "pod/server", f"--timeout={60 * SLOWNESS:.0f}s")

    run_helm(cluster, "uninstall", "weft", "--wait")
    ours = ("pods", "-n", "kube-system", "-l", "app.kubernetes.io/part-of=weft")
    until(lambda: not cluster.get(*ours)["items"], "the agents are gone", 60)
    assert look(first) - before <= {"/run/weft", "/var/lib/weft"}  # volumes of the pod, which the kubelet made
    assert before - look(first) == set()


def _agents(cluster: Cluster) -> set[str]:
    pods = cluster.get("pods", "-n", "kube-system", "-l", "app.kubernetes.io/name=weft")["items"]
    return {pod["metadata"]["uid"] for pod in pods}


def _upgrade_under_a_connection(cluster: Cluster, address: str) -> None:
    """New agents on both nodes; a connection through Envoy is the same before and after, and meanwhile every new one is
    answered as before."""
    old, netns = _agents(cluster), Path(f"/proc/{cluster.nodes[1].pid}/ns/net")
    with closing(HTTPConnection(address, 8080, timeout=60 * SLOWNESS)) as asking:
        with entered(netns):
            asking.connect()
        first = asking.sock
        assert fetch(asking) == b"hello\n"
        done, codes = threading.Event(), Counter[tuple[str, int]]()
        with ThreadPoolExecutor(1) as pool:
            probing = pool.submit(_probe, netns, address, done, codes)
            try:
                cluster.kubectl("-n", "kube-system", "rollout", "restart", "daemonset/weft")
                cluster.kubectl(
                    "-n", "kube-system", "rollout", "status", "daemonset/weft", f"--timeout={120 * SLOWNESS:.0f}s"
                )
            finally:
                done.set()
            probing.result()
        assert not _agents(cluster) & old
        assert fetch(asking) == b"hello\n" and asking.sock is first
    assert set(codes) == {("page", 200), ("other", 403)}, codes


def _probe(netns: Path, address: str, done: threading.Event, codes: Counter[tuple[str, int]]) -> None:
    """A new connection for each request, one after the other."""
    while not done.is_set():
        for path in ("page", "other"):
            with closing(HTTPConnection(address, 8080, timeout=30 * SLOWNESS)) as asking:
                with entered(netns):
                    asking.connect()
                asking.request("GET", f"/{path}")
                codes[path, asking.getresponse().status] += 1


def fetch(asking: HTTPConnection) -> bytes:
    asking.request("GET", "/page", headers={"Connection": "keep-alive"})
    return asking.getresponse().read()


def _end_of_envoys_pod(cluster: Cluster, code: Callable[[], str]) -> None:
    """Another Envoy, in another pod and control group, does what the first did."""
    pods = ("-n", "kube-system", "-l", "app.kubernetes.io/name=weft-envoy")
    cluster.kubectl("delete", "pods", *pods, f"--timeout={60 * SLOWNESS:.0f}s")
    until(lambda: code() == "200", "the next Envoy answers", 60)
