"""Kernel settings of the calling thread's network namespace (/proc/sys/net)."""

from __future__ import annotations

import json
import os
from pathlib import Path

from weft.datapath import netns

_ROOT = Path("/proc/sys/net")
_CHANGED = "sysctl.json"
_REMOUNT = 32 | 4096 | 2 | 4 | 8
"""MS_REMOUNT, MS_BIND; MS_NOSUID, MS_NODEV, MS_NOEXEC stay."""


def make_writable() -> None:
    """A container's runtime mounts /proc/sys read-only, in the container's own mounts. Errors: DatapathError."""
    if not os.access(_ROOT / "ipv4/ip_forward", os.W_OK):
        netns.mount("", Path("/proc/sys"), flags=_REMOUNT)


def read(name: str) -> str:
    """``name`` as a path below net: ``ipv4/ip_forward``. Empty if the kernel does not have it."""
    try:
        return (_ROOT / name).read_text().strip()
    except FileNotFoundError:
        return ""


def write(name: str, value: str | int) -> None:
    """Nothing happens if the kernel does not have the setting (IPv6 built out, an older kernel)."""
    path = _ROOT / name
    if path.exists():
        path.write_text(str(value))


def change(state_dir: Path, name: str, value: str) -> None:
    """Set what is the machine's own, after writing down what it was; ``restore`` puts that back."""
    before = read(name)
    if before in ("", value):
        return
    file = state_dir / _CHANGED
    changed = json.loads(file.read_text()) if file.exists() else {}
    if name not in changed:
        temporary = file.with_suffix(".new")
        temporary.write_text(json.dumps(changed | {name: before}))
        temporary.rename(file)
    write(name, value)


def restore(state_dir: Path) -> None:
    """What ``change`` changed is as it was before."""
    changed = state_dir / _CHANGED
    if changed.exists():
        for name, value in reversed(json.loads(changed.read_text()).items()):
            write(name, value)
        changed.unlink()
