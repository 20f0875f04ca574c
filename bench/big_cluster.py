"""A large cluster, told by a real API server: how long an agent takes to know it, and what it costs in memory.

Nodes and pods are objects only, nothing runs. Run as ``python -m bench.big_cluster KUBECONFIG`` it is the one that
learns: a source and the plan of what it says; the answer, one line of JSON, has its figures.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import ssl
import subprocess
import sys
import time
from base64 import b64decode
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx2

from bench.limits import REMOTE_ENDPOINT_BYTES, Row
from cluster import Cluster
from weft.agent import memory
from weft.model.objects import NodeConfig
from weft.model.world import World
from weft.plan import Compiler
from weft.runtime import heap
from weft.sources.kubernetes.api import Api
from weft.sources.kubernetes.source import KubernetesSource
from weft.sources.world import Edit, edited

ARM = "kubernetes"
NODES, FEW, MANY, PER_APP = 500, 100, 5000, 50
AT_ONCE = 16
NAMESPACE = "default"
Json = dict[str, Any]


def measure(quick: bool, say: Callable[[str], None]) -> list[Row]:
    nodes, few, many = (10, 20, 200) if quick else (NODES, FEW, MANY)
    found: dict[int, Json] = {}
    with Cluster(f"b{os.getpid()}", nodes=0) as cluster:
        for before, count in ((0, few), (few, many)):
            asyncio.run(_populate(cluster, nodes, range(before, count)))
            say(f"big cluster: {count:,} pods on {nodes:,} nodes are written")
            tries = [_learn(cluster) for _ in range(3)]
            found[count] = {name: sorted(one[name] for one in tries)[1] for name in tries[0]}
    each = (found[many]["bytes"] - found[few]["bytes"]) / (many - few)
    rows = []
    for count in (few, many):
        where = f"{count:,} pods on {nodes:,} Nodes"
        rows.append(Row(ARM, f"time to know {where}", 1000 * found[count]["sync"], "ms"))
        rows.append(Row(ARM, f"its own CPU time for that, {where}", 1000 * found[count]["cpu"], "ms"))
        rows.append(Row(ARM, f"the first plan, {where}", 1000 * found[count]["plan"], "ms"))
    note = "source, world and plan"
    rows.append(Row(ARM, "memory of each further remote pod", each, "B", REMOTE_ENDPOINT_BYTES, note=note))
    return rows


def _learn(cluster: Cluster) -> Json:
    argv = [sys.executable, "-m", "bench.big_cluster", str(cluster.kubeconfig)]
    answer: Json = json.loads(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)
    return answer


async def _populate(cluster: Cluster, nodes: int, pods: Sequence[int]) -> None:
    """Nodes that are there already stay."""
    config = json.loads(cluster.kubeconfig.read_text())
    server, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    trust = ssl.create_default_context(cadata=b64decode(server["certificate-authority-data"]).decode())
    headers = {"Authorization": f"Bearer {user['token']}"}
    limits = httpx2.Limits(max_connections=AT_ONCE)
    async with httpx2.AsyncClient(
        base_url=server["server"], headers=headers, verify=trust, timeout=120, limits=limits
    ) as http:
        free = asyncio.Semaphore(AT_ONCE)

        async def write(folder: str, body: Json, status: Json) -> None:
            async with free:
                await http.post(folder, json=body)
                path = f"{folder}/{body['metadata']['name']}/status"
                patch = {"Content-Type": "application/merge-patch+json"}
                answer = await http.patch(path, content=json.dumps({"status": status}), headers=patch)
                answer.raise_for_status()

        async with asyncio.TaskGroup() as group:
            for number in range(nodes):
                group.create_task(write("/api/v1/nodes", *_node(number)))
        async with asyncio.TaskGroup() as group:
            for number in pods:
                group.create_task(write(f"/api/v1/namespaces/{NAMESPACE}/pods", *_pod(number, nodes)))


def _node(number: int) -> tuple[Json, Json]:
    address = f"172.31.{number // 250}.{number % 250 + 1}"
    return {"metadata": {"name": f"node-{number}"}}, {"addresses": [{"type": "InternalIP", "address": address}]}


def _pod(number: int, nodes: int) -> tuple[Json, Json]:
    app, node, place = number // PER_APP, number % nodes, number // nodes
    name, address = f"app{app}-{number:05d}", f"10.{100 + node // 250}.{node % 250}.{place + 2}"
    container = {
        "name": "main",
        "image": "registry.example.org/team/app:1.2.3",
        "ports": [{"name": "http", "containerPort": 8080}],
        "env": [{"name": f"VARIABLE_{at}", "value": "some value"} for at in range(10)],
    }
    labels = {"app": f"app{app}", "tier": f"tier-{app % 10}", "version": "v1"}
    body = {
        "metadata": {"name": name, "labels": labels},
        "spec": {"nodeName": f"node-{node}", "containers": [container]},
    }
    conditions = [{"type": kind, "status": "True"} for kind in ("PodScheduled", "ContainersReady", "Ready")]
    return body, {"phase": "Running", "podIPs": [{"ip": address}], "podIP": address, "conditions": conditions}


async def learn(kubeconfig: Path) -> Json:
    world = World(NodeConfig("here"))

    def on_edits(edits: Sequence[Edit]) -> None:
        nonlocal world
        world = edited(world, edits)

    api = Api.from_kubeconfig(kubeconfig)
    source = KubernetesSource(api, "here", "default", lambda key: None, on_edits)
    started, cpu = time.perf_counter(), time.process_time()
    await source.sync()
    synced, spent = time.perf_counter(), time.process_time() - cpu
    compiled = Compiler().compile(world)
    planned = time.perf_counter()
    gc.collect()
    heap.trim()  # as the agent does
    used = memory.usage()["anonymousBytes"]
    assert compiled.desired.ipcache is not None
    await api.close()
    return {"sync": synced - started, "cpu": spent, "plan": planned - synced, "bytes": used}


if __name__ == "__main__":
    heap.give_back()
    print(json.dumps(asyncio.run(learn(Path(sys.argv[1])))))
