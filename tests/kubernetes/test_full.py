"""A plan too large for the kernel's maps holds up nothing but what does not fit."""

from __future__ import annotations

from tests.kubernetes.mesh import Mesh, until
from tests.kubernetes.scene import Scene, network_policy, scene
from tests.kubernetes.test_faults import guarded

ROOM = 256
PORTS = [{"port": 1000 + 2 * number} for number in range(ROOM)]
"""No two of them share a prefix, so each needs an entry of its own."""


def _events(s: Scene) -> str:
    return s.kubectl("get", "events", "-o", "jsonpath={.items[*].message}")


def _entries(s: Scene) -> int:
    """Of the first node's policy tables."""
    [found] = [one["entries"] for one in s.mesh.status(s.nodes[0])["maps"] if one["name"] == "policy"]
    return int(found)


def test_a_policy_that_does_not_fit_holds_up_no_pod(mesh: Mesh) -> None:
    options = mesh.options
    mesh.restart(*options, "--map-size", f"policy={ROOM}")
    try:
        with scene(mesh, "full") as s:
            server = guarded(s)
            s.apply(network_policy("huge", {"app": "server"}, ingress=[{"ports": PORTS}]))
            until(lambda: mesh.status(s.nodes[0])["problems"], "the node says what does not fit", 60)
            [problem] = mesh.status(s.nodes[0])["problems"]
            assert problem.startswith("policies are in force as they last fitted") and f"{ROOM - 1}" in problem
            s.run("late", s.nodes[0], {"app": "good"})
            assert s.is_open("late", server[4])
            assert s.is_refused("bad", server[6]), "the last good policies are those of pods that come and change"
            s.kubectl("label", "pod", "bad", "app=good", "--overwrite")
            until(lambda: s.is_open("bad", server[6]), "a new label counts", 30)
            s.start("selected", s.nodes[0], {"app": "server"})
            until(lambda: "huge selects it and is not in force" in _events(s), "no pod without its policies", 60)
            s.kubectl("delete", "pod", "selected", "late", "--now")
            s.run("again", s.nodes[0], {"app": "bad"})
            assert s.is_refused("again", server[4])
            before = _entries(s)
            mesh.kill_agent(s.nodes[0])
            mesh.start_agent(s.nodes[0])
            until(lambda: mesh.answers(s.nodes[0]) and mesh.status(s.nodes[0])["problems"], "another agent says so", 60)
            assert _entries(s) == before, "it leaves what it finds"
            assert s.is_refused("again", server[4]) and s.is_open("bad", server[6])
            s.kubectl("delete", "networkpolicy", "huge")
            until(lambda: not mesh.status(s.nodes[0])["problems"], "all is well", 60)
    finally:
        mesh.restart(*options)
