"""Pulled plugs on a real cluster: traffic and verdicts stay as they were, and what was missed is caught up with."""

from __future__ import annotations

import time

from tests.kubernetes.mesh import Mesh, until
from tests.kubernetes.scene import Scene, network_policy, scene
from tests.lab import Question
from tests.lab.probes import TIMEOUT_MS

FOLDERS = "find /run/weft /var/lib/weft /etc/cni/net.d/05-weft.conflist || true"


def guarded(s: Scene) -> dict[int, str]:
    """A server on the first node that takes ``good`` of the second, not ``bad``; its addresses."""
    server = s.run("server", s.nodes[0])
    for name in ("good", "bad"):
        s.run(name, s.nodes[1])
    peers = {"ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "good"}}}]}]}
    s.apply(network_policy("server", {"app": "server"}, **peers))
    s.mesh.settle(1)
    return server


def test_the_api_server_is_away(mesh: Mesh) -> None:
    """Open and new connections, and refusals, as before; what was asked for meanwhile is in force afterwards."""
    with scene(mesh, "away") as s:
        server = guarded(s)
        # Probers and connections run in pods; kubectl exec's own connection would end with the API server.
        inside = {name: mesh.enter(s.namespace, name) for name in ("good", "bad")}
        held = mesh.hold(inside["good"], server[4])
        probers = {name: mesh.prober(words) for name, words in inside.items()}
        try:
            mesh.cluster.stop_api()
            for node in s.nodes:
                until(lambda: mesh.status(node)["problems"], f"{node.name} notices", 60)  # noqa: B023
            assert probers["good"].ask([Question("tcp", server[4], 80)], 5 * TIMEOUT_MS)[0].outcome == "open"
            assert probers["good"].ask([Question("udp", server[6], 80)], 5 * TIMEOUT_MS)[0].outcome == "open"
            assert probers["bad"].ask([Question("tcp", server[4], 80)])[0].outcome == "timeout"
            for node in s.nodes:  # an agent that starts now changes nothing either
                mesh.kill_agent(node)
                mesh.start_agent(node)
            assert probers["bad"].ask([Question("tcp", server[4], 80)])[0].outcome == "timeout"
            assert probers["good"].ask([Question("tcp", server[4], 80)], 5 * TIMEOUT_MS)[0].outcome == "open"
        finally:
            mesh.cluster.start_api()
        for node in s.nodes:
            until(lambda: mesh.answers(node) and not mesh.status(node)["problems"], f"{node.name} is well", 120)  # noqa: B023
        assert held.stop().outcome == "held"
        for prober in probers.values():
            prober.close()
        s.kubectl("delete", "networkpolicy", "server")
        mesh.settle(0)
        until(lambda: s.is_open("bad", server[4]), "what is said now counts", 30)


def test_agents_are_killed_under_load(mesh: Mesh) -> None:
    """No connection is lost, and no packet of a denied probe passes, however often."""
    with scene(mesh, "killed") as s:
        server = guarded(s)
        held = [s.hold("good", server[family]) for family in (4, 6)]
        for _ in range(3):
            for node in s.nodes:
                mesh.kill_agent(node)
            assert s.is_open("good", server[4])
            assert s.is_refused("bad", server[4])
            for node in s.nodes:
                mesh.start_agent(node)
            while not all(map(mesh.answers, s.nodes)):
                assert s.is_refused("bad", server[4])
                assert s.is_open("good", server[6])
                time.sleep(0.05)
        for each in held:
            ending = each.stop()
            assert ending.outcome == "held", ending


def test_a_node_comes_and_goes(mesh: Mesh) -> None:
    node = mesh.cluster.add_node()
    others, before = mesh.cluster.nodes[:-1], node.run("sh", "-c", FOLDERS)
    try:
        mesh.start_agent(node)
        mesh.cluster.wait_ready()
        with scene(mesh, "third") as s:
            server = s.run("server", node)
            s.run("client", s.nodes[0])
            for family in (4, 6):
                assert s.is_open("client", server[family])
            s.kubectl("delete", "pod", "server", "--now")
        mesh.clean_up(node)
        assert node.run("sh", "-c", FOLDERS) == before
    finally:
        mesh.kill_agent(node)
        ranges = mesh.cluster.get("node", node.name)["spec"]["podCIDRs"]
        mesh.cluster.remove_node(node)
    for other in others:
        gone = lambda: not any(cidr in other.run("ip", "route") + other.run("ip", "-6", "route") for cidr in ranges)  # noqa: B023, E731
        until(gone, f"{other.name} has no way to {node.name}'s pods", 60)
