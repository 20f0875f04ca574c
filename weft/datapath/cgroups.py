"""Where in the cgroup2 hierarchy a Kubernetes node's processes are."""

from __future__ import annotations

from pathlib import Path

from weft.datapath.errors import FeatureError
from weft.datapath.node import mounts


def kubernetes_root() -> Path:
    """The folder that holds the kubelet's ``kubepods``, as one of its pods sees it that has the node's /sys/fs/cgroup
    mounted: all of the node's processes are below it, those of other nodes on the same machine are not.

    Errors: FeatureError.
    """
    own = Path("/proc/self/cgroup").read_text().splitlines()
    unified = next((line.removeprefix("0::") for line in own if line.startswith("0::")), "")
    before = before_kubepods(unified)
    for mount in mounts("cgroup2"):
        root = mount / (before or "")
        if any(root.glob("*kubepods*/")):
            return root
    raise FeatureError(
        "the node's cgroup2 hierarchy",
        "no mount of it shows the kubelet's folder kubepods",
        "mount the node's /sys/fs/cgroup (hostPath), or name the folder by --cgroup-root",
    )


def before_kubepods(path: str) -> str | None:
    """What stands before the kubelet's folder, relative; None without one: the process has a cgroup namespace of its
    own. The kubelet spells the folder ``kubepods``, ``kubepods.slice`` or ``kubelet-kubepods.slice``."""
    parts = path.strip("/").split("/")
    place = next((at for at, part in enumerate(parts) if "kubepods" in part), None)
    return None if place is None else "/".join(parts[:place])
