"""The agent of a machine without Kubernetes: manifests in a store of its own, pods that it runs itself."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from weft.agent import sharing
from weft.agent.agent import Agent, Settings
from weft.agent.deployments import Deployments
from weft.agent.lifecycle import Pods
from weft.agent.waiting import Waiting
from weft.agent.zonefile import ZoneFile
from weft.built import built
from weft.datapath.node import NodePaths
from weft.datapath.pod import PodDevices
from weft.model.objects import NodeConfig
from weft.model.origin import NOWHERE
from weft.model.world import World
from weft.runtime.dns import system
from weft.runtime.files import DnsSettings
from weft.runtime.ipam import AddressPool
from weft.runtime.pods import PodRuntime, RuntimePaths
from weft.sources.decode import decode
from weft.sources.errors import ManifestErrors, StoreError
from weft.sources.objects import Change, Document, Json, Stored
from weft.sources.registry import POD
from weft.sources.store import Store
from weft.sources.world import build_world, is_ready, updated

log = logging.getLogger("weft.agent")

DEFAULT_STATE_ROOT = Path("/var/lib/weft")


class EmbeddedAgent(Agent):
    def __init__(self, paths: NodePaths, config: NodeConfig, settings: Settings) -> None:
        super().__init__(paths, config, settings)
        self._checked: tuple[World, Sequence[Change], World] | None = None

    async def _learn(self) -> World:
        self.store = self.source = self._open_store()
        self._stack.callback(self.store.close)
        if self._settings.store:
            sharing.introduce(self.store, self.config)
        devices = PodDevices(self.datapath, self.mtu)
        self._stack.callback(devices.close)
        self.pods: Pods
        self.pods = Pods(self.store, self._runtime(devices), self._is_ours)
        await self.pods.recover()
        self._zone_file = ZoneFile(self.paths)
        self._stack.callback(self._zone_file.close)
        self.engine.listeners.append(self._zone_file)
        return build_world(self.config, self.store.objects(), self.pods.local)

    async def _serve(self) -> None:
        self.deployments = Deployments(self.store)
        self._stack.callback(self.store.subscribe(self._on_changes))
        self.waiting = Waiting(self.store)
        self._stack.callback(self.waiting.close)
        self._stack.push_async_callback(self.pods.close)
        self.pods.start(lambda changes: self.check(changes, dry_run=True))  # no pod waits for Envoy
        self.deployments.wake()
        self._spawn(self._lead())
        if self._settings.store:
            self._spawn(sharing.follow(self.store))

    def _is_ours(self, pod: Stored) -> bool:
        return not self._settings.store or pod.obj.spec.node_name == self.config.name

    async def _lead(self) -> None:
        """What one agent does for all that share the store."""
        if self._settings.store:
            lock = await sharing.lead(self._settings.store.with_suffix(".lock"))
            self._stack.callback(os.close, lock)
        self._spawn(self._keep_dns(self._zone_file.directory))
        await self.deployments.run()

    def _namespaces(self) -> Iterable[Path]:
        return (self.paths.run_dir / "netns").glob("*")

    def describe(self) -> Json:
        pods = self.store.objects(POD)
        return {
            "source": f"{len(self.store.objects())} objects, store revision {self.store.revision}",
            "pods": {
                "total": len(pods),
                "running": sum(pod.status.get("phase") == "Running" for pod in pods),
                "ready": sum(is_ready(pod) for pod in pods),
            },
        }

    def _open_store(self) -> Store:
        """Errors: StoreError, also when pods run here whose store is gone: an empty one would mean to end them all."""
        path = self._settings.store or self.paths.state_dir / "store.sqlite"
        running = sorted(folder.name for folder in self.paths.run_dir.glob("pods/*"))
        if running and not path.exists():
            raise StoreError(
                f"{path} is gone, but {len(running)} pods run on this node ({', '.join(running[:3])}, ...); "
                "put the file back, or end everything with `weft agent --cleanup`"
            )
        return Store(path, self.config.service_cidrs, shared=self._settings.store is not None)

    def _runtime(self, devices: PodDevices) -> PodRuntime:
        hidden = (self.paths.run_dir.parent, self.paths.state_dir, DEFAULT_STATE_ROOT)
        return PodRuntime(
            RuntimePaths(self.paths.run_dir, self.paths.cgroup, built("weft-shim"), hidden),
            devices,
            AddressPool(self.config.pod_cidrs, self.config.router_addresses),
            node=self.config.name,
            on_change=lambda key: self.pods.publish(key),  # noqa: PLW0108 - pods are made with the runtime
            dns=DnsSettings(system.cluster_ips(self.config.service_cidrs), node=system.node_resolv_conf()),
            host=self.config.router_addresses[0],
        )

    def _on_changes(self, changes: Sequence[Change]) -> None:
        """The store has committed; the kernel follows before ``Store.apply`` returns."""
        self.commit(self._after(changes))
        self.pods.on_changes(changes)
        self.deployments.wake()

    def check(self, changes: Sequence[Change], dry_run: bool = False) -> None:
        """Whether the kernel could hold what these changes mean, and Envoy takes it (not asked in a ``dry_run``).

        Errors: ManifestError, CapacityError, ProxyError."""
        world = self._after(changes)
        self._checked = (self._wanted, changes, world)
        self.engine.check(world, dry_run)

    def _after(self, changes: Sequence[Change]) -> World:
        """The world with these changes: the very one that was checked, if it was for them and nothing came between."""
        checked, self._checked = self._checked, None
        if checked and checked[0] is self._wanted and checked[1] is changes:
            return checked[2]
        return updated(self._wanted, changes, self.pods.local)

    async def _keep_dns(self, zone_directory: Path) -> None:
        """The DNS pod as this agent wants it; one of another version is replaced."""
        upstream = self._settings.upstream_dns or system.nameservers(system.node_resolv_conf())
        manifests = system.system_pod(zone_directory, self.config.service_cidrs, upstream)
        if self._settings.store:
            manifests[-1]["spec"]["nodeName"] = self.config.name
        resources = [decode(Document(NOWHERE, manifest))[0] for manifest in manifests]
        pod = resources[-1].key
        try:
            self.store.apply(resources)
        except ManifestErrors:
            self.store.delete([pod])
            while not await self.waiting.until(lambda: not self.store.has(pod), 60):
                log.warning("the old DNS pod does not go")
            self.store.apply(resources)
