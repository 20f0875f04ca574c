"""``weft agent``, which believes in a large cluster: the real agent, and workloads on another node that do not exist.

Run as ``python -m bench.big_agent <words of weft agent>``. A line ``N APPS`` on standard input makes the cluster N
remote workloads large, replicas of APPS applications with labels (so an identity) of their own; the answer, one line,
is the agent's anonymous memory in bytes once the kernel has them all.
"""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import sys
from dataclasses import replace
from typing import Self

from weft import cli
from weft.agent import main as agent_main
from weft.agent.embedded import EmbeddedAgent
from weft.agent.memory import usage
from weft.model.objects import NamespacedName, Workload

NAMESPACE = "elsewhere"
V4, V6 = ipaddress.IPv4Address("10.200.0.0"), ipaddress.IPv6Address("fd00:200::")


def remote(number: int, apps: int) -> Workload:
    """One of the workloads that do not exist: a replica of one of ``apps`` applications, in one of ten tiers."""
    labels = {"app": f"app-{number % apps}", "tier": f"tier-{number % apps % 10}"}
    key = NamespacedName(NAMESPACE, f"pod-{number}")
    return Workload(key, labels, "default", "another-node", (V4 + number, V6 + number), ready=True)


class BigAgent(EmbeddedAgent):
    async def __aenter__(self) -> Self:
        await super().__aenter__()
        asyncio.get_running_loop().add_reader(0, self._resize)
        return self

    def _resize(self) -> None:
        line = sys.stdin.readline()
        if not line:
            asyncio.get_running_loop().remove_reader(0)
            return
        count, apps = map(int, line.split())
        self._grow(count, apps)
        gc.collect()
        print(usage()["anonymousBytes"], flush=True)

    def _grow(self, count: int, apps: int) -> None:
        """On its own, so that nothing here holds the world of before while memory is measured."""
        world = self.engine.world
        workloads = {key: value for key, value in world.workloads.items() if key.namespace != NAMESPACE}
        workloads |= {workload.key: workload for workload in (remote(number, apps) for number in range(count))}
        self.commit(replace(world, workloads=workloads))


if __name__ == "__main__":
    setattr(agent_main, "EmbeddedAgent", BigAgent)  # noqa: B010  the only difference to `weft agent`
    sys.argv[0] = "weft"
    cli.main()
