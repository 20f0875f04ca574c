"""A node with pods, a world behind an uplink, and a transparent proxy in the place of Envoy."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import pytest

from tests.datapath.conftest import FAMILY, HOST, PATIENCE, Node
from tests.lab.waiting import until
from weft.datapath import layouts, netns, rtnetlink, stats
from weft.datapath.events import HEADER, RECORD, EventReader
from weft.datapath.netlink import Netlink
from weft.datapath.ways import open_proxy_way
from weft.model.desired import (
    ACTION_ALLOW,
    ACTION_NONE,
    BumpRevision,
    IpcacheEntry,
    PolicyEntry,
    PolicyKey,
    RouteKey,
    ServiceEntry,
    ServiceKey,
    Write,
)
from weft.model.net import TCP, ClassId, IdentityId, Prefix, RuleId, TableId, to_wide

EGRESS, INGRESS, ROUTE, OWN_ROUTE, OTHER_INGRESS = 10_001, 10_002, 10_003, 10_005, 10_004
HTTP_OUT, HTTP_IN, PLAIN_IN, OTHER_RULES = 5, 6, 7, 8
"""Tables: through EGRESS to anybody; through INGRESS from anybody; from pod 11 only; through OTHER_INGRESS."""
CLIENT, SERVER, OTHER = 11, 12, 13
WORLD = {4: "192.0.2.9", 6: "2001:db8::9"}
UPLINK = {4: "192.0.2.1", 6: "2001:db8::1"}
VIP = {4: "10.56.0.7", 6: "fd56::7"}
PORT = 8080
VERSIONS = pytest.mark.parametrize("version", [4, 6])


def allow(table: int, class_: int | None, l7: int, rule: int = 1) -> dict[PolicyKey, PolicyEntry]:
    nothing = PolicyKey(TableId(table), ClassId(0), 0, 0, 32)
    entry = PolicyEntry(ACTION_ALLOW, RuleId(rule), 0, l7)
    if class_ is None:
        return {nothing: entry}
    return {nothing: PolicyEntry(ACTION_NONE, RuleId(0)), nothing._replace(class_=ClassId(class_), bits=64): entry}


@dataclass
class Scene:
    node: Node
    cgroup: Path
    world: Path
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def proxy(self, *listeners: str) -> subprocess.Popen[str]:
        """Starts the proxy in its namespace and its cgroup, and waits until it listens."""
        command = [sys.executable, "-m", "tests.datapath.transparent", str(self.cgroup), *listeners]
        with netns.entered(self.node.paths.proxy_netns):
            made = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.processes.append(made)
        assert made.stdout is not None and made.stdout.readline() == "ready\n"
        return made

    def standard(self) -> subprocess.Popen[str]:
        return self.proxy(f"{EGRESS},egress", f"{INGRESS},ingress")

    def tables(self, number: int, ingress: int = 0, egress: int = 0) -> None:
        """A pod's policy changes, and open flows are decided again."""
        moved = {
            wide: entry._replace(ingress_table=TableId(ingress), egress_table=TableId(egress))
            for wide, entry in self.node.kernel.endpoints.items()
            if entry.id == number
        }
        self.node.apply(Write("endpoints", moved), BumpRevision("test"))

    def scope(self, number: int, scope: int) -> None:
        """A pod comes to be of another namespace."""
        entries = self.node.kernel.endpoints.items()
        self.node.apply(Write("endpoints", {w: e._replace(scope=scope) for w, e in entries if e.id == number}))

    def route(self, version: int) -> None:
        """Port 80 of the service is routed: by ROUTE, and by OWN_ROUTE for clients of scope 5."""
        key = ServiceKey(to_wide(ip_address(VIP[version])), 80, TCP)
        self.node.apply(Write("routes", {RouteKey(77, 0): ROUTE, RouteKey(77, 5): OWN_ROUTE}))
        self.node.apply(Write("services", {key: ServiceEntry(0, 0, 0, 77, 1)}))

    def listen(self, where: int | None, version: int) -> socket.socket:
        """A server in a pod, or in the world."""
        if where is not None:
            return self.node.listen(where, version)
        with netns.entered(self.world):
            server = socket.socket(FAMILY[version])
        server.settimeout(PATIENCE)
        server.bind((WORLD[version], PORT))
        server.listen()
        return server

    def dial(
        self, where: int | None, target: str, port: int = PORT, source_port: int = 0, seconds: float = PATIENCE
    ) -> socket.socket:
        """A client in a pod, or in the world (None)."""
        with netns.entered(self.node.netns(where) if where else self.world):
            client = socket.socket(FAMILY[ip_address(target).version])
        client.settimeout(seconds)
        try:
            if source_port:
                client.bind(("", source_port))
            client.connect((target, port))
        except BaseException:
            client.close()
            raise
        return client

    def flows(self) -> list[tuple[layouts.FlowKey, layouts.Flow]]:
        return [(key, flow) for key, flow in stats.flows(self.node.datapath) if key.protocol == TCP]

    def all_end(self) -> None:
        """Every flow comes to its end: none waits for a packet that the doors will never see."""
        until(lambda: all(flow.state == layouts.FLOW_CLOSING for _, flow in self.flows()), "every flow ends", 5)

    def events(self) -> list[layouts.FlowEvent]:
        reader = EventReader(self.node.datapath.maps["events"])
        data = reader.read()
        reader.close()
        return [layouts.FlowEvent.unpack(data, at + HEADER) for at in range(0, len(data), RECORD)]


def ip(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


@contextlib.contextmanager
def proxy_scene(running: Node, tmp_path: Path) -> Iterator[Scene]:
    """Three pods, a world behind an uplink, the way to the proxy open, and a cgroup for it that is watched."""
    world = tmp_path / "world"
    outside = netns.create(world)
    with Netlink() as netlink:  # without ARP a frame is addressed to its sender's MAC: one for both ends
        netlink.request(rtnetlink.add_veth("up0", b"\2w\0\0\0\7", "out0", b"\2w\0\0\0\7", 1500, peer_netns=outside))
    os.close(outside)
    ip("link set lo up")
    ip("addr add 192.0.2.1/24 dev up0", "addr add 2001:db8::1/64 dev up0 nodad", "link set up0 up")
    with netns.entered(world):
        ip("link set lo up", "addr add 192.0.2.9/24 dev out0", "addr add 2001:db8::9/64 dev out0 nodad")
        ip("link set out0 up", "route add 10.55.0.0/24 via 192.0.2.1", "-6 route add fd55::/64 via 2001:db8::1")
    anybody = IpcacheEntry(IdentityId(2), ClassId(2))
    service = IpcacheEntry(IdentityId(2), ClassId(0), layouts.IPCACHE_SERVICE)
    mapped = to_wide(ip_address("0.0.0.0"))
    running.apply(
        Write("ipcache", {Prefix(mapped, 96): anybody, Prefix(bytes(16), 0): anybody}),
        Write("ipcache", {Prefix(to_wide(ip_address(text)), 128): service for text in VIP.values()}),
        Write("ipcache", {Prefix(to_wide(ip_address(text)), 128): HOST for text in UPLINK.values()}),
        Write("policy", allow(HTTP_OUT, None, EGRESS) | allow(HTTP_IN, None, INGRESS) | allow(PLAIN_IN, CLIENT, 0)),
        Write("policy", allow(OTHER_RULES, None, OTHER_INGRESS)),
    )
    for number in (CLIENT, SERVER, OTHER):
        running.pod(number)
    cgroup = running.paths.cgroup.parent / "envoy"
    cgroup.mkdir()
    running.datapath.watch_proxy(cgroup)
    open_proxy_way(running.datapath, 1500)
    made = Scene(running, cgroup, world)
    try:
        yield made
    finally:
        for process in made.processes:
            process.kill()
            process.wait()
            process.stdout.close()  # type: ignore[union-attr]
        deadline = time.monotonic() + 5
        while (cgroup / "cgroup.procs").read_text() and time.monotonic() < deadline:
            time.sleep(0.01)
        cgroup.rmdir()
        netns.delete(world)


def read(source: socket.socket, size: int) -> bytes:
    """That many bytes, or less if they end."""
    data = b""
    while len(data) < size and (more := source.recv(size - len(data))):
        data += more
    return data


def talk(client: socket.socket, server: socket.socket, seen: str, source: str) -> None:
    """A question and its answer; the server sees the way that the question came, and the client's own address."""
    client.sendall(b"hello")
    accepted, peer = server.accept()
    with accepted:
        accepted.settimeout(PATIENCE)
        wanted = f"{seen}hello".encode()
        assert read(accepted, len(wanted)) == wanted
        assert peer[0] == source
        accepted.sendall(b"world" * 10_000)
        accepted.shutdown(socket.SHUT_WR)
        answer = b""
        while more := client.recv(65536):
            answer += more
        assert answer == b"world" * 10_000
        client.shutdown(socket.SHUT_WR)
        assert accepted.recv(1) == b""
