"""Networks that the agent makes ahead of the pods: nobody's, shut, and gone with the agent, however that ends."""

from __future__ import annotations

import json
import signal
import subprocess

from tests.lab import Lab, until
from tests.lab.netns import inside
from weft.datapath.node import is_pod_device, is_spare_device


def _devices(lab: Lab) -> dict[str, bool]:
    """Name of every pod's and every spare's device, and whether it is up."""
    argv = inside(lab.namespaces.node, "ip", "-j", "link")
    links = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    return {
        link["ifname"]: "UP" in link["flags"]
        for link in links
        if is_spare_device(link["ifname"]) or is_pod_device(link["ifname"])
    }


def _spares(lab: Lab) -> list[bool]:
    return [up for name, up in _devices(lab).items() if is_spare_device(name)]


def test_an_agent_leaves_none_behind(own_lab: Lab) -> None:
    lab = own_lab
    for number, how in enumerate((signal.SIGTERM, signal.SIGKILL, signal.SIGTERM)):
        until(lambda: _spares(lab) == [False] * 3, "three are ready, none of them up")
        lab.run(f"pod-{number}")
        until(lambda: _spares(lab) == [False] * 3, "the one that was taken is made again")
        pods = {name: up for name, up in _devices(lab).items() if is_pod_device(name)}
        assert len(pods) == number + 2  # and the DNS pod
        assert all(pods.values())
        lab.stop_agent(how)
        until(lambda: not _spares(lab), f"they go with an agent that ended by {how.name}")
        assert {name: up for name, up in _devices(lab).items() if is_pod_device(name)} == pods
        lab.start_agent()
    lab.empty()
    until(lambda: sum(is_pod_device(name) for name in _devices(lab)) == 1, "only the DNS pod is left")
