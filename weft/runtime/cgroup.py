"""Pods' control groups (cgroup v2): one folder per pod, so that socket hooks see it and all of it ends at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

from weft.runtime.errors import PodError

_PATIENCE = 10.0


async def end(folder: Path) -> None:
    """SIGKILL to every process in the folder, and the folder away. Nothing there is not an error.

    Errors: PodError if a process does not die within 10 s (it hangs in the kernel).
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + _PATIENCE
    while folder.exists():
        try:
            (folder / "cgroup.kill").write_text("1")
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if clock() > deadline:
                pids = (folder / "cgroup.procs").read_text().split()
                raise PodError(f"{folder}: processes {', '.join(pids)} do not end: {error.strerror}") from error
            await asyncio.sleep(0.002)
