"""A flood of events: folded, what is lost counted, forwarding and the agent as ever."""

from __future__ import annotations

import subprocess

from tests.faults.scene import PORT, scene
from tests.lab import Lab, until
from tests.lab.tools import tool
from tests.lab.waiting import SLOWNESS


def test_a_flood_of_drops_changes_nothing_for_others(lab: Lab) -> None:
    pods = scene(lab)
    held = pods.friend.hold(pods.server.v4, PORT, 5)
    before = sum(lab.status()["drops"].values())
    floods = [
        subprocess.Popen(
            pods.stranger.argv(tool("flood"), "-r", str(int(2 * SLOWNESS)), "-p", str(PORT), address),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )
        for address in (pods.server.v4, pods.server.v6)
    ]  # fmt: skip
    for _ in range(10):
        assert pods.friend.probe("tcp", pods.server.v4, PORT, int(3000 * SLOWNESS)).outcome == "open"
        lab.status()
    results = [list(map(int, flood.communicate(timeout=30 * SLOWNESS)[0].split())) for flood in floods]
    sent = sum(result[0] for result in results)
    assert sent > 1000 and all(result[1:] == [0, 0] for result in results)
    until(lambda: sum(lab.status()["drops"].values()) - before >= sent, "every packet of the flood is counted")
    assert held.stop().outcome == "held"
    records = lab.observe(verdict=["DROPPED"], source_pod=["default/stranger"])
    assert 0 < len(records) < sent / 10
