"""Envoy's process: started so that it outlives the agent, found again, watched, stopped.

It is a member of its own control group and holds a lock in its run directory; the lock alone says that it lives, so
there is no moment in which it runs and nobody could know.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from weft.locks import is_held
from weft.proxy.bootstrap import Paths, bootstrap
from weft.proxy.launcher import Launcher
from weft.proxy.spawn import USER, ProxyError, spawn

SPARE_FILES = 4096
"""Descriptors that are not clients' connections: a listener has two for each worker."""
Enter = Callable[[], AbstractContextManager[None]]


@dataclass(frozen=True, slots=True)
class Limits:
    heap_bytes: int = 512 << 20
    """From 90 % on Envoy frees and refuses (overload manager); at 150 % the kernel refuses it memory."""
    connections: int = 50_000
    """From clients; fewer if the limit of open files does not suffice."""
    workers: int = 0
    """Threads; 0: one for each core, at most 8."""


class Process:
    """One Envoy in one run directory. ``find`` and ``start`` give a pidfd, which the caller owns."""

    def __init__(
        self,
        paths: Paths,
        cgroup: Path,
        node: str,
        limits: Limits,
        enter: Enter = nullcontext,
        launcher: Launcher | None = None,
        on_start: Callable[[Path], None] = lambda cgroup: None,
    ) -> None:
        """``enter``: the calling thread is in Envoy's network namespace meanwhile. ``launcher``: who starts it, in
        its own control group instead of ``cgroup``; each one may be another, so ``on_start`` is told of it before."""
        self._paths, self._cgroup, self._node, self._limits = paths, cgroup, node, limits
        self.enter, self._launcher, self._on_start = enter, launcher, on_start

    @contextlib.contextmanager
    def cgroup(self) -> Iterator[Path]:
        """The folder of the control group that Envoy will be in, valid inside the ``with``. Errors: ProxyError."""
        if self._launcher is None:
            self._cgroup.mkdir(parents=True, exist_ok=True)
            yield self._cgroup
            return
        descriptor = self._launcher.cgroup()
        try:
            yield Path(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)

    def prepare(self) -> None:
        """The run directory, as Envoy's user needs it. Idempotent."""
        self._paths.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chown(self._paths.directory, USER, USER)
        self._paths.directory.chmod(0o700)

    def find(self) -> int | None:
        """A handle on the Envoy that runs; None if there is none."""
        if not is_held(self._lock):
            return None
        try:
            handle = os.pidfd_open(int(self._paths.pid.read_text()))
        except (FileNotFoundError, ValueError, ProcessLookupError):
            return None
        if not is_held(self._lock):
            os.close(handle)
            return None
        return handle

    def pid(self) -> int:
        """0: none, or one that has not said its number yet."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            return int(self._paths.pid.read_text()) if is_held(self._lock) else 0
        return 0

    def start(self) -> int:
        """Errors: ProxyError if one runs already, or it cannot be started."""
        self.prepare()
        lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with self.enter():
            netns = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        log = os.open(self._paths.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._paths.pid.unlink(missing_ok=True)
            self._write_bootstrap()
            self._paths.admin.unlink(missing_ok=True)
            with self.cgroup() as group:
                if self._launcher is None:
                    pid = spawn(self._arguments(), self._environment(str(group)), lock, log, netns)
                else:
                    self._on_start(group)
                    pid = self._launcher.spawn(self._arguments(), self._environment(""), lock, log, netns)
            return os.pidfd_open(pid)
        except BlockingIOError:
            raise ProxyError(f"{self._paths.directory}: an Envoy runs already") from None
        except OSError as error:
            raise ProxyError(f"Envoy cannot be started: {error}") from error
        finally:
            for descriptor in (lock, log, netns):
                os.close(descriptor)

    def kill(self) -> None:
        """Envoy, and whatever else is in a control group of its own, ends at once."""
        with contextlib.suppress(ProcessLookupError):
            if pid := self.pid():
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(FileNotFoundError):
            (self._cgroup / "cgroup.kill").write_text("1")

    @property
    def _lock(self) -> Path:
        return self._paths.directory / "lock"

    @property
    def _files(self) -> int:
        """Descriptors: two and a half for each connection, within what this process may give."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        wanted = self._limits.connections * 5 // 2 + SPARE_FILES
        return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)

    def _write_bootstrap(self) -> None:
        connections = max((self._files - SPARE_FILES) * 2 // 5, 100)
        content = bootstrap(self._node, self._paths, self._limits.heap_bytes, connections)
        self._paths.bootstrap.write_text(json.dumps(content, indent=1))
        os.chown(self._paths.bootstrap, USER, USER)

    def _arguments(self) -> list[str]:
        workers = self._limits.workers or min(len(os.sched_getaffinity(0)), 8)
        return [
            "--config-path", str(self._paths.bootstrap), "--disable-hot-restart", "--concurrency", str(workers),
            "--log-level", "warning", "--drain-time-s", "5", "--drain-strategy", "immediate",
        ]  # fmt: skip

    def _environment(self, cgroup: str) -> dict[str, str]:
        return {
            "WEFT_CGROUP": cgroup,
            "WEFT_PID": str(self._paths.pid),
            "WEFT_FILES": str(self._files),
            "WEFT_DATA_KB": str(self._limits.heap_bytes * 3 // 2 >> 10),
        }


def reap(handle: int) -> None:
    """Takes the process' end note, if it was this process' child and has ended."""
    try:
        os.waitid(os.P_PIDFD, handle, os.WEXITED | os.WNOHANG)
    except ChildProcessError:
        return


def tell(handle: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return
