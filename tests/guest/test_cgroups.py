"""Machines that have cgroup2 alone, mounted as systemd does: containers are confined to their own control group."""

from __future__ import annotations

import sys

from tests import guest

SCRIPT = r"""
mount -o remount,nsdelegate /sys/fs/cgroup
mkdir -p /sys/fs/cgroup/kubepods.slice/pod1.slice/agent.scope /sys/fs/cgroup/weft/envoy
cat > /run/asks.py <<'ASKS'
import os
from pathlib import Path
from weft.datapath.cgroups import confined, kubernetes_root
from weft.proxy.launcher import own_cgroup
print("root", kubernetes_root())
own = confined()
print("own", own)
def moved(to):
    try:
        (to / "cgroup.procs").write_text("0")
    except OSError as error:
        return type(error).__name__
    return "moved"
print("out", moved(Path("/sys/fs/cgroup/weft/envoy")))
print("launcher", os.path.samestat(os.fstat(own_cgroup()), os.stat(own)))
below = own / "envoy"
below.mkdir()
print("below", moved(below))
ASKS
cat > /run/container <<'CONTAINER'
mkdir -p /run/own && mount -t cgroup2 own /run/own
exec INTERPRETER /run/asks.py
CONTAINER
cat > /run/starts <<'STARTS'
echo $$ > /sys/fs/cgroup/kubepods.slice/pod1.slice/agent.scope/cgroup.procs
exec unshare --cgroup --mount sh /run/container
STARTS
PYTHONPATH=$PWD sh /run/starts
"""


def test_a_container_finds_its_way() -> None:
    code, output = guest.run("6.1", SCRIPT.replace("INTERPRETER", sys.executable), 300)
    assert code == 0, output
    assert dict(line.split(" ", 1) for line in output.splitlines()) == {
        "root": "/sys/fs/cgroup",
        "own": "/sys/fs/cgroup/kubepods.slice/pod1.slice/agent.scope",
        "out": "FileNotFoundError",
        "launcher": "True",
        "below": "moved",
    }
