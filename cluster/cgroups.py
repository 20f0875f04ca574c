"""The cgroups of one cluster's nodes: where its processes live, how they are found, how they all end.

Every node NODE (and the control plane, as a node of its own) has the folder ``/NODE`` in every hierarchy: the root of
the node's cgroup namespace, so that its pods are in ``/NODE/kubepods/…``. Each program of the cluster runs in
``/NODE/PROGRAM`` of the v2 hierarchy. So no pid files are needed, and ``cgroup.kill`` ends a node with everything that
it started.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from functools import cache
from pathlib import Path

KILL_SECONDS = 20


@cache
def _hierarchies() -> tuple[Path, tuple[tuple[Path, str], ...]]:
    """(mount point of v2, the v1 hierarchies as (mount point, options))."""
    unified, others = None, []
    for line in Path("/proc/mounts").read_text().splitlines():
        _, where, kind, options, *_ = line.split()
        if kind == "cgroup2" and unified is None:
            unified = Path(where)
        elif kind == "cgroup":
            others.append((Path(where), options))
    if unified is None:
        raise RuntimeError("no cgroup2 hierarchy is mounted: mount -t cgroup2 none /sys/fs/cgroup/unified")
    return unified, tuple(others)


def unified(*names: str) -> Path:
    """The folder of a group in the v2 hierarchy."""
    return _hierarchies()[0].joinpath(*names)


def create(node: str) -> None:
    """Make ``/NODE`` in every hierarchy, ready for processes: v2 hands its controllers on, a v1 cpuset its CPUs."""
    root, others = _hierarchies()
    for controller in (root / "cgroup.controllers").read_text().split():
        (root / "cgroup.subtree_control").write_text(f"+{controller}")
    for mount, options in ((root, ""), *others):
        group = mount / node
        group.mkdir(exist_ok=True)
        if "cpuset" in options.split(","):
            for file in ("cpuset.cpus", "cpuset.mems"):
                (group / file).write_text((mount / file).read_text())


def join_files(node: str, program: str) -> list[str]:
    """The files that a process writes itself to, to be the node's: ``/NODE/PROGRAM`` of v2, ``/NODE`` of v1.

    Without a program ``/NODE`` in v2 as well: where a new cgroup namespace has its root.
    """
    root, others = _hierarchies()
    (root / node / program).mkdir(exist_ok=True)
    groups = (root / node / program, *(mount / node for mount, _ in others))
    return [str(group / "cgroup.procs") for group in groups]


def processes(*names: str) -> list[int]:
    """The process ids of one group of the v2 hierarchy, oldest first; none if there is no such group."""
    try:
        return sorted(int(word) for word in (unified(*names) / "cgroup.procs").read_text().split())
    except OSError:
        return []


def kill_program(program: str, *names: str) -> None:
    """End the processes of one group that run ``program`` (the name of its file); returns when they are gone."""
    deadline = time.monotonic() + KILL_SECONDS
    while pids := [pid for pid in processes(*names) if _runs(pid) == program]:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            raise TimeoutError(f"{program} in the cgroup {'/'.join(names)} does not end")
        time.sleep(0.005)


def _runs(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name
    except OSError:  # gone, or a zombie
        return ""


def kill(*names: str) -> None:
    """End every process of a v2 group and of the groups below it; returns when they are gone."""
    group = unified(*names)
    if not group.exists():
        return
    (group / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + KILL_SECONDS
    while "populated 1" in (group / "cgroup.events").read_text():
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes of the cgroup {group} do not end")
        time.sleep(0.005)


def remove(node: str) -> None:
    """Kill what is left of a node and remove its groups from every hierarchy."""
    root, others = _hierarchies()
    kill(node)
    for mount in (root, *(mount for mount, _ in others)):
        top = mount / node
        if not top.exists():
            continue
        folders = sorted((path for path in top.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts))
        for folder in (*folders, top):
            _rmdir(folder)


def _rmdir(folder: Path) -> None:
    deadline = time.monotonic() + KILL_SECONDS
    while True:
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError:  # a dead process leaves its group a moment after its end
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def nodes(prefix: str) -> set[str]:
    """Names of the groups ``PREFIX…`` that exist in any hierarchy: what a killed run left."""
    root, others = _hierarchies()
    mounts = (root, *(mount for mount, _ in others))
    return {path.name for mount in mounts for path in mount.glob(f"{prefix}*") if path.is_dir()}
