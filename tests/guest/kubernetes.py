"""A real Kubernetes of one node in a guest, weft by Helm: what a machine has that is a plain Debian 12, cgroup2 alone.

``python -m tests.guest.suite 6.1 guest/kubernetes.py``; on the host tests/deploy and tests/kubernetes see much more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from cluster import Cluster
from tests.deploy.helm import CHART, look, run_helm
from tests.lab.kubernetes import own_name, remove_orphans
from tests.lab.waiting import SLOWNESS, until

PODS = """
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
  - {name: shell, image: weft.test/busybox:1, imagePullPolicy: Never, command: [sleep, "100000"]}
"""
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


def ask(cluster: Cluster, address: str, pod: str, path: str = "page", seconds: float = 20) -> str:
    """What a pod's GET brings: status line, headers, body; or what its client says instead."""
    request = f"GET /{path} HTTP/1.1\\r\\nHost: web\\r\\nConnection: close\\r\\n\\r\\n"
    words = f"""nc -w {seconds * SLOWNESS:.0f} {address} 8000 -e sh -c 'printf "{request}"; cat >&2' 2>&1 || true"""
    try:
        return cluster.kubectl("exec", pod, "--", "sh", "-c", words).strip()
    except RuntimeError:  # the kubelet or containerd has no time now
        return ""


def test_a_node_of_its_own(cluster: Cluster) -> None:
    (node,) = cluster.nodes
    assert node.run("sh", "-c", "awk '$3 ~ /^cgroup/ { print $3, $2 }' /proc/mounts") == "cgroup2 /sys/fs/cgroup\n"
    before = look(node)
    run_helm(cluster, "install", "weft", str(CHART))
    cluster.kubectl("-n", "kube-system", "rollout", "status", "daemonset/weft", f"--timeout={120 * SLOWNESS:.0f}s")
    cluster.wait_ready()

    clients = "".join(CLIENT.replace("NAME", name).replace("HOST", f"{own}".lower()) for name, own in CLIENTS.items())
    cluster.kubectl("apply", "-f", "-", stdin=PODS + clients)
    cluster.kubectl("wait", "--for=condition=Ready", "pods", "--all", f"--timeout={60 * SLOWNESS:.0f}s")
    get = partial(ask, cluster, cluster.get("service", "web")["spec"]["clusterIP"])
    for client in CLIENTS:
        until(lambda: get(client).endswith("hello"), f"the Service answers {client}", 60)  # noqa: B023
    cluster.kubectl("apply", "-f", "-", stdin=POLICY)
    until(lambda: " 403 " in get("frontend", "other"), "Envoy refuses another page", 60)
    until(lambda: get("frontend").endswith("hello"), "and lets the one through", 60)
    until(lambda: "timed out" in get("intruder", seconds=1), "the kernel refuses who is not named", 60)
    until(lambda: get("host").endswith("hello"), "a node reaches its own pods", 60)

    print(cluster.kubectl("-n", "kube-system", "exec", "daemonset/weft", "--", "weft", "status"))  # fails with problems
    cluster.kubectl("delete", "pods", "--all", f"--timeout={60 * SLOWNESS:.0f}s")
    run_helm(cluster, "uninstall", "weft", "--wait", f"--timeout={300 * SLOWNESS:.0f}s")
    ours = ("pods", "-n", "kube-system", "-l", "app.kubernetes.io/part-of=weft")
    until(lambda: not cluster.get(*ours)["items"], "the agents are gone", 60)
    assert look(node) - before <= {"/run/weft", "/var/lib/weft"}  # volumes of the pod, which the kubelet made
    assert before - look(node) == set()
