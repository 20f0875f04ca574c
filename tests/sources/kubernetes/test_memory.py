"""What a pod of another node costs, in the source and in the world: DESIGN's limit is 1 KiB."""

from __future__ import annotations

import gc
import json
import tracemalloc
from dataclasses import replace
from typing import Any

import msgspec

from weft.model.objects import NodeConfig
from weft.model.world import World
from weft.sources.kubernetes import resources, shapes, values
from weft.sources.kubernetes.complaints import Complaints
from weft.sources.kubernetes.tables import PlainTable, PodTable, Table
from weft.sources.world import Edit, edited

FEW, MANY, PER_APP = 2000, 6000, 100
"""Both far from where a dict of that size grows."""


def address(number: int) -> str:
    return f"10.{100 + number // 40000}.{number // 200 % 200}.{number % 200 + 2}"


def pod(number: int) -> dict[str, Any]:
    app = number // PER_APP
    owner = {"kind": "ReplicaSet", "name": f"app{app}-5d4f8c7b9", "uid": "x", "apiVersion": "apps/v1"}
    return {
        "metadata": {
            "name": f"app{app}-5d4f8c7b9-{number:05d}",
            "namespace": "shop",
            "uid": f"7f3c1c52-0000-4000-8000-{number:012d}",
            "resourceVersion": str(number),
            "labels": {"app": f"app{app}", "pod-template-hash": "5d4f8c7b9", "version": "v1"},
            "ownerReferences": [owner],
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {}}}],
        },
        "spec": {
            "nodeName": f"node-{number % 500}",
            "serviceAccountName": "shop",
            "containers": [{"name": "main", "ports": [{"name": "http", "containerPort": 8080}]}],
        },
        "status": {
            "phase": "Running",
            "podIPs": [{"ip": address(number)}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def endpoint_slice(app: int) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"app{app}-x7k2p",
            "namespace": "shop",
            "labels": {"kubernetes.io/service-name": f"app{app}"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 8080}],
        "endpoints": [
            {
                "addresses": [address(number)],
                "conditions": {"ready": True, "serving": True, "terminating": False},
                "nodeName": f"node-{number % 500}",
                "targetRef": {"kind": "Pod", "namespace": "shop", "name": f"app{app}-5d4f8c7b9-{number:05d}"},
            }
            for number in range(app * PER_APP, (app + 1) * PER_APP)
        ],
    }


def fill(count: int) -> tuple[World, list[Table]]:
    """The world with so many pods, and the tables that it came from."""
    complaints = Complaints()
    pods = PodTable(resources.PODS, complaints, "here", lambda key: None)
    slices: Table = PlainTable(
        resources.ENDPOINT_SLICES,
        "slices",
        complaints,
        shapes.EndpointSlice,
        lambda shape: values.endpoint_slice(shape, pods.value),
    )
    world = World(NodeConfig("here"))
    for table, objects in ((pods, map(pod, range(count))), (slices, map(endpoint_slice, range(count // PER_APP)))):
        keys = [table.take(msgspec.Raw(json.dumps(one).encode()), "v1")[0] for one in objects]
        world = edited(world, (Edit(table.field, key, table.value(key)) for key in keys))
    # as it is after the next change: what was touched by this one is not remembered any more
    world = replace(world, workloads=dict(world.workloads), slices=dict(world.slices))
    return world, [pods, slices]


def measured(count: int) -> int:
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    kept = fill(count)
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] - before
    assert len(kept[0].workloads) == count
    return used


def test_a_pod_elsewhere_costs_less_than_a_kibibyte() -> None:
    fill(100)  # whatever is made only once
    tracemalloc.start()
    try:
        each = (measured(MANY) - measured(FEW)) / (MANY - FEW)
    finally:
        tracemalloc.stop()
    print(f"{each:.0f} bytes for each further pod with its endpoint, in source and world")
    assert each <= 800
