"""The agent is killed with -9, again and again, at every stage of its start, under traffic."""

from __future__ import annotations

import json
import subprocess

from tests.faults.scene import POLICY, PORT, scene
from tests.lab import Lab, Question
from tests.lab.tools import tool
from tests.lab.waiting import SLOWNESS

KILLS = 8
STEP_MS = int(100 * SLOWNESS)
"""A denied probe's patience; also the tick by which each kill comes later in the agent's start than the last."""


def test_nothing_changes_for_traffic_while_the_agent_dies(own_lab: Lab) -> None:
    lab = own_lab
    pods = scene(lab)
    busy = pods.friend.hold(pods.server.v4, PORT, interval_ms=5)
    busy6 = pods.friend.hold(pods.server.v6, PORT, interval_ms=5)
    by_service = pods.friend.hold(pods.service, 80, interval_ms=5)
    idle = pods.friend.hold(pods.server.v4, PORT)
    flood = subprocess.Popen(
        pods.stranger.argv(tool("flood"), "-p", str(PORT), pods.server.v4, pods.server.v6),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    friends = [
        Question("tcp", pods.server.v4, PORT),
        Question("udp", pods.server.v6, PORT),
        Question("tcp", pods.service, 80),
    ]
    strangers = [
        Question("tcp", pods.server.v4, PORT),
        Question("tcp", pods.server.v6, PORT),
        Question("tcp", pods.service, 80),
    ]
    for kill in range(KILLS):
        lab.kill_agent()
        lab.launch_agent()
        for _ in range(kill):
            pods.friend.prober().begin(friends, 20 * STEP_MS)
            denied = pods.stranger.prober().ask(strangers, STEP_MS)
            allowed = pods.friend.prober().finish()
            assert {answer.outcome for answer in denied} == {"timeout"}, (kill, denied)
            assert {answer.outcome for answer in allowed} == {"open"}, (kill, allowed)
    lab.kill_agent()
    lab.start_agent()
    for held in (busy, busy6, by_service):
        ending = held.stop()
        assert ending.outcome == "held" and ending.rounds > 10, ending
    assert idle.stop().outcome == "held"
    output, _ = flood.communicate("\n", timeout=30 * SLOWNESS)
    sent, answered, connected = map(int, output.split())
    assert sent > 1000 and (answered, connected) == (0, 0)
    assert lab.status()["problems"] == []
    assert {item["metadata"]["name"] for item in lab.get("pods", namespace="default")["items"]} == {
        "server", "friend", "stranger",
    }  # fmt: skip


def test_a_policy_is_in_force_whether_or_not_the_agent_lived_to_say_so(own_lab: Lab) -> None:
    """Killed in the middle of an apply: the old policy or the new one holds, never anything wider."""
    lab = own_lab
    pods = scene(lab)
    other = POLICY.replace("app: friend", "app: other")
    for text, denied in ((other, pods.stranger), (POLICY, pods.stranger)) * 3:
        with subprocess.Popen(
            ["curl", "-sS", "--unix-socket", str(lab.client.path), "-H", "content-type: application/json", "-d", "@-",
             "http://weft/v1/apply"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        ) as applying:  # fmt: skip
            assert applying.stdin is not None
            applying.stdin.write(json.dumps({"sources": [{"file": "p.yaml", "text": text}]}))
            applying.stdin.close()
            lab.kill_agent()
        assert denied.probe("tcp", pods.server.v4, PORT, STEP_MS).outcome == "timeout"
        lab.start_agent()
        assert denied.probe("tcp", pods.server.v4, PORT, STEP_MS).outcome == "timeout"
    lab.apply(POLICY)
    assert pods.friend.probe("tcp", pods.server.v4, PORT).outcome == "open"
