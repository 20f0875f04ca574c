"""Stored objects → model values, one by one and all at once."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.sources.builders import NOW, open_store, pod, read, service
from weft.model.net import TCP, EndpointId
from weft.model.objects import (
    EndpointSlice,
    LocalEndpoint,
    NamedPort,
    Namespace,
    NamespacedName,
    NodeConfig,
    Service,
    ServicePort,
    SliceEndpoint,
    Workload,
)
from weft.model.origin import ManifestError
from weft.model.policy import PolicyRef
from weft.model.world import World
from weft.sources.objects import Change, Key
from weft.sources.status import ContainerStatus, pod_status
from weft.sources.store import Store
from weft.sources.world import build_world, updated

NODE = NodeConfig("node", service_cidrs=(ip_network("10.96.0.0/24"),))
WEB = NamespacedName("default", "web")
LOCAL = {WEB: LocalEndpoint(EndpointId(1), 7, b"\x02\x77\0\0\0\1")}
ADDRESSES = (ip_address("10.0.0.5"), ip_address("fd00::5"))


def world_of(store: Store) -> World:
    return build_world(NODE, store.objects(), LOCAL)


def test_pod_becomes_a_workload(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.apply(read(pod("web", more="  hostname: front\n  subdomain: all\n  serviceAccountName: shop\n")))
    key = Key("Pod", "default", "web")
    waiting = world_of(store).workloads[WEB]
    assert (waiting.addresses, waiting.ready, waiting.terminating) == ((), False, False)
    running = pod_status("Running", ADDRESSES, [ContainerStatus("main", True, 0, NOW)])
    store.set_status({key: running})
    assert world_of(store).workloads[WEB] == Workload(
        key=WEB,
        labels={"app": "web"},
        service_account="shop",
        node="node",
        addresses=ADDRESSES,
        ports=(NamedPort("http", 8080, TCP),),
        ready=True,
        local=LOCAL[WEB],
        hostname="front",
        subdomain="all",
    )
    store.delete([key])
    assert world_of(store).workloads[WEB].terminating
    ended = pod_status("Succeeded", ADDRESSES, [ContainerStatus("main", reason="Completed", exit_code=0)])
    store.set_status({key: ended})
    finished = world_of(store).workloads[WEB]
    assert (finished.addresses, finished.ready) == ((), False)


def test_one_container_that_is_not_ready_makes_the_pod_so(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.apply(read(pod("web")))
    containers = [ContainerStatus("a", True, 0, NOW), ContainerStatus("b", False, 0, NOW)]
    store.set_status({Key("Pod", "default", "web"): pod_status("Running", ADDRESSES, containers)})
    assert not world_of(store).workloads[WEB].ready


def test_services(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    affinity = "sessionAffinity: ClientIP, publishNotReadyAddresses: true, clusterIP: 10.96.0.9"
    store.apply(read(service("web", affinity)))
    store.apply(read(service("head", "clusterIP: None")))
    store.apply(read(EXTERNAL))
    store.apply(read(service("near", "internalTrafficPolicy: Local, trafficDistribution: PreferClose")))
    found = world_of(store).services
    assert found[WEB] == Service(
        key=WEB,
        type="ClusterIP",
        cluster_ips=(ip_address("10.96.0.9"),),
        ports=(ServicePort("", 80, TCP, "http"),),
        selector={"app": "web"},
        affinity_seconds=10800,
        publish_not_ready=True,
    )
    headless = found[NamespacedName("default", "head")]
    assert (headless.headless, headless.cluster_ips) == (True, ())
    outside = found[NamespacedName("default", "out")]
    assert (outside.type, outside.external_name, outside.cluster_ips) == ("ExternalName", "example.org", ())
    near = found[NamespacedName("default", "near")]
    assert (near.internal_local, near.traffic_distribution) == (True, "PreferSameZone")
    assert (found[WEB].internal_local, found[WEB].traffic_distribution) == (False, "")


EXTERNAL = """
apiVersion: v1
kind: Service
metadata: {name: out}
spec: {type: ExternalName, externalName: example.org.}
"""

SLICE = """
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: legacy-1, labels: {kubernetes.io/service-name: legacy}}
addressType: IPv6
ports: [{name: db, port: 5432}]
endpoints:
  - {addresses: ["fd00::1"], hostname: one}
  - {addresses: ["fd00::2"], conditions: {ready: false}}
  - {addresses: ["fd00::3"], conditions: {terminating: true}, targetRef: {kind: Pod, name: web}}
  - {addresses: ["fd00::4"], conditions: {ready: true, serving: false, terminating: true}}
  - addresses: ["fd00::5"]
    nodeName: n2
    zone: west
    hints: {forZones: [{name: west}, {name: east}], forNodes: [{name: n2}]}
"""


def test_endpoint_slice(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    store.apply(read(SLICE))
    key = NamespacedName("default", "legacy-1")
    assert world_of(store).slices[key] == EndpointSlice(
        key=key,
        service="legacy",
        ports=(NamedPort("db", 5432, TCP),),
        endpoints=(
            SliceEndpoint((ip_address("fd00::1"),), hostname="one"),
            SliceEndpoint((ip_address("fd00::2"),), ready=False),
            SliceEndpoint((ip_address("fd00::3"),), ready=False, target=WEB, terminating=True),
            SliceEndpoint((ip_address("fd00::4"),), serving=False, terminating=True),
            SliceEndpoint((ip_address("fd00::5"),), node="n2", zones=("west", "east"), nodes=("n2",)),
        ),
    )


POLICIES = """
apiVersion: cilium.io/v2
kind: CiliumClusterwideNetworkPolicy
metadata: {name: everywhere}
spec: {endpointSelector: {}, ingress: [{fromEntities: [host]}]}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: deny}
spec: {podSelector: {}}
"""


def test_world_follows_the_changes(tmp_path: Path) -> None:
    """What ``updated`` makes of each transaction's changes equals the world built from scratch, object for object."""
    store = open_store(tmp_path)
    world = world_of(store)
    seen: list[Change] = []
    store.subscribe(seen.extend)

    def step() -> World:
        nonlocal world
        before, copy = world, vars_of(world)
        world = updated(world, seen, LOCAL)
        assert vars_of(before) == copy, "an old world was edited"
        assert vars_of(world) == vars_of(world_of(store))
        seen.clear()
        return world

    store.apply(read(pod("web") + "---" + service("web") + "---" + SLICE + "---" + POLICIES))
    first = step()
    assert set(first.policies) == {
        PolicyRef("CiliumClusterwideNetworkPolicy", "", "everywhere"),
        PolicyRef("NetworkPolicy", "default", "deny"),
    }
    store.apply(read("{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a}}}"))
    second = step()
    assert second.namespaces["shop"] == Namespace("shop", {"team": "a", "kubernetes.io/metadata.name": "shop"})
    assert second.workloads is first.workloads
    store.set_status({Key("Pod", "default", "web"): pod_status("Running", ADDRESSES, [ContainerStatus("main", True)])})
    assert step().workloads[WEB].ready
    store.delete([Key("NetworkPolicy", "default", "deny"), Key("Namespace", "", "shop")])
    store.remove(Key("Pod", "default", "web"))
    last = step()
    assert (len(last.policies), "shop" in last.namespaces, last.workloads) == (1, False, {})


def vars_of(world: World) -> dict[str, object]:
    names = ("namespaces", "workloads", "services", "slices", "policies")
    return {name: dict(getattr(world, name)) for name in names}


def test_every_policy_that_cannot_be_translated_is_named(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    world = world_of(store)

    def translate(changes: Sequence[Change]) -> None:
        updated(world, changes, LOCAL)

    broken = POLICIES.replace("fromEntities: [host]", "fromEntities: [hosts]")
    broken += "---" + POLICIES.replace("everywhere", "too").replace("deny", "other").replace("[host]", "[wrld]")
    with pytest.raises(ManifestError) as refused:
        store.apply(read(broken), guard=translate)
    assert [line.split(": ")[0] for line in str(refused.value).splitlines()] == ["test.yaml:5", "test.yaml:15"]
    assert len(store.objects()) == 2
