"""The arms of a comparison: a client and a server in two namespaces, and what lies between them.

``Plain``: no mesh, a routed veth pair on each side. ``Nft``: the same with a map-based DNAT in the node's namespace, as
kube-proxy's nftables mode does it. The weft arm is in bench/weft_arm.py.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from bench.tools import cpus, tool
from tests.lab.netns import inside, ip
from weft.datapath.node import mounts

PORT = 8080
BULK_PORT = 5201
SERVICE_PORT = 10000
"""Service i is at SERVICE_ADDRESS + i/100, port SERVICE_PORT + i%100 (bench/c/trip.c)."""


class Arm(Protocol):
    """One way from a client to a server."""

    name: str
    address: str
    """The server's own IPv4 address."""
    services: str
    """First address of its services."""

    def client(self, *command: str) -> list[str]:
        """The command line that runs ``command`` as the client."""

    def pin_servers(self, pinned: bool) -> None:
        """Keep the server's processes on one core, or let them run anywhere."""

    def close(self) -> None: ...


class Plain:
    """client ── node ── server, routed; nothing else."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.address, self.services = "10.88.2.2", "10.89.0.1"
        prefix = f"bench{os.getpid()}x{uuid.uuid4().hex[:6]}"
        self.node, self._client, self._server = f"{prefix}-n", f"{prefix}-c", f"{prefix}-s"
        self._processes: list[subprocess.Popen[str]] = []
        self._pods = mounts("cgroup2")[0] / prefix / "node" / "pods"
        try:
            self._connect()
            for pod in ("client", "server"):
                (self._pods / pod).mkdir(parents=True)
            for command in ((tool("serve"), str(PORT)), ("iperf3", "-s", "--forceflush", "-p", str(BULK_PORT))):
                self._start(*command)
        except BaseException:
            self.close()
            raise

    def _connect(self) -> None:
        for namespace in (self.node, self._client, self._server):
            ip("netns", "add", namespace)
            ip("-n", namespace, "link", "set", "lo", "up")
        for subnet, namespace in ((1, self._client), (2, self._server)):
            device = f"pod{subnet}"
            ip("-n", self.node, "link", "add", device, "type", "veth", "peer", "name", "eth0", "netns", namespace)
            ip("-n", self.node, "address", "add", f"10.88.{subnet}.1/24", "dev", device)
            ip("-n", self.node, "link", "set", device, "up")
            ip("-n", namespace, "address", "add", f"10.88.{subnet}.2/24", "dev", "eth0")
            ip("-n", namespace, "link", "set", "eth0", "up")
            ip("-n", namespace, "route", "add", "default", "via", f"10.88.{subnet}.1")
        subprocess.run(inside(self.node, "sysctl", "-qw", "net.ipv4.ip_forward=1"), check=True)

    def _start(self, *command: str) -> None:
        argv = self._in_pod("server", self._server, command)
        # A session of its own, as every pod's processes have: the scheduler groups sessions (autogroup), and switching
        # within one group is cheaper than between two.
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
        self._processes.append(process)
        assert process.stdout is not None
        process.stdout.readline()

    def client(self, *command: str) -> list[str]:
        return self._in_pod("client", self._client, command)

    def _in_pod(self, pod: str, namespace: str, command: Sequence[str]) -> list[str]:
        """In a cgroup as deep as weft's pods are: each level costs every switch between processes (pressure
        accounting), with a mesh or without."""
        enter = f'echo 0 > {self._pods / pod}/cgroup.procs; exec "$@"'
        return inside(namespace, "/bin/sh", "-c", enter, "sh", *command)

    def pin_servers(self, pinned: bool) -> None:
        for process in self._processes:
            os.sched_setaffinity(process.pid, cpus(pinned))

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        for namespace in (self._client, self._server, self.node):
            ip("netns", "del", namespace, check=False)
        for folder in (self._pods / "client", self._pods / "server", self._pods, *self._pods.parents[:2]):
            if folder.exists():
                folder.rmdir()


class Nft(Plain):
    """Plain, with ``count`` services in one nftables map of the node's namespace."""

    def __init__(self, name: str, count: int) -> None:
        super().__init__(name)
        try:
            self._load(count)
        except BaseException:
            self.close()
            raise

    def _load(self, count: int) -> None:
        first = [int(part) for part in self.services.split(".")]
        elements = []
        for service in range(count):
            host = first[3] + service // 100
            address = f"{first[0]}.{first[1]}.{first[2] + host // 256}.{host % 256}"
            elements.append(f"{address} . {SERVICE_PORT + service % 100} : {self.address} . {PORT}")
        ruleset = (
            "table ip bench {\n map services { type ipv4_addr . inet_service : ipv4_addr . inet_service\n"
            f" elements = {{ {', '.join(elements)} }} }}\n"
            " chain prerouting { type nat hook prerouting priority dstnat;\n"
            " dnat ip to ip daddr . tcp dport map @services\n }\n}\n"
        )
        subprocess.run(inside(self.node, "nft", "-f", "-"), input=ruleset, text=True, check=True)


def in_rounds(
    arms: Sequence[Arm], count: int, what: str, say: Callable[[str], None]
) -> Iterator[tuple[bool, Sequence[Arm]]]:
    """Whether servers and clients share one core, and the arms: both ways in each round; the order of the arms turns
    by one each round."""
    for number in range(count):
        turned = [*arms[number % len(arms) :], *arms[: number % len(arms)]]
        for pinned in (True, False):
            for arm in turned:
                arm.pin_servers(pinned)
            yield pinned, turned
        say(f"{what}: round {number + 1} of {count}")
