"""What ``weft status`` and ``weft get identities`` say."""

from __future__ import annotations

import asyncio
import platform
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import weft
from weft.agent import memory
from weft.datapath.proxied import proxied
from weft.datapath.stats import counters, map_usage
from weft.model.desired import TABLE_OPEN
from weft.model.verdicts import VERDICTS, Verdict

if TYPE_CHECKING:
    from weft.agent.agent import Agent

PROBLEMS, PROBLEM_LENGTH = 5, 300
"""So many of them, and so much of each, does a node tell the others."""


async def report(agent: Agent) -> dict[str, Any]:
    """The answer of ``GET /v1/status``; ``problems`` is empty when all is well."""
    usage = await asyncio.to_thread(map_usage, agent.datapath)
    world, desired = agent.engine.world, agent.engine.compiled.desired
    flows = agent.flows.statistics()
    endpoints = {entry.id: entry for entry in desired.endpoints.values()}
    return {
        "node": {
            "name": agent.config.name,
            "cluster": agent.config.cluster,
            "version": weft.__version__,
            "kernel": platform.release(),
            "attach": "tcx" if agent.datapath.tcx else "clsact",
            "podCIDRs": [str(cidr) for cidr in agent.config.pod_cidrs],
            "uptimeSeconds": (datetime.now(UTC) - agent.started).total_seconds(),
        },
        **agent.describe(),
        "services": {
            "ports": len(desired.services),
            "backends": sum(len(listed) for listed in desired.backends.values()),
        },
        "policy": {
            "revision": agent.datapath.revision,
            "policies": len(world.policies),
            "rules": len(agent.engine.compiled.rules),
            "tables": len(desired.tables),
            "classes": len(agent.engine.compiled.classes),
            "isolated": sum(
                (one.ingress_table, one.egress_table) != (TABLE_OPEN, TABLE_OPEN) for one in endpoints.values()
            ),
        },
        "flows": {
            "seen": flows["seen_flows"],
            "kept": flows["num_flows"],
            "lost": flows["kernel_lost"],
            "open": usage["flows"].entries,
        },
        "envoy": _envoy(agent),
        "drops": dict(_drops(agent)),
        "memory": memory.usage(),
        "maps": [{"name": name, "entries": one.entries, "max": one.max_entries} for name, one in usage.items()],
        "problems": agent.all_problems(),
    }


def summary(agent: Agent) -> dict[str, Any]:
    """A few of the report's words, for `weft status --all`; often asked for, so it walks no map."""
    pods = agent.describe()["pods"]
    return {
        "version": weft.__version__,
        "kernel": platform.release(),
        "revision": agent.datapath.revision,
        "policies": len(agent.engine.world.policies),
        "pods": pods["total"],
        "ready": pods["ready"],
        "drops": _drops(agent).total(),
        "memoryBytes": memory.usage()["anonymousBytes"],
        "problems": [problem[:PROBLEM_LENGTH] for problem in agent.all_problems()[:PROBLEMS]],
    }


def _drops(agent: Agent) -> Counter[str]:
    """Name of the verdict → packets."""
    drops: Counter[str] = Counter()
    for (_, code), amount in counters(agent.datapath).items():
        if code != Verdict.FORWARDED:
            drops[VERDICTS[code].name] += amount.packets
    return drops


def _envoy(agent: Agent) -> dict[str, Any]:
    """``pid`` 0: none runs. ``sent``: connections that the kernel sent there since the node began, by phase."""
    now = agent.layer7.status()
    return {
        "pid": now.pid,
        "memoryBytes": now.memory_bytes,
        "listeners": now.listeners,
        "connections": now.connections,
        "restarts": now.restarts,
        "sent": {phase: count.connections for phase, count in proxied(agent.datapath).items()},
    }


def identities(agent: Agent) -> list[tuple[int, Sequence[str], int]]:
    """(number, labels, addresses that have it) of every identity in use."""
    desired = agent.engine.compiled.desired
    used = Counter(entry.identity for entry in desired.endpoints.values())
    used.update(entry.identity for entry in desired.ipcache.values())
    return [(i.id, i.labels.spelled(), used[i.id]) for i in agent.engine.compiled.identities.values() if used[i.id]]
