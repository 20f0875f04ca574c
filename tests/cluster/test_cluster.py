"""The cluster itself: its nodes are nodes, its pods run, and nothing is left of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lightkube.resources.core_v1 import Node

from cluster import Cluster, cgroups
from cluster.cluster import remove_orphans
from cluster.layout import NETNS, STATE
from tests.lab.kubernetes import own_name
from tests.lab.waiting import until

MACHINE = ("vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")


def host_pod(name: str, node: str, script: str) -> str:
    """A pod that needs no CNI."""
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  hostNetwork: true
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  tolerations: [{{operator: Exists}}]
  containers:
  - name: shell
    image: weft.test/busybox:1
    imagePullPolicy: Never
    command: [sh, -c, {script!r}]
    volumeMounts: [{{name: var, mountPath: /node}}]
  volumes: [{{name: var, hostPath: {{path: /var/lib/weft}}}}]
"""


@pytest.fixture
def pod(cluster: Cluster) -> Iterator[str]:
    """A running hostNetwork pod on the first node."""
    script = "echo said; echo mine > /node/mark; sleep 1000"
    cluster.kubectl("apply", "-f", "-", stdin=host_pod("shell", cluster.nodes[0].name, script))
    cluster.kubectl("wait", "--for=condition=Ready", "pod/shell", "--timeout=60s")
    yield "shell"
    cluster.kubectl("delete", "pod", "shell", "--wait=true")


def test_nodes_register_and_have_addresses_of_both_families(cluster: Cluster) -> None:
    nodes = {node.metadata.name: node for node in cluster.client().list(Node) if node.metadata}
    assert set(nodes) == {node.name for node in cluster.nodes}
    for node in cluster.nodes:
        status = nodes[node.name].status
        assert status
        internal = [at.address for at in status.addresses or () if at.type == "InternalIP"]
        assert tuple(internal) == node.addresses
    until(
        lambda: all(len(node["spec"].get("podCIDRs", ())) == 2 for node in cluster.get("nodes")["items"]),
        "podCIDRs of both families",
    )


def test_a_pod_runs_and_kubectl_reaches_it(cluster: Cluster, pod: str) -> None:
    assert cluster.kubectl("logs", pod) == "said\n"
    assert cluster.kubectl("exec", pod, "--", "hostname") == cluster.nodes[0].name + "\n"
    assert cluster.nodes[0].addresses[0] in cluster.kubectl("exec", pod, "--", "ip", "addr")


def test_files_are_the_nodes_own(cluster: Cluster, pod: str) -> None:
    first, second = cluster.nodes
    assert first.run("cat", "/var/lib/weft/mark") == "mine\n"
    assert second.run("ls", "/var/lib/weft") == ""
    assert not Path("/var/lib/weft/mark").exists()


def test_the_root_cgroup_of_a_node_is_the_node(cluster: Cluster, pod: str) -> None:
    find = "find $(awk '$3 == \"cgroup2\" { print $2 }' /proc/mounts) -maxdepth 3 -name 'pod*' -printf '%P\n'"
    first, second = (node.run("sh", "-c", find).split() for node in cluster.nodes)
    uid = cluster.get("pod", pod)["metadata"]["uid"]
    assert f"kubepods/besteffort/pod{uid}" in first
    assert f"kubepods/besteffort/pod{uid}" not in second
    assert cgroups.unified(cluster.nodes[0].name, "kubepods", "besteffort", f"pod{uid}").is_dir()


def test_what_the_host_mounts_is_not_kept_alive_by_a_node(cluster: Cluster) -> None:
    mounts = cluster.nodes[0].run("cat", "/proc/mounts").splitlines()
    assert [line.split()[1] for line in mounts if line.split()[2] in ("bpf", "nsfs")] == ["/sys/fs/bpf"]


def test_upstream_dns_knows_what_it_is_told_and_denies_the_rest(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    cluster.control_plane.name_outside("known.example", "192.0.2.7")
    until(lambda: "192.0.2.7" in node.run("sh", "-c", "getent ahostsv4 known.example || true"), "the new name")
    with pytest.raises(RuntimeError, match="exit status 2"):
        node.run("getent", "ahosts", "unknown.example")


def test_the_api_server_goes_and_comes_back(cluster: Cluster) -> None:
    cluster.stop_api()
    with pytest.raises(RuntimeError):
        cluster.kubectl("get", "nodes", "--request-timeout=2s")
    cluster.start_api()
    assert len(cluster.get("nodes")["items"]) == 2


def test_a_node_comes_and_goes(cluster: Cluster) -> None:
    node = cluster.add_node()
    assert node.name in cluster.kubectl("get", "nodes")
    assert "busybox" in node.ctr("images", "ls", "-q")
    cluster.remove_node(node)
    assert len(cluster.get("nodes")["items"]) == 2
    assert traces(node.name) == []


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_nothing_is_left(how: str) -> None:
    before = {name: Path("/proc/sys", name).read_text() for name in MACHINE}
    name = own_name("u")
    code = f"""
import sys
from cluster import Cluster
with Cluster({name!r}, nodes=1) as cluster:
    cluster.kubectl("apply", "-f", "-", stdin=sys.argv[1])
    cluster.kubectl("wait", "--for=condition=Ready", "pod/shell", "--timeout=60s")
    print("up", flush=True)
    sys.stdin.readline()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, host_pod("shell", f"{name}-1", "sleep 1000")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout and process.stdin
            assert process.stdout.readline() == b"up\n", f"it did not come up: status {process.wait(60)}"
            assert traces(name), "this test must see what a cluster leaves"
            if how == "closed":
                process.stdin.close()
                assert process.wait(60) == 0
            else:
                process.kill()
                process.wait(60)
                assert traces(name)
                remove_orphans()
            assert traces(name) == []
        finally:
            process.kill()
            Cluster(name).down()
    assert {name: Path("/proc/sys", name).read_text() for name in MACHINE} == before


@pytest.mark.parametrize("name", ["", "Lab", "a-b", "1a", "longer-than-ten", "abcdefghijk"])
def test_a_name_that_cannot_be_a_clusters_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 10 lower-case letters and digits"):
        Cluster(name)


def traces(name: str) -> list[str]:
    """What there is of a cluster or node: namespaces, cgroups, files, mounts, processes that name it."""
    found = [str(path) for path in (*NETNS.glob(f"{name}*"), *STATE.glob(f"{name}*"))]
    found += sorted(cgroups.nodes(name))
    found += [line for line in Path("/proc/mounts").read_text().splitlines() if f"{name}-" in line]
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        try:
            groups = (process / "cgroup").read_text()
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if ") Z " in (process / "stat").read_text():  # dead; the machine's init has not collected it yet
                continue
        except OSError:
            continue
        if f"/{name}-" in groups or f"/{name}/{name}-" in command:
            found.append(f"{process.name} {command[:200]}")
    return found
