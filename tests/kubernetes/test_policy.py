"""Policy while a cluster lives: labels that change, namespaces that go, many policies, and what must always pass."""

from __future__ import annotations

import json

import pytest

from tests.kubernetes.mesh import Mesh, until
from tests.kubernetes.scene import Scene, network_policy, scene

FROM_GOOD = {"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "good"}}}]}]}


def in_force(s: Scene, count: int) -> None:
    s.mesh.settle(count)


def test_a_label_edit_moves_a_pod_and_cuts_what_is_no_longer_allowed(mesh: Mesh) -> None:
    with scene(mesh, "relabel") as s:
        server = s.run("server", s.nodes[0])
        s.run("client", s.nodes[1], {"app": "good"})
        s.apply(network_policy("server", {"app": "server"}, **FROM_GOOD))
        in_force(s, 1)
        assert s.is_open("client", server[4])
        held = s.hold("client", server[6])
        s.kubectl("label", "pod", "client", "app=bad", "--overwrite")
        ending = held.ended(30)
        assert ending.outcome == "reset", ending
        assert s.is_refused("client", server[4])
        s.kubectl("label", "pod", "client", "app=good", "--overwrite")
        until(lambda: s.is_open("client", server[4]), "allowed again", 30)


def test_a_namespace_label_moves_all_of_its_pods(mesh: Mesh) -> None:
    with scene(mesh, "team-a") as a, scene(mesh, "team-b") as b:
        server = a.run("server", a.nodes[0])
        b.run("client", b.nodes[1])
        friends = {"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"friend": "yes"}}}]}]}
        a.apply(network_policy("server", {"app": "server"}, **friends))
        in_force(a, 1)
        assert b.is_refused("client", server[4])
        mesh.cluster.kubectl("label", "namespace", "team-b", "friend=yes")
        until(lambda: b.is_open("client", server[4]), "the namespace's new label counts", 30)
        mesh.cluster.kubectl("label", "namespace", "team-b", "friend-")
        until(lambda: b.is_refused("client", server[4]), "and its loss", 30)


def test_two_policies_on_one_pod_are_added_up(mesh: Mesh) -> None:
    with scene(mesh, "union") as s:
        server = s.run("server", s.nodes[0])
        for name in ("one", "two", "three"):
            s.run(name, s.nodes[1])
        for name in ("one", "two"):
            peers = {"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": name}}}]}]}
            s.apply(network_policy(name, {"app": "server"}, **peers))
        in_force(s, 2)
        assert s.is_open("one", server[4])
        assert s.is_open("two", server[6])
        assert s.is_refused("three", server[4])


def test_a_namespace_that_goes_takes_its_policies_along(mesh: Mesh) -> None:
    with scene(mesh, "stays") as stays:
        server = stays.run("server", stays.nodes[0])
        stays.run("client", stays.nodes[1])
        with scene(mesh, "goes") as goes:
            goes.apply(network_policy("all", {}, policyTypes=["Ingress", "Egress"]))
            other = goes.run("server", goes.nodes[0])
            in_force(goes, 1)
            assert stays.is_refused("client", other[4])
            assert stays.is_open("client", server[4])
        in_force(stays, 0)
        assert stays.is_open("client", server[4])


def test_a_thousand_policies_at_once(mesh: Mesh) -> None:
    with scene(mesh, "thousand") as s:
        server = s.run("server", s.nodes[0])
        for name in ("good", "bad"):
            s.run(name, s.nodes[1])
        many = [
            json.loads(network_policy(f"p{number}", {"app": "server" if number < 10 else f"app-{number}"}, **FROM_GOOD))
            for number in range(1000)
        ]
        s.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": many}))
        in_force(s, 1000)
        assert s.is_open("good", server[4])
        assert s.is_refused("bad", server[4])
    in_force(s, 0)


@pytest.mark.parametrize("family", [4, 6])
def test_the_kubelets_probes_pass_whatever_the_policy(mesh: Mesh, family: int) -> None:
    """Upstream rules that a pod's own node always reaches it."""
    with scene(mesh, f"probes{family}") as s:
        s.apply(network_policy("nobody", {}, policyTypes=["Ingress", "Egress"]))
        in_force(s, 1)
        server = s.run("server", s.nodes[0])  # is ready only because its probe passes
        s.run("client", s.nodes[0])
        assert s.is_refused("client", server[family])


def test_programs_of_the_host_are_the_host(mesh: Mesh) -> None:
    """A hostNetwork pod on the pod's own node may; one on another node is remote-node, which a policy may allow."""
    with scene(mesh, "hosts") as s:
        server = s.run("server", s.nodes[0])
        for number, node in enumerate(s.nodes):
            s.start(f"host-{number}", node, hostNetwork=True)
        policy = """
apiVersion: cilium.io/v2
kind: CiliumNetworkPolicy
metadata: {name: server}
spec:
  endpointSelector: {matchLabels: {app: server}}
  ingress: [{fromEntities: [%s]}]
"""
        for number in range(len(s.nodes)):
            s.kubectl("wait", "--for=condition=Ready", f"pod/host-{number}", "--timeout=90s", seconds=100)
        s.apply(policy % "health")
        in_force(s, 1)
        assert s.is_open("host-0", server[4])
        until(lambda: s.is_refused("host-1", server[4]), "another node is not the host", 20)
        s.apply(policy % "remote-node")
        until(lambda: s.is_open("host-1", server[4]), "remote-node is allowed", 20)
        assert s.is_open("host-1", server[6])


def test_names_are_found_under_default_deny(mesh: Mesh) -> None:
    """Egress only to CoreDNS and to one service: as upstream's documents have it."""
    mesh.cluster.deploy_dns()
    mesh.cluster.kubectl(
        "wait", "-n", "kube-system", "--for=condition=Available", "deployment/coredns", "--timeout=120s", seconds=130
    )
    with scene(mesh, "names") as s:
        s.run("server", s.nodes[0])
        s.run("client", s.nodes[1])
        s.kubectl("expose", "pod", "server", "--port=80")
        dns = {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
        egress = [{"to": [dns]}, {"to": [{"podSelector": {"matchLabels": {"app": "server"}}}]}]
        s.apply(network_policy("client", {"app": "client"}, policyTypes=["Egress"], egress=egress))
        in_force(s, 1)

        def found() -> bool:
            try:
                s.mesh.exec("names", "client", "nslookup", "server.names.svc.cluster.local")
            except RuntimeError:
                return False
            return True

        until(found, "the service's name", 60)
        address = s.mesh.cluster.get("service", "server", "-n", "names")["spec"]["clusterIP"]
        assert s.is_open("client", address)
