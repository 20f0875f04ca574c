"""A pod that has hundreds of thousands of packets refused: counted to the last one, and nobody else notices."""

from __future__ import annotations

import time

from tests.bpf.packets import UDP, eth, ip4, udp
from tests.hostile.ears import MARK
from tests.hostile.scene import Scene
from tests.lab import until
from tests.lab.waiting import volume
from weft.model.verdicts import Verdict

PACKETS = volume(200_000)
KINDS = 16
"""Different destination ports, so different kinds of records."""


def test_a_flood_of_refusals(scene: Scene) -> None:
    scene.listen()
    before, lost, folded, began = scene.counts(), scene.lost(), scene.waiting_to_be_told(), time.time_ns()
    innocent = scene.friend.hold(scene.v4, 8080, 1)
    frames = [eth(ip4(scene.a4, scene.v4, UDP, udp(40000, 7000 + kind, MARK)), scene.mac) for kind in range(KINDS)]
    for number in range(PACKETS):
        scene.hostile.send(frames[number % KINDS])

    key = (1, Verdict.POLICY_DENIED)
    until(lambda: scene.counts().get(key, 0) - before.get(key, 0) >= PACKETS, "all are counted", 10)
    assert {
        each: count - before.get(each, 0) for each, count in scene.counts().items() if count != before.get(each, 0)
    } == {key: PACKETS}
    assert not scene.at_the_victim()

    def told() -> int:
        records = scene.flows(began, source_pod=["default/attacker"], verdict=["DROPPED"])
        own = [flow["extensions"]["value"].get("folded", 0) for flow in records]
        return len(own) + sum(own) + scene.waiting_to_be_told() - folded + scene.lost() - lost

    until(lambda: told() >= PACKETS, "records, what is folded into them and what was lost make up the flood", 5)
    assert told() == PACKETS
    ending = innocent.stop()
    assert ending.outcome == "held" and ending.rounds > 100, ending
