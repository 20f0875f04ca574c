"""An agent that is still waiting for its API server ends when it is told to, also as a container's first process."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.lab.waiting import until
from weft.datapath.node import mounts

SCRIPT = """
mount -t tmpfs run /run && mount -t tmpfs state /var/lib
exec "$@"
"""


def child_of(pid: int) -> int:
    """The only one."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                return int(stat.parent.name)
    raise AssertionError(f"process {pid} has no child")


def test_sigterm_before_it_serves(tmp_path: Path) -> None:
    name, log, config = f"leaves{os.getpid()}", tmp_path / "log", tmp_path / "kubeconfig"
    config.write_text(
        json.dumps(
            {
                "clusters": [{"name": "away", "cluster": {"server": "https://127.0.0.1:1"}}],
                "users": [{"name": "me", "user": {"token": "none"}}],
                "contexts": [{"name": "c", "context": {"cluster": "away", "user": "me"}}],
                "current-context": "c",
            }
        )
    )
    group = mounts("cgroup2")[0] / name
    words = ["--node-name", name, "--kubernetes", "--kubeconfig", str(config), "--cgroup-root", str(group)]
    agent = [sys.executable, "-m", "weft.cli", "agent", *words]
    alone = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", SCRIPT, "sh"]
    group.mkdir()
    with log.open("w") as said:
        running = subprocess.Popen([*alone, *agent], stdout=said, stderr=said)
    try:
        until(lambda: "waiting: " in log.read_text() or running.poll() is not None, "it waits", 60)
        assert running.poll() is None, log.read_text()
        os.kill(child_of(running.pid), signal.SIGTERM)
        assert running.wait(30) == 0, log.read_text()
    finally:
        running.kill()
        running.wait()
        group.rmdir()
