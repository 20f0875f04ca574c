"""One node: namespaces of its own, and in them a containerd and a kubelet."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cluster import build, cgroups, network
from cluster.credentials import Credentials
from cluster.images import PAUSE
from cluster.layout import (
    DNS_SERVICE,
    DOMAIN,
    NETNS,
    POD_CIDRS,
    UPSTREAM_DNS,
    control_plane_name,
    node_addresses,
    node_name,
)
from cluster.processes import SLOWNESS, command, start, until

SETUP = Path(__file__).with_name("node.sh")
KUBE_PROXY = "system:kube-proxy"
CONTAINERD_SOCKET = "/run/containerd/containerd.sock"
TIMEOUTS = {"shim.cleanup": 5, "shim.load": 5, "shim.shutdown": 3, "task.state": 2}
"""containerd's own, on a plain machine."""


class Node:
    """Node ``number`` (from 1) of a cluster. Programs in it see its own /run, /etc, /var, /opt, sysfs and bpffs."""

    def __init__(self, cluster: str, number: int, state: Path, credentials: Credentials) -> None:
        self.cluster, self.number, self.state, self.credentials = cluster, number, state, credentials
        self.name = node_name(cluster, number)
        self.addresses = node_addresses(number)
        self.folder = state / self.name
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    # ---- life -------------------------------------------------------------------------------------------

    def create(self) -> None:
        """The namespaces, and containerd in them."""
        (self.folder / "containerd").mkdir(parents=True)
        cgroups.create(self.name)
        network.create_node(self.name, self.number, control_plane_name(self.cluster))
        log = self.folder / "namespaces.log"
        group = cgroups.unified(self.name, "namespaces")
        group.mkdir()
        setup = (str(SETUP), self.name, str(self.state), str(group), self.addresses[0], UPSTREAM_DNS)
        namespaces = ("nsenter", f"--net={NETNS / self.name}", "unshare", "--mount", "--uts", "--cgroup")
        holder = self._children["namespaces"] = start(self.name, "", (*namespaces, *setup), log)
        until(lambda: holder.poll() is not None or "ready" in log.read_text(), f"namespaces of {self.name}", pause=0.01)
        if holder.poll() is not None:
            raise RuntimeError(f"{self.name}: its namespaces could not be made: {log.read_text().strip()}")
        self.start_containerd()

    def start_containerd(self) -> None:
        """Start containerd; returns when it answers."""
        config = self.folder / "containerd.toml"
        config.write_text(_containerd_config())
        self.start("containerd", build.program("containerd", "containerd"), "--config", str(config))
        until(lambda: self.ctr("version"), f"containerd of {self.name} answers ({self.folder})", errors=(RuntimeError,))

    def start_kubelet(self) -> None:
        """Start the kubelet; it registers the node by itself."""
        config, kubeconfig = self.folder / "kubelet.json", self.folder / "kubelet.conf"
        config.write_text(json.dumps(_kubelet_config(self.credentials.folder / "ca.crt"), indent=1))
        self.credentials.kubeconfig(f"system:node:{self.name}", kubeconfig)
        self.start(
            "kubelet", build.program("kubernetes", "kubelet"), f"--config={config}", f"--kubeconfig={kubeconfig}",
            f"--hostname-override={self.name}", f"--node-ip={','.join(self.addresses)}",
        )  # fmt: skip

    def start_kube_proxy(self) -> None:
        """Start kube-proxy (nftables mode), as a peer to compare with. It touches nothing outside the node."""
        config, kubeconfig = self.folder / "kube-proxy.json", self.folder / "kube-proxy.conf"
        config.write_text(json.dumps(_kube_proxy_config(kubeconfig), indent=1))
        self.credentials.kubeconfig(KUBE_PROXY, kubeconfig)
        self.start(
            "kube-proxy", build.program("kubernetes", "kube-proxy"), f"--config={config}",
            f"--hostname-override={self.name}",
        )  # fmt: skip

    def start(self, program: str, *argv: str) -> None:
        """Start a program on the node, as a machine's service; it stays until stopped. Log: ``folder/PROGRAM.log``."""
        log = self.folder / f"{program}.log"
        path = f"{build.folder('containerd')}:{build.folder('runc')}:{os.environ['PATH']}"
        self._children[program] = start(self.name, program, (*self.enter(), *argv), log, env={"PATH": path})

    def stop(self, program: str) -> None:
        """Kill a program of the node; returns when it is gone. Stopping containerd leaves the containers running."""
        if program == "containerd":  # not the shims beside it
            cgroups.kill_program(program, self.name, program)
        else:
            cgroups.kill(self.name, program)
        if child := self._children.pop(program, None):
            child.wait()

    def remove(self) -> None:
        """Everything of it: processes, namespaces with their mounts, cgroups. The Node object stays in the API."""
        cgroups.remove(self.name)
        self.reap()
        network.remove(self.name)

    def reap(self) -> None:
        """Collect the ends of the processes started from here, after they were killed."""
        for child in self._children.values():
            child.wait()
        self._children.clear()

    # ---- use --------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """A process that is in the node's namespaces as long as the node lives."""
        pids = cgroups.processes(self.name, "namespaces")
        if not pids:
            raise RuntimeError(f"node {self.name} is not up")
        return pids[0]

    def enter(self) -> tuple[str, ...]:
        """The words before a command that is to run on the node."""
        return "nsenter", "-t", str(self.pid), "--net", "--mount", "--uts", "--cgroup", "--"

    def run(self, *argv: str, stdin: str | bytes | None = None, seconds: float = 60) -> str:
        """Run a command on the node; its standard output. Raises RuntimeError with what it said."""
        return command(*self.enter(), *argv, stdin=stdin, seconds=seconds)

    def ctr(self, *argv: str, seconds: float = 60) -> str:
        """containerd's own client, in the kubelet's namespace of images and containers."""
        return self.run(build.program("containerd", "ctr"), "-n", "k8s.io", *argv, seconds=seconds)

    def load_image(self, tar: Path) -> None:
        """Import an OCI or docker tar, under the names that it holds."""
        with tar.open("rb") as file:  # by its descriptor: the node may not see the path
            done = subprocess.run(
                [*self.enter(), build.program("containerd", "ctr"), "-n", "k8s.io", "images", "import", "--local", "-"],
                stdin=file,
                capture_output=True,
                check=False,
            )
        if done.returncode:
            raise RuntimeError(f"{self.name}: import of {tar}: {done.stderr.decode().strip()}")

    def logs(self) -> list[Path]:
        """The log files of its programs."""
        return sorted(self.folder.glob("*.log"))


def _containerd_config() -> str:
    timeouts = "\n".join(f"'io.containerd.timeout.{what}' = '{s * SLOWNESS:.0f}s'" for what, s in TIMEOUTS.items())
    return f"""\
version = 3
root = "/var/lib/containerd"
state = "/run/containerd"

[grpc]
address = "{CONTAINERD_SOCKET}"

[plugins.'io.containerd.cri.v1.images']
snapshotter = "overlayfs"
pinned_images = {{ sandbox = "{PAUSE}" }}

[plugins.'io.containerd.cri.v1.runtime']
restrict_oom_score_adj = true

[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["/opt/cni/bin"]
conf_dir = "/etc/cni/net.d"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
BinaryName = "{build.program("runc", "runc")}"
SystemdCgroup = false

[timeouts]
{timeouts}
"""


def _kubelet_config(authority: Path) -> dict[str, object]:
    never: Sequence[str] = ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available")
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(authority)},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": DOMAIN,
        "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
        "resolvConf": "/etc/resolv.conf",
        "failSwapOn": False,
        "localStorageCapacityIsolation": False,
        "imageGCHighThresholdPercent": 100,  # what is deleted could not be pulled again
        "evictionHard": dict.fromkeys(never, "0%"),
        "oomScoreAdj": 0,
        "maxPods": 250,
        "serializeImagePulls": False,
    }


def _kube_proxy_config(kubeconfig: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "clientConnection": {"kubeconfig": str(kubeconfig)},
        "clusterCIDR": ",".join(POD_CIDRS),
        "conntrack": {"maxPerCore": 0, "min": 0},  # the machine's own, shared by all nodes
        "oomScoreAdj": 0,
    }
