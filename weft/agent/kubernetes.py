"""The agent of a Kubernetes node: objects from the API server, pods from the kubelet by CNI."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from weft.agent.agent import KERNEL, Agent, Settings
from weft.agent.batch import Batch
from weft.built import built
from weft.cni.install import install
from weft.cni.pods import KubeletPods
from weft.cni.server import serve
from weft.datapath import node
from weft.datapath.errors import DatapathError
from weft.datapath.node import NodePaths
from weft.datapath.pod import PodDevices
from weft.model.objects import LocalPod, NamespacedName, NodeConfig, Workload
from weft.model.policy import PolicyRef
from weft.model.world import World
from weft.policy.parties import pod_labels
from weft.policy.select import selects
from weft.runtime import heap
from weft.runtime.ipam import AddressPool
from weft.sources.kubernetes.api import Api
from weft.sources.kubernetes.servicecidrs import service_cidrs
from weft.sources.kubernetes.source import KubernetesSource
from weft.sources.objects import Json
from weft.sources.world import Edit, edited

log = logging.getLogger("weft.agent")

_NETNS = Path("/run/netns")
"""Where container runtimes keep network namespaces."""
STRAY_SECONDS = 10.0
"""Between looks for the range of a ClusterIP that is in none."""
POD_SECONDS = 10.0
"""How long an ADD waits until the API server's stream has its pod; the kubelet asks again after that."""


@dataclass(frozen=True, slots=True)
class CniPlaces:
    """Where the kubelet's container runtime looks for plugins."""

    bin_dir: Path = Path("/opt/cni/bin")
    conf_dir: Path = Path("/etc/cni/net.d")


class KubernetesAgent(Agent):
    def __init__(self, paths: NodePaths, config: NodeConfig, settings: Settings, api: Api, cni: CniPlaces) -> None:
        """``config`` lacks what the Node object says; ``_begin`` adds it."""
        super().__init__(paths, config, settings)
        self._api, self._cni = api, cni
        self.source: KubernetesSource = KubernetesSource(
            api, config.name, config.cluster, self._local, self.on_edits, state_dir=paths.state_dir
        )
        self._is_up = False
        self._are_ranges_given = bool(config.service_cidrs)
        self._stray = asyncio.Event()
        """Somebody has a ClusterIP outside of the ranges that we know."""

    async def _end(self) -> None:
        await super()._end()
        await self.source.release()

    async def _begin(self) -> None:
        """What the node is, as its object says, and what the cluster is."""
        this = await self.source.own_node()
        self.config = replace(
            self.config,
            pod_cidrs=this.pod_cidrs,
            service_cidrs=self.config.service_cidrs or await service_cidrs(self._api),
            router_addresses=tuple(network[1] for network in this.pod_cidrs),
            zone=this.zone,
        )
        self._addresses = this.addresses
        self._wanted = World(self.config)

    async def _learn(self) -> World:
        devices = PodDevices(self.datapath, self.mtu)
        self._stack.callback(devices.close)
        pool = AddressPool(self.config.pod_cidrs, self.config.router_addresses)
        self.pods = KubeletPods(self.paths.run_dir, pool, devices, self._known, Batch(self._put_in_force).put)
        await self.pods.recover()
        log.info("waiting for the API server's objects")
        await self.source.sync()
        return self._wanted

    async def _serve(self) -> None:
        self._is_up = True
        self.commit(self._wanted)
        heap.trim()
        socket = self.paths.run_dir / "cni.sock"
        await self._stack.enter_async_context(serve(self.pods, socket))
        self._spawn(self.source.run())
        self._spawn(self._follow_service_cidrs())
        install(built("weft-cni"), self._cni.bin_dir, self._cni.conf_dir, socket)

    def _is_stray(self, edit: Edit) -> bool:
        ranges = self.config.service_cidrs
        addresses = edit.value.cluster_ips if edit.field == "services" and edit.value else ()
        return bool(ranges) and any(not any(address in known for known in ranges) for address in addresses)

    async def _follow_service_cidrs(self) -> None:
        """Ranges that somebody has added since we began."""
        while not self._are_ranges_given:
            await self._stray.wait()
            self._stray.clear()
            found = await service_cidrs(self._api)
            if found and found != self.config.service_cidrs:
                log.info("the ranges of ClusterIPs are now %s", ", ".join(map(str, found)))
                self.config = replace(self.config, service_cidrs=found)
                self.commit(replace(self._wanted, node=self.config))
                try:
                    node.bring_up(self.config)
                except DatapathError as error:
                    log.error("the routes of services' new ranges: %s", error)
            await asyncio.sleep(STRAY_SECONDS)

    def _namespaces(self) -> Iterable[Path]:
        return _NETNS.glob("*")

    def describe(self) -> Json:
        world = self.engine.world
        ours = [pod for pod in world.workloads.values() if pod.local]
        return {
            "source": f"Kubernetes, {self._api.server}: {len(world.workloads)} pods, {len(world.services)} services, "
            f"{len(world.policies)} policies, {len(world.nodes)} nodes",
            "pods": {"total": len(ours), "running": len(ours), "ready": sum(pod.ready for pod in ours)},
            "kubernetes": {
                "connected": not self._api.problem,
                "cni": [[*asked, count] for asked, count in sorted(self.pods.requests.items())],
            },
        }

    def all_problems(self) -> list[str]:
        return [*super().all_problems(), *self.source.problems.values()]

    def on_edits(self, edits: Sequence[Edit]) -> None:
        world = edited(self._wanted, edits)
        if any(map(self._is_stray, edits)):
            self._stray.set()
        if self._is_up:
            self.commit(world)
        else:
            self._wanted = world

    def _local(self, key: NamespacedName) -> LocalPod | None:
        return self.pods.local.get(key)

    async def _known(self, key: NamespacedName, uid: str) -> bool:
        """Whether the source knows the pod by now: its labels are its identity."""
        return await self.source.has_pod(key, uid, POD_SECONDS)

    def _put_in_force(self, keys: Sequence[NamespacedName]) -> Mapping[NamespacedName, Exception]:
        """Pods of this node have come, or are gone. Returns those of which the kernel was not told, and why."""
        self.source.touch(*keys)
        failed: dict[NamespacedName, Exception] = {}
        for key in keys:
            try:
                self._force(key)
            except DatapathError as error:
                failed[key] = error
        return failed

    def _force(self, key: NamespacedName) -> None:
        """Where even all pods together do not fit, this one may; but none without a policy that selects it. Errors:
        DatapathError."""
        wanted, here = self._wanted, self.engine.world
        if here is wanted:
            return
        pod = wanted.workloads.get(key)
        if not self.engine.in_force:
            raise DatapathError(f"pod {key}", self.problems[KERNEL])
        if pod and (missing := _not_in_force(wanted, here, pod)):
            raise DatapathError(f"pod {key}", f"{missing} selects it and is not in force: {self.problems.get(KERNEL)}")
        if here.workloads.get(key) is not pod:
            home = Edit("namespaces", key.namespace, wanted.namespaces.get(key.namespace))
            self.engine.commit(edited(here, [home, Edit("workloads", key, pod)]))


def _not_in_force(wanted: World, here: World, pod: Workload) -> PolicyRef | None:
    """A policy that selects the pod, and is not, or not as it should be, in the world that is in force."""
    labels = pod_labels(wanted, pod)
    for ref, specs in wanted.policies.items():
        if specs is not here.policies.get(ref) and any(selects(spec.subject, labels) for spec in specs):
            return ref
    return None
