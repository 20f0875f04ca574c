"""The agent's side of weft-shim: start one, talk to it, read what it says (shim/shim.h).

Whether a supervisor lives is told by its lock on ``DIR/lock``. The agent takes the lock and hands it over, so there is
no moment in which somebody is about to run and nobody could know.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from weft.locks import is_held
from weft.runtime.errors import PodError

BINARY = "weft-shim"


@dataclass(frozen=True, slots=True)
class ShimStatus:
    """``DIR/status``. ``state``: Waiting, Running or Terminated, as in core/v1 ContainerState."""

    state: str = "Waiting"
    reason: str = "ContainerCreating"
    message: str = ""
    shim: int = 0
    pid: int = 0
    """First process of the container, in the node's pid namespace; 0 = none."""
    started: datetime | None = None
    finished: datetime | None = None
    retry: datetime | None = None
    """When it is started again, while it waits for that."""
    exit_code: int = 0
    """Of the last end."""
    restarts: int = 0
    go: bool = False
    """Whether it was told to start."""
    log_lost: int = 0


def read_status(directory: Path) -> ShimStatus | None:
    """None: there is none (yet)."""
    try:
        text = (directory / "status").read_text(errors="replace")
    except FileNotFoundError:
        return None
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    return ShimStatus(
        state=fields["state"],
        reason=fields["reason"],
        message=fields["message"],
        shim=int(fields["shim"]),
        pid=int(fields["pid"]),
        started=_moment(fields["started_ns"]),
        finished=_moment(fields["finished_ns"]),
        retry=_moment(fields["retry_ns"]),
        exit_code=int(fields["exit_code"]),
        restarts=int(fields["restarts"]),
        go=fields["go"] == "1",
        log_lost=int(fields["log_lost"]),
    )


def _moment(nanoseconds: str) -> datetime | None:
    return datetime.fromtimestamp(int(nanoseconds) / 1e9, UTC) if int(nanoseconds) else None


def is_alive(directory: Path) -> bool:
    """Whether a supervisor has the directory, or is about to."""
    return is_held(directory / "lock")


def pidfd(directory: Path) -> int | None:
    """A handle on the living supervisor; None if there is none. It is asked for its lock after the handle was opened,
    so the number in the status file cannot have become another process."""
    status = read_status(directory)
    if status is None or not is_alive(directory):
        return None
    try:
        handle = os.pidfd_open(status.shim)
    except ProcessLookupError:
        return None
    if not is_alive(directory):
        os.close(handle)
        return None
    return handle


async def launch(binary: Path, directory: Path) -> None:
    """Starts a supervisor, which reads ``directory/config`` and waits for ``go``. Errors: PodError."""
    lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PodError(f"{directory}: another supervisor has it; remove the pod first") from None
        with subprocess.Popen(
            [binary, "run", "--dir", directory, "--lock-fd", str(lock)],
            stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=(lock,), cwd="/", text=True,
        ) as process:  # fmt: skip
            await _exited(process.pid)
            if process.wait() and process.stderr:
                raise PodError(f"{directory}: {process.stderr.read().strip()}")
    finally:
        os.close(lock)


async def _exited(pid: int) -> None:
    """Returns when a child is over; asyncio's own way costs a thread each time."""
    loop = asyncio.get_running_loop()
    handle = os.pidfd_open(pid)
    over = loop.create_future()
    loop.add_reader(handle, over.cancel)
    try:
        await asyncio.wait([over])
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def tell(directory: Path, word: str) -> bool:
    """``go``, ``restart``, ``stop`` or ``stop MILLISECONDS``. False: nobody is there to hear it."""
    try:
        control = os.open(directory / "control", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(control, f"{word}\n".encode())
    finally:
        os.close(control)
    return True
