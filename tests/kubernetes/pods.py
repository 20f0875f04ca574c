"""The image that tests' pods run: a shell, and the lab's server and prober."""

from __future__ import annotations

from pathlib import Path

from cluster.images import build_image
from tests.lab.tools import tool

LAB_IMAGE = "weft.test/lab:1"


def lab_image() -> Path:
    """Its OCI tar."""
    programs = {f"/bin/{name}": Path(tool(name)) for name in ("server", "probe", "hold")}
    busybox = Path("/bin/busybox")
    shell = {f"/bin/{name}": "busybox" for name in ("sh", "sleep", "cat", "ip", "ls", "echo", "true", "nslookup")}
    return build_image(LAB_IMAGE, {**programs, "/bin/busybox": busybox}, links=shell, entrypoint=("/bin/sh",))
