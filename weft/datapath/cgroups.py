"""Where in the cgroup2 hierarchy the programs are that reach services."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from weft.datapath.errors import FeatureError
from weft.datapath.node import mounts


def kubernetes_root() -> Path:
    """The folder that holds the kubelet's ``kubepods``, as one of its pods sees it that has the node's /sys/fs/cgroup
    mounted: all of the node's processes are below it, those of other nodes on the same machine are not.

    Errors: FeatureError.
    """
    own = Path("/proc/self/cgroup").read_text().splitlines()
    path = next((line.removeprefix("0::") for line in own if line.startswith("0::")), "/")
    before, found = before_kubepods(path), mounts("cgroup2")
    for mount in found:
        root = mount / (before or "")
        if any(root.glob("*kubepods*/")):
            return root
    if found and before is None and path != "/":  # a program of the node itself, before its kubelet
        return found[0]
    raise FeatureError(
        "the node's cgroup2 hierarchy",
        "no mount of it shows the kubelet's folder kubepods",
        "mount the node's /sys/fs/cgroup (hostPath), or name the folder by --cgroup-root",
    )


def chosen_root(folder: Path, pods: Path | None) -> Path:
    """The operator's choice. ``pods``: folder of the pods' cgroups, if they are weft's. Errors: FeatureError."""
    if not any(folder.is_relative_to(mount) and folder.is_dir() for mount in mounts("cgroup2")):
        raise FeatureError(f"--cgroup-root {folder}", "not a folder of a cgroup2 hierarchy", "see mount -t cgroup2")
    if pods and not pods.is_relative_to(folder):
        problem = f"the pods' cgroups in {pods} are not below it, so pods would reach no service"
        raise FeatureError(f"--cgroup-root {folder}", problem, "choose a folder above that")
    return folder


def confined() -> Path | None:
    """The folder of this process, if its control group namespace lets no process out: that of a container on a machine
    that has cgroup2 alone (mounted with nsdelegate, cgroup2(7)). As the node's own mount shows it. None: it may go
    anywhere."""
    own, me = Path("/proc/self/cgroup").read_text().splitlines(), str(os.getpid())
    if "0::/" not in own or "nsdelegate" not in Path("/proc/mounts").read_text():
        return None
    for mount in mounts("cgroup2"):
        for members in mount.glob("**/*kubepods*/**/cgroup.procs"):
            with contextlib.suppress(OSError):  # a pod that goes
                if me in members.read_text().split():
                    return members.parent
    return None


def before_kubepods(path: str) -> str | None:
    """What stands before the kubelet's folder, relative; None without one: the process has a cgroup namespace of its
    own. The kubelet spells the folder ``kubepods``, ``kubepods.slice`` or ``kubelet-kubepods.slice``."""
    parts = path.strip("/").split("/")
    place = next((at for at, part in enumerate(parts) if "kubepods" in part), None)
    return None if place is None else "/".join(parts[:place])
