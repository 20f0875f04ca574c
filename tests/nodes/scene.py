"""Several nodes on one machine: each a network namespace with a datapath of its own, joined by a bridge.

    n1 ── uplink ─┐
    n2 ── uplink ─┼─ bridge in a namespace of its own, which is also everybody's gateway and the world outside
    n3 ── uplink ─┘

Node N has 198.51.100.N0 and 2001:db8:51::N0, its pods 10.66.N.0/24 and fd66:0:0:N::/64; the world 203.0.113.1 and
2001:db8:113::1. The world knows the way to the pods, so packets can come in unasked. There is no agent: a world is a
value, and ``commit`` puts it in force on each node.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from itertools import product
from pathlib import Path

from tests.lab.waiting import until
from tests.policy.shop import read, world_with
from weft.datapath import netns, node
from weft.datapath.kernel import Datapath, Options
from weft.datapath.node import NodePaths
from weft.datapath.nodes import Nodes
from weft.datapath.pod import PodDevices
from weft.datapath.resize import resize
from weft.datapath.sweep import sweep
from weft.model.desired import Desired
from weft.model.net import EndpointId, IPAddress
from weft.model.objects import LocalEndpoint, NamedPort, Namespace, NamespacedName, Node, NodeConfig, Workload
from weft.model.verdicts import Verdict
from weft.model.world import World
from weft.plan import Compiled, Compiler, transition

SIZES = {"flows": 4096, "endpoints": 64, "policy": 4096, "ipcache": 512, "services": 64, "backends": 64}
OPTIONS = Options(sizes={**SIZES, "backend_members": 64, "events": 1 << 14})
PREFIXES = {4: "198.51.100.", 6: "2001:db8:51::"}
WORLD = (ip_address("203.0.113.1"), ip_address("2001:db8:113::1"))


def ip(*words: str) -> None:
    """``ip WORDS`` in the calling thread's namespace."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


@dataclass
class TestNode:
    """One node: ``spec`` is what the others know of it."""

    __test__ = False
    number: int
    home: Path
    """Where its namespace is mounted."""
    paths: NodePaths
    spec: Node
    config: NodeConfig
    datapath: Datapath
    devices: PodDevices
    local: dict[NamespacedName, LocalEndpoint] = field(default_factory=dict)
    held: Desired = field(default_factory=Desired)
    compiler: Compiler = field(default_factory=Compiler)
    compiled: Compiled = field(default_factory=Compiled)
    ways: Nodes | None = None
    problems: tuple[str, ...] = ()

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """The calling thread is on the node meanwhile."""
        with netns.entered(self.home):
            yield

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        return self.spec.addresses

    @property
    def mtu(self) -> int:
        """Of its pods. To be asked inside."""
        return node.pod_mtu(self.config.tunnel, self.spec.addresses)

    def commit(self, world: World) -> World:
        """As the engine does it; returns the world as this node sees it."""
        pods = {key: replace(pod, local=self.local.get(key)) for key, pod in world.workloads.items()}
        seen = replace(world, node=self.config, workloads=pods)
        self.compiled = self.compiler.compile(seen)
        bumped = self.datapath.apply(self.held, transition(self.held, self.compiled.desired))
        self.held = self.compiled.desired
        with self.inside():
            if self.ways:
                self.problems = self.ways.keep(self.compiled.nodes)
            if bumped:
                sweep(self.datapath)
        return seen

    def start(self, world: World) -> None:
        """From nothing, or again on what an earlier start left: the agent's order."""
        with self.inside():
            node.set_up(self.paths, self.config, self.mtu)
            self.commit(world)
            self.datapath.enforce()
            node.bring_up(self.config)
            resize((self.paths.run_dir / "netns").glob("*"), self.mtu)
            self.ways = Nodes()
        self.commit(world)

    def restart(self, world: World) -> None:
        """As an agent that starts again."""
        self.datapath.close()
        with self.inside():
            self.datapath = Datapath.open(self.paths, self.datapath.options)
        self.held, self.compiler, self.ways = self.datapath.read(), Compiler(), None
        self.start(world)
        self.datapath.bump_revision()

    def counted(self, verdict: Verdict, door: int = 1) -> int:
        """Packets to pods that met this verdict (with door 0: from pods)."""
        raw = self.datapath.maps["counters"].lookup((door * 256 + verdict).to_bytes(4, "little"))
        assert raw is not None
        return sum(int.from_bytes(raw[at : at + 8], "little") for at in range(0, len(raw), 16))

    def close(self) -> None:
        """Safe to repeat."""
        with self.inside():
            self.devices.close()
            self.datapath.close()
            node.tear_down(self.paths)


@dataclass(frozen=True)
class Pod:
    """A pod of a node: sockets in ``netns`` are its own."""

    key: NamespacedName
    netns: Path
    addresses: tuple[IPAddress, IPAddress]

    def address(self, version: int) -> IPAddress:
        return self.addresses[version == 6]


class Cluster:
    """Use as a context manager: what it made is gone afterwards, whatever happened."""

    def __init__(
        self,
        folder: Path,
        count: int,
        tunnel: str = "",
        underlay: tuple[int, ...] = (4, 6),
        options: Options = OPTIONS,
    ) -> None:
        """``underlay``: families of the nodes' own addresses."""
        self._folder, self._count, self._tunnel, self._underlay = folder, count, tunnel, underlay
        self._options = options
        self._name = f"c{os.getpid()}x{uuid.uuid4().hex[:6]}"
        self._stack = contextlib.ExitStack()
        self.nodes: dict[str, TestNode] = {}
        self.pods: dict[str, Pod] = {}
        self.world = World(NodeConfig("nobody"))
        self.complete = self.world
        """With the pods that not every node knows."""

    def __enter__(self) -> Cluster:
        self._folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as made:
            made.callback(shutil.rmtree, self._folder, ignore_errors=True)
            self._make(made)
            self._stack = made.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _make(self, stack: contextlib.ExitStack) -> None:
        self.switch = self._folder / "switch"
        os.close(netns.create(self.switch))
        stack.callback(netns.delete, self.switch)
        with netns.entered(self.switch):
            _settings("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")
            ip("link", "set", "lo", "up")
            ip("link", "add", "bridge", "type", "bridge")
            for gateway in ("198.51.100.1/24", "2001:db8:51::1/64"):
                ip("address", "add", gateway, "dev", "bridge", "nodad")
            for address in WORLD:
                ip("address", "add", f"{address}/{address.max_prefixlen}", "dev", "lo")
            ip("link", "set", "bridge", "up")
        pins = self._folder / "bpf"
        pins.mkdir()
        netns.mount("bpf", pins, "bpf")
        stack.callback(netns.unmount, pins)
        for number in range(1, self._count + 1):
            home = self._folder / f"n{number}"
            os.close(netns.create(home))
            stack.callback(netns.delete, home)
            made = self._make_node(number, home, pins)
            self.nodes[made.spec.name] = made
            stack.callback(made.close)
        with netns.entered(self.switch):
            for each in self.nodes.values():
                for cidr, hop in product(each.spec.pod_cidrs, each.addresses):
                    if cidr.version == hop.version:
                        ip("route", "add", str(cidr), "via", str(hop))
        self.world = replace(self.world, nodes={name: each.spec for name, each in self.nodes.items()})
        for each in self.nodes.values():
            each.start(self.world)

    def _make_node(self, number: int, home: Path, pins: Path) -> TestNode:
        name, folder = f"{self._name}n{number}", self._folder / f"n{number}.d"
        with netns.entered(self.switch):
            ip("link", "add", f"port{number}", "type", "veth", "peer", "name", "uplink", "netns", str(home))
            ip("link", "set", f"port{number}", "master", "bridge", "up")
        spec = Node(
            f"n{number}",
            tuple(ip_address(PREFIXES[version] + f"{number}0") for version in self._underlay),
            (ip_network(f"10.66.{number}.0/24"), ip_network(f"fd66:0:0:{number}::/64")),
        )
        paths = NodePaths(
            name, folder / "run", folder / "state", pins / "weft" / name,
            node.mounts("cgroup2")[0] / "weft" / name / "pods",
        )  # fmt: skip
        with netns.entered(home):
            ip("link", "set", "lo", "up")
            for address in spec.addresses:
                ip("address", "add", f"{address}/{24 if address.version == 4 else 64}", "dev", "uplink", "nodad")
            ip("link", "set", "uplink", "up")
            for version in self._underlay:
                ip(f"-{version}", "route", "add", "default", "via", f"{PREFIXES[version]}1")
            datapath = Datapath.open(paths, self._options)
            config = NodeConfig(
                spec.name, pod_cidrs=spec.pod_cidrs, router_addresses=tuple(cidr[1] for cidr in spec.pod_cidrs),
                host_addresses=node.host_addresses(), tunnel=self._tunnel,
            )  # fmt: skip
            devices = PodDevices(datapath, node.pod_mtu(self._tunnel, spec.addresses))
            return TestNode(number, home, paths, spec, config, datapath, devices)

    # ---- what is in the cluster -----------------------------------------------------------------------------------

    def pod(self, name: str, where: str, labels: dict[str, str], *ports: NamedPort, known: bool = True) -> Pod:
        """Pod ``namespace/name`` on a node, in force everywhere; unless ``known``, on its own node only."""
        namespace, _, short = name.partition("/")
        key, owner = NamespacedName(namespace, short), self.nodes[where]
        number = 10 + len(owner.local)
        addresses = (ip_address(f"10.66.{owner.number}.{number}"), ip_address(f"fd66:0:0:{owner.number}::{number:x}"))
        path = owner.paths.run_dir / "netns" / f"{namespace}_{short}"
        with owner.inside():
            owner.local[key] = owner.devices.make(f"{namespace}_{short}", path, addresses, EndpointId(number))
        workload = Workload(key, labels, "", where, addresses, ports, ready=True)
        spaces = {namespace: Namespace(namespace, {"name": namespace}), **self.world.namespaces}
        world = replace(self.world, namespaces=spaces, workloads={**self.world.workloads, key: workload})
        self.complete = world
        if known:
            self.commit(world)
        else:
            owner.commit(world)
        with owner.inside():
            owner.devices.bring_up(f"{namespace}_{short}")
        pod = self.pods[name] = Pod(key, path, addresses)
        return pod

    def wait(self, holds: Callable[[], object], what: str) -> None:
        until(holds, what, 30)

    def apply(self, text: str) -> None:
        """These policies, and no others, on all nodes."""
        self.commit(world_with(read(text), self.world))

    def commit(self, world: World) -> None:
        self.world = world
        for each in self.nodes.values():
            each.commit(world)


def _settings(*settings: str) -> None:
    subprocess.run(["sysctl", "-qw", *settings], check=True)
