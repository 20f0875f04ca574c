"""The lab's small C programs (c/*.c), compiled once into build/lab/. Static, so that they start at once anywhere."""

from __future__ import annotations

import fcntl
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = Path(__file__).with_name("c")
BUILD = ROOT / "build" / "lab"


@cache
def tool(name: str) -> str:
    """Path of the program ``name``, compiled if its source is newer. Raises CalledProcessError (gcc says why)."""
    source, program = SOURCES / f"{name}.c", BUILD / name
    newest = max(source.stat().st_mtime, (SOURCES / "wire.h").stat().st_mtime)
    if program.exists() and program.stat().st_mtime >= newest:
        return str(program)
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        fresh = program.with_suffix(".new")
        subprocess.run(["gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o", fresh, source], check=True)
        fresh.rename(program)
    return str(program)


def build_all() -> None:
    """Compile all of them: before a guest boots, whose view of this folder is read-only."""
    for source in SOURCES.glob("*.c"):
        tool(source.stem)


if __name__ == "__main__":
    build_all()
