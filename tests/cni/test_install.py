"""The plugin's files where container runtimes look, whole at every moment, and away again."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path

from tests.cni.scene import PROGRAM
from tests.lab.waiting import SLOWNESS
from weft.cni.install import install, uninstall


def test_installed_and_away_again(tmp_path: Path) -> None:
    bin_dir, conf_dir, socket = tmp_path / "opt" / "bin", tmp_path / "etc" / "net.d", Path("/run/weft/one/cni.sock")
    for _ in range(2):
        install(PROGRAM, bin_dir, conf_dir, socket)
        assert sorted(path.name for path in bin_dir.iterdir()) == ["loopback", "weft-cni"]
        assert [path.name for path in conf_dir.iterdir()] == ["05-weft.conflist"]
    assert stat.S_IMODE((bin_dir / "weft-cni").stat().st_mode) == 0o755
    assert stat.S_IMODE((conf_dir / "05-weft.conflist").stat().st_mode) == 0o600
    conflist = json.loads((conf_dir / "05-weft.conflist").read_text())
    (plugin,) = conflist["plugins"]
    assert plugin == {"type": "weft-cni", "socket": str(socket)}
    said = subprocess.run(
        [bin_dir / plugin["type"]],
        input=b'{"cniVersion": "1.1.0"}',
        env={"CNI_COMMAND": "VERSION"},
        capture_output=True,
        check=True,
    )
    assert set(conflist["cniVersions"]) == set(json.loads(said.stdout)["supportedVersions"])
    assert conflist["cniVersion"] == "1.0.0"
    uninstall(bin_dir, conf_dir)
    uninstall(bin_dir, conf_dir)
    assert list(bin_dir.iterdir()) == list(conf_dir.iterdir()) == []


def test_others_configurations_are_left_alone(tmp_path: Path) -> None:
    others = [tmp_path / "10-other.conflist", tmp_path / "loopback"]
    for other in others:
        other.write_text("another's")
    install(PROGRAM, tmp_path, tmp_path, Path("/run/weft/cni.sock"))
    uninstall(tmp_path, tmp_path)
    assert sorted(tmp_path.iterdir()) == others
    assert {other.read_text() for other in others} == {"another's"}


def test_a_running_program_can_be_replaced(tmp_path: Path) -> None:
    """Rolling upgrades do: the runtime may be executing it at that moment."""
    install(PROGRAM, tmp_path, tmp_path, Path("/x"))
    running = subprocess.Popen(
        [tmp_path / "weft-cni"], env={"CNI_COMMAND": "VERSION"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        install(PROGRAM, tmp_path, tmp_path, Path("/y"))
        out, _ = running.communicate(b"{}", timeout=60 * SLOWNESS)
        assert json.loads(out)["cniVersion"] == "1.1.0"
    finally:
        running.kill()
        running.wait()
