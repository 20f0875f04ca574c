"""An agent that prepares, starts and removes pods until somebody kills it: ``python -m tests.runtime.victim JSON``."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

from tests.runtime.node import Node, pod
from weft.model.objects import NamespacedName
from weft.runtime.pods import PodRuntime, RuntimePaths


async def churn(runtime: PodRuntime) -> None:
    """Says ``started NAME`` and ``removed NAME`` when a pod is surely in that state."""
    for number in range(1000):
        key = NamespacedName("shop", f"pod-{number}")
        await runtime.prepare(key, pod(["sleep", "infinity"]), f"uid-{number}")
        await runtime.start(key)
        print("started", key.name, flush=True)
        if number % 3 == 2:
            gone = NamespacedName("shop", f"pod-{number - random.randrange(2)}")
            print("removing", gone.name, flush=True)
            await runtime.remove(gone)


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    run_dir, cgroup, shim = (Path(given[name]) for name in ("run_dir", "cgroup", "shim"))
    Node(given["name"], RuntimePaths(run_dir, cgroup, shim, (run_dir,))).run(churn)
