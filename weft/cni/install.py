"""The plugin where a container runtime looks for it: program first, configuration last, each in one step."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path

CONFLIST = "05-weft.conflist"
PROGRAM = "weft-cni"
LOOPBACK = "loopback"
"""The plugin that runtimes call for a pod's lo; weft-cni does its work too, where nobody has installed another."""


def conflist(socket: Path) -> str:
    """A runtime that knows ``cniVersions`` takes the highest that it speaks (1.1.0 has STATUS and GC), an older one
    ``cniVersion``. Source: the specification, "Version considerations"."""
    return json.dumps(
        {
            "cniVersion": "1.0.0",
            "cniVersions": ["0.4.0", "1.0.0", "1.1.0"],
            "name": "weft",
            "plugins": [{"type": PROGRAM, "socket": str(socket)}],
        },
        indent=2,
    )


def install(program: Path, bin_dir: Path, conf_dir: Path, socket: Path) -> None:
    """From now on the node's runtime asks at ``socket``. Repeating replaces both files."""
    for folder in (bin_dir, conf_dir):
        folder.mkdir(parents=True, exist_ok=True)
    fresh = bin_dir / f".{PROGRAM}.new"
    shutil.copyfile(program, fresh)
    fresh.chmod(0o755)
    fresh.rename(bin_dir / PROGRAM)
    with contextlib.suppress(FileExistsError):
        (bin_dir / LOOPBACK).symlink_to(PROGRAM)
    fresh = conf_dir / f".{CONFLIST}.new"  # no ending that a runtime would read
    fresh.touch(mode=0o600)
    fresh.write_text(conflist(socket) + "\n")
    _flush(fresh)
    fresh.rename(conf_dir / CONFLIST)


def uninstall(bin_dir: Path, conf_dir: Path) -> None:
    """The node's runtime knows nothing of weft any more. Nothing there is not an error."""
    loopback = bin_dir / LOOPBACK
    if loopback.is_symlink() and loopback.readlink() == Path(PROGRAM):
        loopback.unlink()
    for path in (conf_dir / CONFLIST, bin_dir / PROGRAM, conf_dir / f".{CONFLIST}.new", bin_dir / f".{PROGRAM}.new"):
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
