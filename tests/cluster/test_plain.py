"""What weft is compared with: kube-proxy and the plainest network; CoreDNS and upstream's test images run on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster import Cluster, images
from tests.lab.kubernetes import own_name
from tests.lab.waiting import until


@pytest.fixture
def plain() -> Iterator[Cluster]:
    """Two Ready nodes."""
    with Cluster(own_name("p"), nodes=2, kube_proxy=True) as cluster:
        cluster.install_plain_network()
        cluster.wait_ready()
        yield cluster


def test_pods_find_a_service_by_name_on_the_other_node(plain: Cluster) -> None:
    plain.deploy_dns()
    plain.load_image(images.agnhost())
    client, server = plain.nodes
    plain.kubectl("apply", "-f", "-", stdin=manifest(client.name, server.name))
    plain.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=120s")
    plain.kubectl("-n", "kube-system", "rollout", "status", "deployment/coredns", "--timeout=120s")

    def answer(url: str) -> str:
        return plain.kubectl("exec", "client", "--", "sh", "-c", f"wget -qO- {url} || true")

    until(lambda: answer("http://server.default.svc.cluster.local/hostname") == "server", "an answer by name", 60)
    addresses = [each["ip"] for each in plain.get("pod", "server")["status"]["podIPs"]]
    assert len(addresses) == 2
    assert answer(f"http://{addresses[0]}:8080/hostname") == "server"
    assert answer(f"http://[{addresses[1]}]:8080/hostname") == "server"


def manifest(client: str, server: str) -> str:
    """Two pods on two nodes, and a Service."""
    pods = """
apiVersion: v1
kind: Service
metadata: {name: server}
spec: {selector: {app: server}, ports: [{port: 80, targetPort: 8080}]}
"""
    for name, node, words in (("client", client, "[pause]"), ("server", server, "[netexec]")):
        pods += f"""
---
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers: [{{name: main, image: "{images.AGNHOST}", args: {words}}}]
"""
    return pods
