"""What a node leaves in the kernel and on the disk, and how a lab removes every trace of its own, whatever happened."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.lab.waiting import until


def mount_points(kind: str) -> list[Path]:
    """Where file systems of this kind ("cgroup2", "bpf") are mounted."""
    with Path("/proc/self/mounts").open() as table:
        rows = [line.split() for line in table]
    return [Path(row[1]) for row in rows if row[2] == kind]


def node_cgroups(node: str) -> list[Path]:
    return [path for mount in mount_points("cgroup2") if (path := mount / "weft" / node).is_dir()]


def node_pins(node: str) -> list[Path]:
    return [path for mount in mount_points("bpf") if (path := mount / "weft" / node).is_dir()]


def pinned_map(node: str, name: str) -> Path:
    """Where a map of the node is pinned."""
    (found,) = (path for pins in node_pins(node) for path in pins.glob(f"v*/{name}"))
    return found


def node_folders(node: str) -> list[Path]:
    return [path for path in (Path("/run/weft") / node, Path("/var/lib/weft") / node) if path.exists()]


def remains(node: str) -> list[str]:
    """Everything of a node that still exists; empty after a clean removal."""
    found = [*node_cgroups(node), *node_pins(node), *node_folders(node)]
    with Path("/proc/self/mounts").open() as table:
        mounts = [line.split()[1] for line in table if f"/{node}/" in line]
    return [str(path) for path in found] + mounts


def remove(node: str) -> None:
    """Kill the node's processes by its own cgroups; remove cgroups, pins, mounts and folders. Idempotent."""
    for cgroup in node_cgroups(node):
        _remove_cgroup(cgroup)
    for pins in node_pins(node):
        shutil.rmtree(pins, ignore_errors=True)
    with Path("/proc/self/mounts").open() as table:
        mounts = [line.split()[1] for line in table if f"/run/weft/{node}/" in line]
    for mount in reversed(mounts):
        subprocess.run(["umount", "-l", mount], check=False)
    for folder in node_folders(node):
        shutil.rmtree(folder, ignore_errors=True)


def _remove_cgroup(cgroup: Path) -> None:
    (cgroup / "cgroup.kill").write_text("1")
    until(lambda: "populated 0" in (cgroup / "cgroup.events").read_text(), f"{cgroup} is empty", 10)
    for folder, _, _ in os.walk(cgroup, topdown=False):
        with contextlib.suppress(FileNotFoundError):
            Path(folder).rmdir()
