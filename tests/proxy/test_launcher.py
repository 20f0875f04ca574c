"""Who starts Envoy in a pod of its own: asked over a socket, for a process that is nobody's child here."""

from __future__ import annotations

import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.waiting import until
from weft.datapath import netns
from weft.proxy import launcher
from weft.proxy.launcher import Launcher
from weft.proxy.spawn import ProxyError


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """The socket of a launcher that runs in the background and looks for its socket without delay."""
    path = tmp_path / "node" / "launcher.sock"
    script = (
        "import sys; from pathlib import Path; from weft.proxy import launcher as l; l.LOOK_SECONDS = 0.05; "
        "l.serve(Path(sys.argv[1]))"
    )
    with subprocess.Popen([sys.executable, "-c", script, path]) as serving:
        until(path.exists, "it listens")
        yield path
        serving.kill()


def test_only_root_may_ask(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_it_starts_envoy_with_the_agents_lock(path: Path, tmp_path: Path) -> None:
    asking, log, lock = Launcher(path), tmp_path / "log", tmp_path / "lock"
    with log.open("w") as said, lock.open("w") as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        limits = {"WEFT_CGROUP": "", "WEFT_FILES": "256", "WEFT_DATA_KB": "1000000"}
        environment = {"WEFT_PID": str(tmp_path / "pid"), **limits}
        assert asking.netns() is None
        made = netns.make()
        pid = asking.spawn(["--version"], environment, locked.fileno(), said.fileno(), made)
    assert pid > 0 and pid != os.getpid()
    kept = asking.netns()
    assert kept is not None and os.path.sameopenfile(kept, made), "it keeps Envoy's network namespace"
    os.close(kept)
    os.close(made)
    until(lambda: "version" in log.read_text(), "Envoy has said its version")
    assert int((tmp_path / "pid").read_text()) == pid
    with lock.open() as locked:
        until(lambda: _locks(locked.fileno()), "its end lets go of the lock")


def _locks(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_the_control_group_is_the_launchers(path: Path) -> None:
    group = Launcher(path).cgroup()
    try:
        with open(os.open("cgroup.procs", os.O_RDONLY, dir_fd=group)) as members:  # noqa: PTH123
            assert str(os.getpid()) in members.read().split()  # the test started it, so it is in the test's own
    finally:
        os.close(group)


def test_what_it_cannot_do_is_told(path: Path, tmp_path: Path) -> None:
    with (tmp_path / "x").open("w") as file, pytest.raises(ProxyError, match="null byte"):
        Launcher(path).spawn(["--version"], {"WEFT\0PID": ""}, *[file.fileno()] * 3)
    os.close(Launcher(path).cgroup())  # and it goes on


def test_its_socket_comes_back(path: Path) -> None:
    path.unlink()
    path.parent.rmdir()
    os.close(Launcher(path).cgroup())


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "PATIENCE", 0.05)
    with pytest.raises(ProxyError, match=r"launcher\.sock: No such file or directory; does this node's pod .* run"):
        Launcher(tmp_path / "launcher.sock").cgroup()
