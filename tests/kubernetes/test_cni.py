"""Pods that real kubelets start and stop: none leaves anything, whoever is killed; a full node says so."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from cluster import Node
from tests.kubernetes.mesh import Mesh, pod, until

SECONDS = 240
"""For a batch of pods, on a machine that does other things too."""
SLEEP = ("/bin/sleep", "1000000")


def left(node: Node) -> set[str]:
    """Every trace of a pod's network on the node: devices, programs' links, records, notes, namespaces."""
    run = f"/run/weft/{node.name}"
    folders = f"/sys/class/net /sys/fs/bpf/weft/{node.name}/links {run}/cni {run}/cni-deleted /run/netns"
    lines = node.run("sh", "-c", f"for folder in {folders}; do ls $folder 2>/dev/null | sed s:^:$folder/:; done; true")
    return {line for line in lines.split() if not line.startswith("/sys/") or "/wf" in line}


@contextmanager
def emptied(mesh: Mesh, namespace: str) -> Iterator[None]:
    """A namespace of the test's own; in the end neither it nor anything new of pods' networks is there."""
    mesh.cluster.kubectl("create", "namespace", namespace)
    before = {node.name: left(node) for node in mesh.cluster.nodes}
    try:
        yield
    finally:
        with suppress(RuntimeError):
            mesh.cluster.kubectl("delete", "pods", "--all", "-n", namespace, "--now", "--wait=false")
        mesh.cluster.kubectl("delete", "namespace", namespace, f"--timeout={SECONDS}s", seconds=SECONDS + 10)
    for node in mesh.cluster.nodes:
        until(lambda: left(node) <= before[node.name], f"{node.name} has nothing left of {namespace}", 60)  # noqa: B023


def batch(namespace: str, nodes: Sequence[Node], names: Sequence[str]) -> list[dict[str, Any]]:
    """A pod of each name, in turn on these nodes."""
    return [
        pod(namespace, name, nodes[number % len(nodes)].name, {"app": "cni"}, SLEEP)
        for number, name in enumerate(names)
    ]


def delete(mesh: Mesh, namespace: str, *names: str) -> None:
    mesh.cluster.kubectl(
        "delete",
        "pods",
        "-n",
        namespace,
        *(names or ("--all",)),
        "--now",
        f"--timeout={SECONDS}s",
        seconds=SECONDS + 10,
    )


def addresses(mesh: Mesh, namespace: str) -> list[str]:
    pods = mesh.cluster.get("pods", "-n", namespace)["items"]
    return [one["ip"] for each in pods for one in each["status"]["podIPs"]]


def test_batches_of_pods_leave_nothing(mesh: Mesh, rounds: int = 2) -> None:
    with emptied(mesh, "cni-batches"):
        for number in range(rounds):
            names = [f"p{number}-{index}" for index in range(30)]
            mesh.apply(*batch("cni-batches", mesh.cluster.nodes, names))
            mesh.wait_pods("cni-batches", SECONDS)
            given = addresses(mesh, "cni-batches")
            assert len(given) == len(set(given)) == 60
            delete(mesh, "cni-batches")


def test_an_agent_that_is_killed_in_the_middle(mesh: Mesh) -> None:
    """While pods come and while they go; each comes up or is gone when the agent is back, and none twice."""
    node = mesh.cluster.nodes[0]
    with emptied(mesh, "cni-killed"):
        names = [f"p{index}" for index in range(12)]
        mesh.apply(*batch("cni-killed", [node], names))
        until(lambda: any("/cni/" in one for one in left(node)), "an ADD has begun", SECONDS)
        mesh.kill_agent(node)
        mesh.apply(*batch("cni-killed", [node], ["late"]))
        until(lambda: "the agent of this node does not answer" in events(mesh, "cni-killed"), "the Event", SECONDS)
        mesh.start_agent(node)
        mesh.wait_pods("cni-killed", SECONDS)
        given = addresses(mesh, "cni-killed")
        assert len(given) == len(set(given)) == 26
        mesh.kill_agent(node)
        delete(mesh, "cni-killed", *names[:6])
        assert any("/cni-deleted/" in one for one in left(node))
        mesh.start_agent(node)
        until(lambda: not any("/cni-deleted/" in one for one in left(node)), "what was deleted is finished", 60)
        until(lambda: mesh.answers(node), "the agent answers", 60)
        mesh.cluster.wait_ready()


def events(mesh: Mesh, namespace: str) -> str:
    """What the kubelet says of pods that it cannot start: what ADD answered, or, when it asks no more, STATUS."""
    return "\n".join(event["message"] for event in mesh.cluster.get("events", "-n", namespace)["items"])


FILL = r"""
ip netns add $1 || exit 1
export CNI_COMMAND=ADD CNI_NETNS=/run/netns/$1 CNI_ARGS="$2" CNI_PATH=/opt/cni/bin
for number in $(seq 1 300); do
  CNI_CONTAINERID=$1-$number CNI_IFNAME=e$number /opt/cni/bin/weft-cni < $3 > /run/$1.answer || break
done
echo $number; cat /run/$1.answer; rm /run/$1.answer
"""


def test_a_full_node_says_so_and_mends(mesh: Mesh) -> None:
    """Its last addresses go to sandboxes of one pod, by the plugin that the runtime calls."""
    node = mesh.cluster.nodes[1]
    spec = mesh.cluster.get("node", node.name)["spec"]
    with emptied(mesh, "cni-full"):
        mesh.apply(*batch("cni-full", [node], ["holder"]))
        mesh.wait_pods("cni-full", SECONDS)
        uid = mesh.cluster.get("pod", "holder", "-n", "cni-full")["metadata"]["uid"]
        args = f"K8S_POD_NAMESPACE=cni-full;K8S_POD_NAME=holder;K8S_POD_UID={uid}"
        conflist = json.loads(node.run("cat", "/etc/cni/net.d/05-weft.conflist"))
        config = {"cniVersion": "1.1.0", "name": conflist["name"], **conflist["plugins"][0]}
        node.run("sh", "-c", "cat > /run/full.conf", stdin=json.dumps(config))
        try:
            said = node.run("sh", "-c", FILL, "fill", "full", args, "/run/full.conf", seconds=SECONDS)
            number, answer = said.split("\n", 1)
            held = [one for one in left(node) if "/cni/" in one]
            assert int(number) > 100 and json.loads(answer)["code"] == 11, said
            assert len(held) == 253  # of a /24: neither network nor broadcast, nor the node's own
            mesh.apply(*batch("cni-full", [node], ["late"]))
            until(lambda: "podCIDRs" in events(mesh, "cni-full"), "an Event says why", SECONDS)
            for words in (*spec["podCIDRs"], "all 253 addresses are in use", "pod cni-full/late"):
                assert words in events(mesh, "cni-full")
        finally:
            collect(node, config)
            node.run("ip", "netns", "delete", "full")
            node.run("rm", "/run/full.conf")
        mesh.wait_pods("cni-full", SECONDS)


def collect(node: Node, config: dict[str, Any]) -> None:
    """GC of all but the runtime's own sandboxes."""
    containers = [one.rsplit("/", 1)[1].removesuffix(".json") for one in left(node) if "/cni/" in one]
    valid = [{"containerID": one, "ifname": "eth0"} for one in containers if not one.startswith("full-")]
    text = json.dumps(config | {"cni.dev/valid-attachments": valid})
    words = ("env", "CNI_COMMAND=GC", "CNI_PATH=/opt/cni/bin", "/opt/cni/bin/weft-cni")
    assert node.run(*words, stdin=text, seconds=SECONDS) == ""


def mtus(mesh: Mesh, namespace: str, *names: str) -> set[str]:
    return {mesh.exec(namespace, name, "/bin/cat", "/sys/class/net/eth0/mtu").strip() for name in names}


def test_pods_get_the_mtu_of_another_routing(mesh: Mesh) -> None:
    """The nodes' links take 1,500 bytes, VXLAN over IPv4 takes 50 of them."""
    options, pods = mesh.options, ("p0", "p1")
    with emptied(mesh, "cni-mtu"):
        mesh.apply(*batch("cni-mtu", mesh.cluster.nodes, pods))
        mesh.wait_pods("cni-mtu", SECONDS)
        assert mtus(mesh, "cni-mtu", *pods) == {"1500"}
        try:
            mesh.restart(*options, "--tunnel", "vxlan")
            assert mtus(mesh, "cni-mtu", *pods) == {"1450"}
        finally:
            mesh.restart(*options)
        assert mtus(mesh, "cni-mtu", *pods) == {"1500"}
