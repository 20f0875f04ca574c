"""Services without kube-proxy: by EndpointSlices, for pods and for programs of the nodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.kubernetes.mesh import Mesh
from tests.kubernetes.scene import Scene, scene
from tests.lab.waiting import until

LABELS = {"app": "server"}


@pytest.fixture(scope="module")
def made(mesh: Mesh) -> Iterator[Scene]:
    """A server and a client on each node, and a program of each node's own."""
    with scene(mesh, "services") as here:
        for number, node in enumerate(here.nodes):
            here.start(f"server{number}", node, LABELS)
            here.start(f"client{number}", node)
            probe = {"tcpSocket": {"port": 9000 + number}, "periodSeconds": 1}
            command = ["/bin/server", "-s", f"host{number}", f"tcp:{9000 + number}"]
            container = {"name": "main", "command": command, "readinessProbe": probe}
            here.start(f"host{number}", node, hostNetwork=True, containers=[container])
        for kind in ("server", "client", "host"):
            for number in range(2):
                here.addresses(f"{kind}{number}")
        yield here


def serve(here: Scene, name: str, **spec: Any) -> list[str]:
    """A Service of both servers; its cluster IPs."""
    ports = [
        {"name": protocol.lower(), "port": 8000, "targetPort": 80, "protocol": protocol} for protocol in ("TCP", "UDP")
    ]
    wanted = {"selector": LABELS, "ports": ports, "ipFamilyPolicy": "RequireDualStack", **spec}
    here.apply(json.dumps({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": wanted}))
    return list(here.mesh.cluster.get("service", name, "-n", here.namespace)["spec"]["clusterIPs"])


def answering(here: Scene, client: str, address: str, protocol: str = "tcp") -> set[str]:
    """Of two backends one stays unseen in 16 answers once in 32,000 times, so ask until it holds."""
    found = [here.ask(client, address, 8000, protocol) for _ in range(16)]
    return {each.server or each.outcome for each in found}


@pytest.mark.parametrize("client", ["client0", "host0", "host1"])
def test_every_client_reaches_every_backend(made: Scene, client: str) -> None:
    for address in serve(made, "web"):
        for protocol in ("tcp", "udp"):
            until(lambda: answering(made, client, address, protocol) == {"server0", "server1"}, "both answer", 60)  # noqa: B023


def test_local_traffic_stays_on_the_node(made: Scene) -> None:
    addresses = serve(made, "local", internalTrafficPolicy="Local")
    for number in range(2):
        for client in (f"client{number}", f"host{number}"):
            until(lambda: answering(made, client, addresses[0]) == {f"server{number}"}, "its own node's", 60)  # noqa: B023


def test_a_backend_that_is_not_ready_is_left_out(made: Scene) -> None:
    """By the slices that Kubernetes writes, not by what the agent sees of the pod."""
    address = serve(made, "ready")[0]
    until(lambda: answering(made, "client0", address) == {"server0", "server1"}, "both answer", 60)
    made.kubectl("label", "pod", "server1", "app=other", "--overwrite")
    try:
        until(lambda: answering(made, "client0", address) == {"server0"}, "one is left", 60)
    finally:
        made.kubectl("label", "pod", "server1", "app=server", "--overwrite")


@pytest.mark.parametrize("client", ["client0", "client1", "host0", "host1"])
def test_the_api_server_is_reached_by_its_service(made: Scene, client: str) -> None:
    address = made.mesh.cluster.get("service", "kubernetes", "-n", "default")["spec"]["clusterIP"]
    request = f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | /bin/busybox nc -w 20 {address} 443"
    assert "HTTPS server" in made.kubectl("exec", client, "--", "sh", "-c", request), "it says what it would speak"


def test_a_new_range_of_cluster_ips(made: Scene) -> None:
    """A ServiceCIDR that comes while agents run: what is sent to an address of it that no Service has stays here."""
    spec = {"cidrs": ["10.97.0.0/24"]}
    made.mesh.apply(
        {"apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR", "metadata": {"name": "more"}, "spec": spec}
    )
    try:
        made.kubectl("wait", "--for=condition=Ready", "servicecidr/more", "--timeout=60s", seconds=70)
        [address] = serve(made, "more", clusterIP="10.97.0.10", ipFamilyPolicy="SingleStack")
        assert address == "10.97.0.10"
        until(lambda: answering(made, "client0", address) == {"server0", "server1"}, "both answer", 60)
        for node in made.nodes:
            until(lambda: "unreachable 10.97.0.0/24" in node.run("ip", "route"), "it leads nowhere", 60)  # noqa: B023
    finally:
        made.kubectl("delete", "service", "more", "--ignore-not-found")
        made.kubectl("delete", "servicecidr", "more", "--timeout=60s", seconds=70)
