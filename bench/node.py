"""A node's datapath without an agent: for measurements of the kernel's side."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

from bench.tools import ROOT
from weft.datapath import netns, node
from weft.datapath.kernel import Datapath, Options
from weft.datapath.libbpf import Object
from weft.datapath.node import NodePaths
from weft.model.objects import NodeConfig

CONFIG = NodeConfig(
    name="bench",
    pod_cidrs=(ip_network("10.55.0.0/16"), ip_network("fd55::/64")),
    service_cidrs=(ip_network("10.56.0.0/16"), ip_network("fd56::/108")),
    router_addresses=(ip_address("10.55.0.1"), ip_address("fd55::1")),
)


@contextlib.contextmanager
def datapath_node() -> Iterator[tuple[Datapath, NodePaths]]:
    """A namespace (this thread is in it), folders, a bpffs, a cgroup and the loaded datapath; all gone afterwards."""
    name = f"bench{os.getpid()}x{uuid.uuid4().hex[:6]}"
    folder = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    pins = folder / "bpf"
    pins.mkdir()
    netns.mount("bpf", pins, "bpf")
    cgroup = node.mounts("cgroup2")[0] / "weft" / name / "pods"
    paths = NodePaths(name, folder / "run", folder / "state", pins / "weft" / name, cgroup)
    home = netns.create(folder / "node")
    try:
        with netns.entered(home), Datapath.open(paths, Options()) as datapath:
            try:
                node.set_up(paths, CONFIG, 1500)
                datapath.enforce()
                node.bring_up(CONFIG)
                yield datapath, paths
            finally:
                node.tear_down(paths)
    finally:
        os.close(home)
        netns.delete(folder / "node")
        netns.unmount(pins)
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def measuring_programs(datapath: Datapath) -> Iterator[Object]:
    """bench/c/measure.bpf.c, loaded beside the datapath and writing to its events ring."""
    source, built = ROOT / "bench" / "c" / "measure.bpf.c", ROOT / "build" / "bench" / "measure.bpf.o"
    built.parent.mkdir(parents=True, exist_ok=True)
    include = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    subprocess.run(["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", include, "-c", source, "-o", built], check=True)
    with Object(built) as programs:
        events = datapath.maps["events"]
        programs.resize("events", events.max_entries)
        programs.reuse("events", events.fd)
        programs.load()
        yield programs
