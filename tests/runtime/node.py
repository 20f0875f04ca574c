"""A place to run pods in: network namespace, cgroup, run directory, all with names of their own; and manifests."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import shutil
import subprocess
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tests.lab.waiting import SLOWNESS
from weft.datapath import netns
from weft.datapath.node import mounts
from weft.datapath.pod import PodDevices
from weft.model.kinds.core import Pod
from weft.model.objects import NamespacedName
from weft.runtime.config import Limits
from weft.runtime.files import DnsSettings
from weft.runtime.ipam import AddressPool
from weft.runtime.pods import PodRuntime, RuntimePaths

SHIM = Path(__file__).parents[2] / "build" / "weft-shim"
RANGES = (ipaddress.ip_network("10.99.0.0/24"), ipaddress.ip_network("fd99::/64"))
DNS = DnsSettings((ipaddress.ip_address("10.98.0.10"),), node="nameserver 192.0.2.53\nsearch example.org\n")
QUICK = Limits(backoff=0.2, backoff_max=0.8, backoff_reset=60, log_bytes=20_000)


class NoProgram:
    """Stands where the BPF programs are attached: these tests are about processes."""

    def attach_pod(self, device: str, ifindex: int) -> None: ...

    def attach_spare(self, device: str, ifindex: int) -> None: ...

    def keep_attached(self, device: str, link: int | None) -> None: ...

    def detach_pod(self, device: str) -> None: ...


@dataclass
class Node:
    name: str
    paths: RuntimePaths
    changes: list[NamespacedName] = field(default_factory=list)

    @contextlib.contextmanager
    def runtime(self, limits: Limits = QUICK) -> Iterator[PodRuntime]:
        """A fresh runtime, as a fresh agent has it; needs a running loop."""
        network = PodDevices(NoProgram(), 1500)
        pool = AddressPool(RANGES, [ipaddress.ip_address("10.99.0.1")])
        runtime = PodRuntime(
            self.paths, network, pool, node=self.name, on_change=self.changes.append, dns=DNS, limits=limits
        )
        try:
            yield runtime
        finally:
            runtime.close()
            network.close()

    def run(self, scene: Callable[[PodRuntime], Awaitable[None]], limits: Limits = QUICK) -> None:
        """The scene, in the node's network namespace."""

        async def main() -> None:
            with self.runtime(limits) as runtime:
                await scene(runtime)

        with netns.entered(Path("/run/netns") / self.name):
            asyncio.run(main())


@contextlib.contextmanager
def node() -> Iterator[Node]:
    name = f"wr{os.getpid()}-{uuid.uuid4().hex[:6]}"
    run_dir = Path("/run") / f"weft-{name}"
    cgroup = mounts("cgroup2")[0] / name / "pods"
    run_dir.mkdir()
    cgroup.mkdir(parents=True)
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        yield Node(name, RuntimePaths(run_dir, cgroup, SHIM, (run_dir,)))
    finally:
        (cgroup.parent / "cgroup.kill").write_text("1")
        for mount in (run_dir / "netns").glob("*"):
            netns.delete(mount)
        subprocess.run(["ip", "netns", "del", name], check=True)
        _remove_cgroup(cgroup.parent)
        shutil.rmtree(run_dir)


def _remove_cgroup(folder: Path) -> None:
    for _ in range(2000):
        try:
            for root, _, _ in os.walk(folder, topdown=False):
                Path(root).rmdir()
            return
        except OSError:
            os.sched_yield()
            (folder / "cgroup.kill").write_text("1")
    raise AssertionError(f"{folder}: processes do not end")


def pod(command: Sequence[str], **spec: Any) -> Pod:
    """One container ``main``; keys of ``spec`` are PodSpec's, ``container`` is merged into the container."""
    container = {"name": "main", "command": list(command), **spec.pop("container", {})}
    return manifest({"containers": [container], **spec})


def shell(script: str, **spec: Any) -> Pod:
    return pod(["sh", "-c", script], **spec)


def manifest(spec: dict[str, Any], name: str = "web") -> Pod:
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "web"}}, "spec": spec}
    return msgspec.convert(document, Pod)


async def until(holds: Callable[[], Any], what: str, seconds: float = 10) -> Any:
    """The first true value, asked every 5 ms."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds * SLOWNESS
    while not (value := holds()):
        assert clock() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.005)
    return value
