"""A real Kubernetes of one node in a guest, weft by Helm: what a machine has that is a plain Debian 12, cgroup2 alone.

``python -m tests.guest.suite 6.1 guest/kubernetes.py``; on the host tests/deploy and tests/kubernetes see much more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster import Cluster
from tests.deploy.helm import CHART, look, run_helm
from tests.lab.kubernetes import own_name, remove_orphans
from tests.lab.waiting import SLOWNESS, until

SERVER = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: server}, ports: [{port: 8000, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: server, labels: {app: server}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: shell
    image: weft.test/busybox:1
    imagePullPolicy: Never
    command: [sh, -c, "mkdir /www; echo hello > /www/page; exec httpd -f -p 8080 -h /www"]
"""
CLIENT = """
---
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: NAME}}
spec:
  hostNetwork: HOST
  terminationGracePeriodSeconds: 0
  containers:
  - name: shell
    image: weft.test/busybox:1
    imagePullPolicy: Never
    command:
    - sh
    - -c
    - |
      get='printf "GET $page HTTP/1.1\\r\\nHost: web\\r\\nConnection: close\\r\\n\\r\\n"; exec cat >&2'
      export page
      while sleep 1; do
        for page in /page /other; do
          answer=$(nc -w SECONDS ADDRESS 8000 -e sh -c "$get" 2>&1 | tr -d '\\r' | tr '\\n' ' ')
          echo "$page: $answer"
        done
      done
"""
"""It asks for two pages in turn and logs the answers: through the kubelet's log files they come also where a machine
is too slow for containerd's time limits on exec."""
CLIENTS = {"frontend": False, "intruder": False, "host": True}
"""Pod → is it a program of the node?"""
POLICY = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: one-page}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress:
  - fromEndpoints: [{matchLabels: {app: frontend}}]
    toPorts:
    - ports: [{port: "8080", protocol: TCP}]
      rules: {http: [{path: /page}]}
"""


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    remove_orphans()
    with Cluster(own_name("g"), nodes=1) as up:
        up.load_image(Path(os.environ["WEFT_TEST_IMAGE"]))
        yield up


def answer(cluster: Cluster, pod: str, page: str) -> str:
    """The newest answer that a pod got for a page: status line, headers and body in one line, or its client's error."""
    lines = cluster.kubectl("logs", pod, "--tail=2").splitlines()
    return next((line.partition(": ")[2].strip() for line in lines if line.startswith(f"{page}: ")), "")


def test_a_node_of_its_own(cluster: Cluster) -> None:
    (node,) = cluster.nodes
    assert node.run("sh", "-c", "awk '$3 ~ /^cgroup/ { print $3, $2 }' /proc/mounts") == "cgroup2 /sys/fs/cgroup\n"
    before = look(node)
    run_helm(cluster, "install", "weft", str(CHART), "--set", "prometheus.enabled=true")
    cluster.kubectl("-n", "kube-system", "rollout", "status", "daemonset/weft", f"--timeout={120 * SLOWNESS:.0f}s")
    cluster.wait_ready()

    cluster.kubectl("apply", "-f", "-", stdin=SERVER)
    address = cluster.get("service", "web")["spec"]["clusterIP"]
    client = CLIENT.replace("ADDRESS", address).replace("SECONDS", f"{5 * SLOWNESS:.0f}")
    clients = "".join(client.replace("NAME", name).replace("HOST", str(own).lower()) for name, own in CLIENTS.items())
    cluster.kubectl("apply", "-f", "-", stdin=clients)
    cluster.kubectl("wait", "--for=condition=Ready", "pods", "--all", f"--timeout={60 * SLOWNESS:.0f}s")
    for name in CLIENTS:
        until(lambda: answer(cluster, name, "/page").endswith("hello"), f"the Service answers {name}", 60)  # noqa: B023
    cluster.kubectl("apply", "-f", "-", stdin=POLICY)

    def judged() -> bool:
        """In this order, so that both answers are later than the rule."""
        *_, first, second = ["", "", *cluster.kubectl("logs", "frontend", "--tail=2").splitlines()]
        refused, passed = first.startswith("/other: ") and " 403 " in first, second.startswith("/page: ")
        return refused and passed and second.rstrip().endswith("hello")

    until(judged, "Envoy refuses another page, and lets the one through", 60)
    until(lambda: "timed out" in answer(cluster, "intruder", "/page"), "the kernel refuses who is not named", 60)
    until(lambda: answer(cluster, "host", "/page").endswith("hello"), "a node reaches its own pods", 60)

    assert node.run("curl", "-s", "http://127.0.0.1:9879/readyz") == "ok\n"
    assert "weft_problems 0\n" in node.run("curl", "-s", "http://127.0.0.1:9962/metrics")
    cluster.kubectl("delete", "pods", "--all", f"--timeout={60 * SLOWNESS:.0f}s")
    run_helm(cluster, "uninstall", "weft", "--wait", f"--timeout={300 * SLOWNESS:.0f}s")
    ours = ("pods", "-n", "kube-system", "-l", "app.kubernetes.io/part-of=weft")
    until(lambda: not cluster.get(*ours)["items"], "the agents are gone", 60)
    assert look(node) - before <= {"/run/weft", "/var/lib/weft"}  # volumes of the pod, which the kubelet made
    assert before - look(node) == set()
