"""A node of a test's own: network namespace, bpffs, cgroup and folders, all gone afterwards."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.lab.waiting import SLOWNESS
from weft.datapath import netns, node
from weft.datapath.kernel import Datapath, Options
from weft.datapath.node import NodePaths
from weft.datapath.pod import PodDevices, device_name
from weft.model.desired import (
    ACTION_ALLOW,
    ACTION_NONE,
    BumpRevision,
    Desired,
    EndpointEntry,
    IpcacheEntry,
    PolicyEntry,
    PolicyKey,
    Write,
)
from weft.model.net import ClassId, EndpointId, IdentityId, IPAddress, Prefix, RuleId, TableId, to_wide
from weft.model.objects import LocalEndpoint, NodeConfig

PATIENCE = 5 * SLOWNESS
"""Seconds for what comes at once."""
CONFIG = NodeConfig(
    name="test",
    pod_cidrs=(ip_network("10.55.0.0/24"), ip_network("fd55::/64")),
    service_cidrs=(ip_network("10.56.0.0/16"), ip_network("fd56::/108")),
    router_addresses=(ip_address("10.55.0.1"), ip_address("fd55::1")),
)  # fmt: skip
SIZES = {"flows": 2048, "endpoints": 64, "policy": 1024, "ipcache": 256, "services": 64, "backends": 64}
SIZES |= {"backend_members": 64, "events": 1 << 14}
OPTIONS = Options(sizes=SIZES)
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
HOST = IpcacheEntry(IdentityId(1), ClassId(1), 1)


@dataclass
class Node:
    paths: NodePaths
    datapath: Datapath
    pods: PodDevices
    kernel: Desired = field(default_factory=Desired)

    def apply(self, *steps: Write | BumpRevision) -> None:
        self.datapath.apply(self.kernel, steps)
        self.kernel = self.datapath.read()

    def v4(self, number: int) -> IPAddress:
        return ip_address(address(number, 4))

    def v6(self, number: int) -> IPAddress:
        return ip_address(address(number, 6))

    def link_pin(self, number: int) -> Path:
        return self.paths.pin_dir / "links" / device_name(f"default_p{number}")

    def pod(self, number: int, ingress: int = 0, egress: int = 0) -> LocalEndpoint:
        """Pod ``pN`` with addresses 10.55.0.N and fd55::N, under these policy tables, its door open."""
        where = (self.v4(number), self.v6(number))
        local = self.pods.make(f"default_p{number}", self.netns(number), where, EndpointId(number))
        self.apply(Write("endpoints", endpoints(local, number, ingress, egress)))
        self.pods.bring_up(f"default_p{number}")
        return local

    def netns(self, number: int) -> Path:
        return self.paths.run_dir / "netns" / f"p{number}"

    def listen(self, number: int, version: int = 4) -> socket.socket:
        """A TCP server on port 8080 of a pod. Sockets stay in the namespace that they were made in."""
        with netns.entered(self.netns(number)):
            server = socket.socket(FAMILY[version])
        server.settimeout(PATIENCE)
        server.bind((address(number, version), 8080))
        server.listen()
        return server

    def connect(self, source: int | None, target: int, version: int = 4, seconds: float = 3) -> socket.socket:
        """A client in a pod (None: in the node). Errors: TimeoutError when packets are dropped."""
        with netns.entered(self.netns(source)) if source else contextlib.nullcontext():
            client = socket.socket(FAMILY[version])
        client.settimeout(seconds)
        try:
            client.connect((address(target, version), 8080))
        except BaseException:
            client.close()
            raise
        return client

    def reaches(self, source: int | None, target: int, version: int = 4) -> bool:
        """Whether a connection opens; a busy machine has 3 s for it."""
        with contextlib.suppress(TimeoutError), self.connect(source, target, version, 3):
            return True
        return False

    def refused(self, source: int | None, target: int, version: int = 4) -> bool:
        """Whether nothing opens for a while."""
        with contextlib.suppress(TimeoutError), self.connect(source, target, version, 0.3):
            return False
        return True

    def detach_all(self) -> None:
        """Every link goes, so that the programs can be attached in another way."""
        for pin in (self.paths.pin_dir / "links").iterdir():
            pin.unlink()

    def reopen(self, options: Options = OPTIONS) -> None:
        """As an agent that starts again."""
        self.datapath.close()
        self.datapath = Datapath.open(self.paths, options)
        self.datapath.enforce()
        self.pods = PodDevices(self.datapath, 1500)


def table(number: int, allowed: int) -> dict[PolicyKey, PolicyEntry]:
    """Everything refused, but from peers of class ``allowed`` by rule 1."""
    nothing = PolicyKey(TableId(number), ClassId(0), 0, 0, 32)
    return {
        nothing: PolicyEntry(ACTION_NONE, RuleId(0)),
        nothing._replace(class_=ClassId(allowed), bits=64): PolicyEntry(ACTION_ALLOW, RuleId(1)),
    }


def address(number: int, version: int) -> str:
    return f"10.55.0.{number}" if version == 4 else f"fd55::{number:x}"


def endpoints(local: LocalEndpoint, number: int, ingress: int, egress: int) -> dict[bytes, EndpointEntry]:
    entry = EndpointEntry(
        local.id,
        local.ifindex,
        IdentityId(1 << 16 | number),
        ClassId(number),
        TableId(ingress),
        TableId(egress),
        local.mac,
    )
    return {to_wide(ip_address(text)): entry for text in (address(number, 4), address(number, 6))}


@contextlib.contextmanager
def node_paths(folder: Path) -> Iterator[tuple[NodePaths, int]]:
    """Folders, a bpffs and a cgroup, and the descriptor of a network namespace for a node."""
    name = f"t{os.getpid()}x{uuid.uuid4().hex[:6]}"
    pins = folder / "bpf"
    pins.mkdir()
    netns.mount("bpf", pins, "bpf")
    made = NodePaths(
        name, folder / "run", folder / "state", pins / "weft" / name,
        node.mounts("cgroup2")[0] / "weft" / name / "pods",
    )  # fmt: skip
    home = netns.create(folder / "node")
    try:
        yield made, home
    finally:
        os.close(home)
        netns.delete(folder / "node")
        netns.unmount(pins)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def enforcing(paths: NodePaths) -> Iterator[Node]:
    """A node in the thread's namespace that is set up and enforces: no pods yet, its own addresses known."""
    datapath = Datapath.open(paths, OPTIONS)
    made = Node(paths, datapath, PodDevices(datapath, 1500))
    try:
        node.set_up(paths, CONFIG, 1500)
        made.apply(Write("ipcache", {Prefix(to_wide(a), 128): HOST for a in CONFIG.router_addresses}))
        datapath.enforce()
        node.bring_up(CONFIG)
        yield made
    finally:
        made.datapath.close()
        node.tear_down(paths)


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[NodePaths]:
    """Of a node of the test's own, whose network namespace the test's thread is in."""
    with node_paths(tmp_path) as (made, home), netns.entered(home):
        yield made


@pytest.fixture
def running(paths: NodePaths) -> Iterator[Node]:
    with enforcing(paths) as made:
        yield made
