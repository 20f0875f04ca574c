"""The agent is killed at each point of an ADD: the caller is told to try again, and nothing is left in the end."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.cni.scene import Runtime, agent, remains
from tests.cni.victim import POINTS
from tests.runtime.node import until
from weft.model.objects import NamespacedName

ANSWERED = ("up", "answer")
"""The pod's door was open: the next agent cannot know that nobody heard the answer."""


@contextmanager
def victim(containers: Runtime, point: str) -> Iterator[subprocess.Popen[str]]:
    paths = containers.node.paths
    given = {"point": point, "name": paths.name}
    given |= {one: str(getattr(paths, one)) for one in ("run_dir", "state_dir", "pin_dir", "cgroup")}
    command = [sys.executable, "-m", "tests.cni.victim", json.dumps(given)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


CASES = [(point, how) for point in POINTS for how in ("added again", "deleted meanwhile")]
CASES += [(point, how) for point in ("device", "up") for how in ("deleted", "collected")]


@pytest.mark.parametrize(("point", "how"), CASES)
def test_killed_in_the_middle_of_an_add(containers: Runtime, point: str, how: str) -> None:
    async def scene() -> None:
        with victim(containers, point) as process:
            assert (await containers.add(containers.start("c1"))).code == 11
            assert process.wait(30) == -9
        if how == "deleted meanwhile":
            assert (await containers.delete("c1")).text == ""
        async with agent(containers) as here:
            left = {key.name for key in here.pods.local}
            if how == "deleted meanwhile":
                await until(lambda: not here.pods.local, "what was deleted is gone", 60)
            else:
                assert left == ({"c1"} if point in ANSWERED else set())
            assert (await containers.add(containers.start("c2"))).status == 0
            if how == "added again":
                assert (await containers.add("c1")).status == 0
                assert (await containers.call("CHECK", "c1")).text == ""
                assert NamespacedName("default", "c1") in here.pods.local
            if how == "collected":
                valid = [{"containerID": "c2", "ifname": "eth0"}]
                assert (await containers.call("GC", **{"cni.dev/valid-attachments": valid})).text == ""
                assert [key.name for key in here.pods.local] == ["c2"]
            else:
                assert (await containers.delete("c1")).text == ""
            assert (await containers.delete("c2")).text == ""
            assert remains(containers.node) == []
            assert {here.pool.allocate(number) for number in range(252)}  # all but network, broadcast, router's

    asyncio.run(scene())


def test_killed_in_the_middle_of_many(containers: Runtime) -> None:
    async def scene() -> None:
        with victim(containers, "never") as process:
            calls = [asyncio.create_task(containers.add(containers.start(f"c{number}"))) for number in range(20)]
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            process.kill()
            answers = {f"c{number}": await call for number, call in enumerate(calls)}
        connected = {name for name, answer in answers.items() if answer.status == 0}
        assert {answer.code for answer in answers.values()} <= {0, 11}
        async with agent(containers) as here:
            assert connected <= {key.name for key in here.pods.local}
            for name in connected:
                assert (await containers.call("CHECK", name, prevResult=answers[name].json)).text == ""
            again = await asyncio.gather(*(containers.add(name) for name in containers.pods))
            assert len({answer.addresses[0] for answer in again}) == 20
            assert all(again[int(name[1:])].text == answers[name].text for name in connected)
            await asyncio.gather(*(containers.delete(name) for name in containers.pods))
            assert remains(containers.node) == []

    asyncio.run(scene())
