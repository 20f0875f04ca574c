"""The source of truth is gone: the node is frozen at the last good state, and says so."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.scene import POLICY, PORT, Scene, scene
from tests.lab import Lab
from weft.api.client import AgentError

EDITED = POLICY.replace("app: friend", "app: stranger")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "disk", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def assert_unchanged(pods: Scene) -> None:
    assert pods.stranger.probe("tcp", pods.server.v4, PORT).outcome == "timeout"
    assert pods.friend.probe("tcp", pods.server.v4, PORT).outcome == "open"
    assert pods.friend.probe("tcp", pods.service, 80).outcome == "open"


def test_a_full_disk(disk: Path) -> None:
    """An edit is refused, with the cause; what was in force stays, also over a death; with room again all goes on."""
    with Lab(agent_options=("--state-dir", str(disk / "state"))) as lab:
        pods = scene(lab)
        held = pods.friend.hold(pods.server.v4, PORT, 5)
        subprocess.run(["dd", "if=/dev/zero", f"of={disk}/ballast", "bs=4k"], capture_output=True, check=False)
        with pytest.raises(AgentError, match="disk"):
            lab.apply(EDITED)
        assert_unchanged(pods)
        lab.kill_agent()
        assert_unchanged(pods)
        (disk / "ballast").unlink()
        lab.start_agent()
        assert_unchanged(pods)
        assert held.stop().outcome == "held"
        lab.apply(EDITED)
        assert pods.stranger.probe("tcp", pods.server.v4, PORT).outcome == "open"


def test_a_disk_that_lost_everything(disk: Path) -> None:
    """An agent that finds no state beside pods and policies in force must not take that for an empty cluster."""
    with Lab(agent_options=("--state-dir", str(disk / "state"))) as lab:
        pods = scene(lab)
        held = pods.friend.hold(pods.server.v4, PORT, 5)
        lab.kill_agent()
        (disk / "state").rename(disk / "kept")
        with pytest.raises(RuntimeError, match="the agent ended with 1"):
            lab.start_agent()
        assert "state" in lab.log.read_text().splitlines()[-1]
        assert_unchanged(pods)
        shutil.rmtree(disk / "state", ignore_errors=True)
        (disk / "kept").rename(disk / "state")
        lab.start_agent()
        assert_unchanged(pods)
        assert held.stop().outcome == "held"
