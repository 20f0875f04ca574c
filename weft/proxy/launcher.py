"""``python -m weft.proxy.launcher NODE``: starts Envoy when the node's agent asks, in a pod of its own.

So Envoy, and the connections through it, outlive the agent's pod. The agent asks over a unix socket that only root can
open: ``cgroup``, for a descriptor of this container's control group, which is Envoy's; JSON with ``arguments`` and
``environment`` of ``weft.proxy.spawn`` and three descriptors: lock, log and network namespace; or ``netns``,
for that namespace, whose mount went with an earlier agent's container. Both pods see the machine's process numbers.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from weft.proxy.spawn import ProxyError, spawn

RUN_DIR = Path("/run/weft")
CGROUP, NETNS = b"cgroup", b"netns"
ROOM = 1 << 16
PATIENCE, POLL, LOOK_SECONDS = 8.0, 0.05, 5.0


def socket_path(run_dir: Path) -> Path:
    """``run_dir``: the node's, /run/weft/NODE."""
    return run_dir / "launcher.sock"


class Launcher:
    """The agent's side. Every call raises ProxyError."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def cgroup(self) -> int:
        """A descriptor of Envoy's control group; the caller closes it."""
        _, descriptors = self._ask(CGROUP, ())
        return descriptors[0]

    def netns(self) -> int | None:
        """A descriptor of the last Envoy's network namespace, which the caller closes; None: it has started none."""
        _, descriptors = self._ask(NETNS, ())
        return descriptors[0] if descriptors else None

    def spawn(self, arguments: Sequence[str], environment: Mapping[str, str], lock: int, log: int, netns: int) -> int:
        """As ``weft.proxy.spawn.spawn``."""
        wanted = json.dumps({"arguments": arguments, "environment": environment}).encode()
        answer, _ = self._ask(wanted, (lock, log, netns))
        return answer["pid"]

    def _ask(self, message: bytes, descriptors: Sequence[int]) -> tuple[dict[str, int], list[int]]:
        with closing(self._connect()) as asking:
            socket.send_fds(asking, [message], descriptors)
            raw, got, _, _ = socket.recv_fds(asking, ROOM, 1)
        answer = json.loads(raw or b'{"error": "it ended while it was asked"}')
        if "error" in answer:
            raise ProxyError(f"the launcher of Envoy at {self._path}: {answer['error']}")
        return answer, got

    def _connect(self) -> socket.socket:
        """Its pod may be starting, as the agent's is."""
        deadline = time.monotonic() + PATIENCE
        while True:
            asking = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            asking.settimeout(PATIENCE)
            try:
                asking.connect(str(self._path))
                return asking
            except OSError as error:
                asking.close()
                if time.monotonic() > deadline:
                    raise ProxyError(
                        f"{self._path}: {error.strerror}; does this node's pod of the DaemonSet weft-envoy run?"
                    ) from error
                time.sleep(POLL)


def own_cgroup() -> int:
    """A descriptor of this process' folder in the cgroup2 hierarchy. Errors: ProxyError."""
    own = next((line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")), "")
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    for _, where, kind, *_ in mounts:
        if kind == "cgroup2" and str(os.getpid()) in _members(folder := Path(where) / own.lstrip("/")):
            return os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    raise ProxyError(f"no mount of cgroup2 shows {own}; mount the node's /sys/fs/cgroup (hostPath)")


def _members(folder: Path) -> list[str]:
    try:
        return (folder / "cgroup.procs").read_text().split()
    except OSError:
        return []


def serve(path: Path) -> None:
    """For ever: one request at a time."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody here waits for Envoy
    kept: list[int] = []
    while True:
        with _listener(path) as listener:
            while path.exists():  # an agent that ends for good takes its node's folder away, and another one may come
                with contextlib.suppress(TimeoutError):
                    asking, _ = listener.accept()
                    with asking:
                        _answer(asking, kept)


def _listener(path: Path) -> socket.socket:
    """In its place with all its rights at once, whoever had it before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    os.fchmod(listener.fileno(), 0o600)  # becomes that of the file (unix(7))
    listener.bind(str(fresh))
    listener.listen()
    listener.settimeout(LOOK_SECONDS)
    fresh.rename(path)
    return listener


def _answer(asking: socket.socket, kept: list[int]) -> None:
    """``kept``: the descriptor of Envoy's network namespace, once there is one."""
    asking.settimeout(PATIENCE)
    message, descriptors, _, _ = socket.recv_fds(asking, ROOM, 3)
    try:
        if message == CGROUP:
            descriptors.append(own_cgroup())
            socket.send_fds(asking, [b"{}"], descriptors[-1:])
            return
        if message == NETNS:
            socket.send_fds(asking, [b"{}"], kept)
            return
        wanted = json.loads(message)
        pid = spawn(wanted["arguments"], wanted["environment"], *descriptors)
        descriptors += kept
        kept[:] = [os.dup(descriptors[2])]
        asking.send(json.dumps({"pid": pid}).encode())
    except (ProxyError, OSError, ValueError, KeyError, TypeError) as error:
        asking.send(json.dumps({"error": str(error)}).encode())
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    serve(socket_path(RUN_DIR / sys.argv[1]))
