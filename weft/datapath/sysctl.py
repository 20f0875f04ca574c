"""Kernel settings of the calling thread's network namespace (/proc/sys/net)."""

from __future__ import annotations

from pathlib import Path

_ROOT = Path("/proc/sys/net")


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
