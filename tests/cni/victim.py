"""An agent that kills itself at a given point of the next ADD: ``python -m tests.cni.victim JSON``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from tests.cni.scene import Agent, Runtime, agent
from tests.datapath.conftest import OPTIONS, Node
from weft.cni.records import Records
from weft.datapath.kernel import Datapath
from weft.datapath.node import NodePaths
from weft.datapath.pod import PodDevices

POINTS = ("known", "no record", "record", "device", "program", "plugged", "committed", "up", "answer")


def die(*_: Any, **__: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def dies_after(owner: Any, name: str) -> None:
    done = getattr(owner, name)

    async def asynchronous(*words: Any) -> None:
        await done(*words)
        die()

    def synchronous(*words: Any) -> None:
        done(*words)
        die()

    setattr(owner, name, asynchronous if asyncio.iscoroutinefunction(done) else synchronous)


def arm(here: Agent, point: str) -> None:
    match point:
        case "known":
            here.pods._known = die
        case "no record":
            Records.write = die  # type: ignore[method-assign]
        case "record":
            dies_after(here.pods._records, "write")
        case "device":
            here.node.datapath.attach_pod = die  # type: ignore[method-assign]
        case "program":
            dies_after(here.node.datapath, "attach_pod")
        case "plugged":
            dies_after(here.devices, "plug")
        case "committed":
            dies_after(here, "commit")
            here.pods._commit = here.commit
        case "up":
            dies_after(here.devices, "up")
        case "answer":
            here.pods._result = die  # type: ignore[method-assign]


async def live(node: Node, point: str) -> None:
    async with agent(Runtime(node, Path("/nowhere"))) as here:
        arm(here, point)
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    paths = NodePaths(given["name"], *(Path(given[one]) for one in ("run_dir", "state_dir", "pin_dir", "cgroup")))
    with Datapath.open(paths, OPTIONS) as datapath:
        made = Node(paths, datapath, PodDevices(datapath, 1500))
        made.kernel = datapath.read()
        asyncio.run(live(made, given["point"]))
