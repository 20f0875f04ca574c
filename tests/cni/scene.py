"""A node whose pods a test starts as a container runtime does: namespaces, and the real weft-cni."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from tests.datapath.conftest import CONFIG, Node
from weft.cni.pods import KubeletPods
from weft.cni.server import serve
from weft.datapath import netns, rtnetlink
from weft.datapath.netlink import Netlink
from weft.datapath.pod import PodDevices
from weft.model.desired import EndpointEntry, Write
from weft.model.net import ClassId, IdentityId, IPNetwork, TableId, to_wide
from weft.model.objects import LocalPod, NamespacedName
from weft.runtime.ipam import AddressPool

PROGRAM = Path(__file__).parents[2] / "build" / "weft-cni"
MTU = 1450
UID = "11111111-2222-3333-4444-555555555555"


@dataclass(frozen=True)
class Answer:
    status: int
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def code(self) -> int:
        """0 for success."""
        return int(self.json["code"]) if self.status else 0

    @property
    def addresses(self) -> list[str]:
        return [one["address"].split("/")[0] for one in self.json["ips"]]


@dataclass
class Runtime:
    """What a container runtime has: pods' namespaces, the plugin's configuration, and the plugin."""

    node: Node
    folder: Path
    pods: dict[str, NamespacedName] = field(default_factory=dict)
    program: Path = PROGRAM

    @property
    def socket(self) -> Path:
        return self.node.paths.run_dir / "cni.sock"

    def netns(self, container: str) -> Path:
        return self.folder / container

    def start(self, container: str, pod: str = "") -> str:
        """A container's namespace is there; it is of pod ``default/POD``."""
        self.folder.mkdir(exist_ok=True)
        os.close(netns.create(self.netns(container)))
        self.pods[container] = NamespacedName("default", pod or container)
        return container

    def stop(self, container: str) -> None:
        netns.delete(self.netns(container))

    def environment(self, verb: str, container: str = "", uid: str = UID, **changes: str) -> dict[str, str]:
        """``changes``: further variables; an empty one is taken away."""
        made = {"CNI_COMMAND": verb, "CNI_PATH": "/opt/cni/bin", "PATH": "/nowhere"}
        if container:
            key = self.pods.get(container, NamespacedName("default", container))
            made |= {"CNI_CONTAINERID": container, "CNI_NETNS": str(self.netns(container)), "CNI_IFNAME": "eth0"}
            made["CNI_ARGS"] = (
                f"IgnoreUnknown=1;K8S_POD_NAMESPACE={key.namespace};K8S_POD_NAME={key.name};"
                f"K8S_POD_INFRA_CONTAINER_ID={container};K8S_POD_UID={uid}"
            )
        return {name: value for name, value in (made | changes).items() if value}

    def config(self, version: str = "1.1.0", **fields: Any) -> bytes:
        made = {"cniVersion": version, "name": "weft", "type": "weft-cni", "socket": str(self.socket)}
        return json.dumps(made | fields).encode()

    async def run(self, environment: Mapping[str, str], config: bytes) -> Answer:
        process = await asyncio.create_subprocess_exec(
            self.program, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await process.communicate(config)
        assert not err, err
        assert process.returncode in (0, 1), (process.returncode, out)
        return Answer(process.returncode, out.decode())

    async def call(self, verb: str, container: str = "", version: str = "1.1.0", **fields: Any) -> Answer:
        """``fields``: of the network configuration; in capitals: of the environment."""
        variables = {name: fields.pop(name) for name in list(fields) if name.isupper()}
        uid = fields.pop("uid", UID)
        return await self.run(self.environment(verb, container, uid, **variables), self.config(version, **fields))

    async def add(self, container: str, **fields: Any) -> Answer:
        return await self.call("ADD", container, **fields)

    async def delete(self, container: str, **fields: Any) -> Answer:
        return await self.call("DEL", container, **fields)


class Agent:
    """As much of an agent as a pod's network needs: it answers, and puts pods in the kernel's tables."""

    def __init__(self, node: Node, ranges: tuple[IPNetwork, ...]) -> None:
        self.node = node
        self.devices = PodDevices(node.datapath, MTU)
        self.pool = AddressPool(ranges, CONFIG.router_addresses)
        self.pods = KubeletPods(node.paths.run_dir, self.pool, self.devices, self.known, self.commit)
        self.committed: list[NamespacedName] = []
        self.in_force: dict[NamespacedName, LocalPod] = {}
        self.unknown: set[str] = set()
        """Names of pods of which the API server says nothing."""
        self.refused: set[str] = set()
        """Names of pods whose plan the kernel does not take."""

    async def known(self, key: NamespacedName, uid: str) -> bool:
        return key.name not in self.unknown

    def commit_all(self) -> None:
        """The kernel's table is what this agent wants, whatever an earlier one left in it."""
        wanted = {to_wide(address): _entry(pod) for pod in self.pods.local.values() for address in pod.addresses}
        held = self.node.datapath.read().endpoints
        self.node.apply(Write("endpoints", wanted, tuple(address for address in held if address not in wanted)))
        self.in_force = dict(self.pods.local)

    async def commit(self, key: NamespacedName) -> None:
        self.committed.append(key)
        pod = self.pods.local.get(key)
        if key.name in self.refused and pod:
            raise RuntimeError("policy: the map is full")
        before = self.in_force.pop(key, None)
        puts, deletes = {}, []
        if pod:
            self.in_force[key] = pod
            puts = {to_wide(address): _entry(pod) for address in pod.addresses}
        if before:
            deletes = [to_wide(a) for a in before.addresses if to_wide(a) not in puts]
        self.node.apply(Write("endpoints", puts, tuple(deletes)))


def _entry(pod: LocalPod) -> EndpointEntry:
    local = pod.endpoint
    return EndpointEntry(
        local.id, local.ifindex, IdentityId(1 << 16 | local.id), ClassId(0), TableId(0), TableId(0), local.mac
    )


RANGES = (ip_network("10.55.0.0/24"), ip_network("fd55::/64"))


@asynccontextmanager
async def agent(
    runtime: Runtime, ranges: tuple[IPNetwork, ...] = RANGES, kind: type[Agent] = Agent
) -> AsyncIterator[Agent]:
    """One agent's life on the node."""
    made = kind(runtime.node, ranges)
    try:
        await made.pods.recover()
        made.commit_all()
        async with serve(made.pods, runtime.socket):
            yield made
    finally:
        made.devices.close()


@contextlib.contextmanager
def runtime(node: Node, folder: Path) -> Iterator[Runtime]:
    made = Runtime(node, folder / "containers")
    try:
        yield made
    finally:
        for path in made.folder.glob("*"):
            netns.delete(path)


def remains(node: Node) -> list[str]:
    """What pods have left on the node: devices, links, records, entries of the endpoint table."""
    with Netlink() as netlink:
        devices = [name for name in rtnetlink.links(netlink) if name.startswith("wf")]
    pins = [pin.name for pin in (node.paths.pin_dir / "links").iterdir() if pin.name.startswith("wf")]
    records = [path.name for path in (node.paths.run_dir / "cni").iterdir()]
    notes = node.paths.run_dir / "cni-deleted"
    left = [path.name for path in notes.iterdir()] if notes.exists() else []
    entries = [entry.hex() for entry in node.datapath.read().endpoints]
    return devices + pins + records + left + entries


def clear(node: Node) -> None:
    """Whatever a test has left, if it failed: the next one finds an empty node."""
    with Netlink() as netlink:
        for name in rtnetlink.links(netlink):
            if name.startswith("wf"):
                netlink.request(rtnetlink.delete_link(name))
    for pin in (node.paths.pin_dir / "links").glob("wf*"):
        pin.unlink()
    for path in (*node.paths.run_dir.glob("cni/*"), *node.paths.run_dir.glob("cni-deleted/*")):
        path.unlink()
    (node.paths.run_dir / "cni.sock").unlink(missing_ok=True)
    node.kernel = node.datapath.read()
    node.apply(Write("endpoints", {}, tuple(node.kernel.endpoints)))


def reaches(runtime: Runtime, source: str, target: str, address: str) -> bool:
    """Whether a TCP connection opens from a container to an address of another; a busy machine has 5 s for it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with netns.entered(runtime.netns(target)):
        server = socket.create_server((address, 8080), family=family)
    with netns.entered(runtime.netns(source)):
        client = socket.socket(family)
    with server, client:
        client.settimeout(5)
        try:
            client.connect((address, 8080))
        except OSError:
            return False
    return True
