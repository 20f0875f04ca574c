"""etcd, API server, controller manager and scheduler; the nodes' upstream DNS, the relay to the API server."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from cluster import build, cgroups, network, relay
from cluster.credentials import Credentials
from cluster.layout import API_PORT, CONTROL_PLANE, NETNS, POD_CIDRS, POD_CIDRS_OF_A_NODE, SERVICE_CIDRS
from cluster.processes import start

ETCD = "http://127.0.0.1:2379"
UPSTREAM = """\
. {
    hosts hosts {
        reload 1s
        fallthrough
    }
    forward . 127.0.0.1:5300
    errors
}
.:5300 {
    template ANY ANY {
        rcode NXDOMAIN
    }
}
"""
"""The nodes' upstream DNS: knows what is in the file ``hosts``, and of every other name that it does not exist.

Two servers, since CoreDNS asks its plugins in an order of its own: template before hosts.
"""

CONTROLLERS = "kube-controller-manager", "kube-scheduler"
AGAIN = "sh", "-c", 'until "$@"; do sleep 0.5; done', "sh"
"""A controller ends when the API server is not healthy in its first 20 s, as on a machine that has much to do."""


class ControlPlane:
    """The programs in the namespace and cgroup ``name``; their files and logs are in ``state``."""

    def __init__(self, name: str, state: Path, credentials: Credentials) -> None:
        self.name, self.state, self.credentials = name, state, credentials
        self.folder = state / name
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def create(self) -> int:
        """Network and programs, all started at once (each waits for those it needs); the relay's port on 127.0.0.1."""
        self.folder.mkdir()
        cgroups.create(self.name)
        network.create_control_plane(self.name)
        self._start("etcd", build.program("etcd", "etcd"), *self._etcd())
        self.start_api()
        for user in CONTROLLERS:
            self.credentials.kubeconfig(f"system:{user}", self.folder / f"{user}.conf")
        self._start(
            "kube-controller-manager", *AGAIN, build.program("kubernetes", "kube-controller-manager"), *self._manager()
        )
        self._start(
            "kube-scheduler", *AGAIN, build.program("kubernetes", "kube-scheduler"),
            f"--kubeconfig={self.folder}/kube-scheduler.conf", "--leader-elect=false",
        )  # fmt: skip
        (self.folder / "Corefile").write_text(UPSTREAM)
        (self.folder / "hosts").touch()
        self._start("dns", build.program("coredns", "coredns"), "-conf", str(self.folder / "Corefile"), cwd=self.folder)
        return self._relay()

    def start_api(self) -> None:
        """Start the API server."""
        self._start("kube-apiserver", build.program("kubernetes", "kube-apiserver"), *self._api())

    def name_outside(self, name: str, *addresses: str) -> None:
        """Make the upstream DNS know a name, within a second."""
        with (self.folder / "hosts").open("a") as hosts:
            hosts.writelines(f"{address} {name}\n" for address in addresses)

    def stop(self, program: str) -> None:
        """Kill one of the programs; returns when it is gone."""
        cgroups.kill(self.name, program)
        if child := self._children.pop(program, None):
            child.wait()

    def reap(self) -> None:
        """Collect the ends of the processes started from here, after they were killed."""
        for child in self._children.values():
            child.wait()
        self._children.clear()

    def _start(self, program: str, *argv: str, fds: Sequence[int] = (), cwd: Path | None = None) -> None:
        enter = ("nsenter", f"--net={NETNS / self.name}")
        log = self.folder / f"{program}.log"
        self._children[program] = start(self.name, program, (*enter, *argv), log, pass_fds=fds, cwd=cwd)

    def _relay(self) -> int:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            fd = listener.fileno()
            self._start("relay", sys.executable, relay.__file__, str(fd), CONTROL_PLANE[0], str(API_PORT), fds=(fd,))
            port: int = listener.getsockname()[1]
            return port

    def _etcd(self) -> list[str]:
        return [
            f"--data-dir={self.folder}/etcd",
            f"--listen-client-urls={ETCD}",
            f"--advertise-client-urls={ETCD}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ]

    def _api(self) -> list[str]:
        own = self.credentials.folder
        return [
            f"--etcd-servers={ETCD}",
            f"--advertise-address={CONTROL_PLANE[0]}",
            f"--secure-port={API_PORT}",
            f"--service-cluster-ip-range={','.join(SERVICE_CIDRS)}",
            "--authorization-mode=Node,RBAC",
            f"--token-auth-file={own}/tokens.csv",
            f"--tls-cert-file={own}/server.crt",
            f"--tls-private-key-file={own}/server.key",
            f"--kubelet-client-certificate={own}/kubelet-client.crt",
            f"--kubelet-client-key={own}/kubelet-client.key",
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-key-file={own}/sa.pub",
            f"--service-account-signing-key-file={own}/sa.key",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--allow-privileged=true",
            "--shutdown-delay-duration=0s",
            f"--cert-dir={self.folder}",
        ]

    def _manager(self) -> list[str]:
        own = self.credentials.folder
        masks = (f"--node-cidr-mask-size-ipv{f}={m}" for f, m in zip((4, 6), POD_CIDRS_OF_A_NODE, strict=True))
        return [
            f"--kubeconfig={self.folder}/kube-controller-manager.conf",
            "--leader-elect=false",
            "--allocate-node-cidrs",
            f"--cluster-cidr={','.join(POD_CIDRS)}",
            *masks,
            f"--service-cluster-ip-range={','.join(SERVICE_CIDRS)}",
            f"--root-ca-file={own}/ca.crt",
            f"--service-account-private-key-file={own}/sa.key",
            f"--cluster-signing-cert-file={own}/ca.crt",
            f"--cluster-signing-key-file={own}/ca.key",
            f"--cert-dir={self.folder}",
        ]
