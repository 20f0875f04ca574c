"""The agent of one node: what it holds, how it starts, and how a change comes into force."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from weft.agent.deployments import Deployments
from weft.agent.engine import Engine
from weft.agent.events import take_in
from weft.agent.layer7 import Layer7
from weft.agent.lifecycle import Pods
from weft.agent.naming import Naming
from weft.agent.numberfile import NumberFile
from weft.agent.routestatus import RouteStatus
from weft.agent.waiting import Waiting
from weft.agent.zonefile import ZoneFile
from weft.built import built
from weft.datapath import node
from weft.datapath.errors import DatapathError
from weft.datapath.kernel import Datapath
from weft.datapath.kernel import Options as DatapathOptions
from weft.datapath.node import NodePaths
from weft.datapath.pod import PodDevices
from weft.datapath.stats import events_lost
from weft.datapath.sweep import sweep
from weft.flows.hubble import NodeInfo
from weft.flows.names import NameBook
from weft.flows.ring import ByteRing
from weft.flows.store import FlowStore
from weft.model.net import IPAddress
from weft.model.objects import NodeConfig
from weft.model.origin import NOWHERE
from weft.model.world import World
from weft.proxy.tracing import Collector
from weft.runtime.dns import system
from weft.runtime.files import DnsSettings
from weft.runtime.ipam import AddressPool
from weft.runtime.pods import PodRuntime, RuntimePaths
from weft.sources.decode import decode
from weft.sources.errors import ManifestErrors, StoreError
from weft.sources.objects import Change, Document
from weft.sources.store import Store
from weft.sources.world import build_world, updated

log = logging.getLogger("weft.agent")

HOUSEKEEPING_SECONDS = 5.0
KERNEL, ENVOY = "kernel", "envoy"
DEFAULT_STATE_ROOT = Path("/var/lib/weft")


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says beside who the node is."""

    upstream_dns: Sequence[IPAddress] = ()
    """Empty: the machine's."""
    map_sizes: Mapping[str, int] = field(default_factory=dict)
    """BPF map → entries; others have their default."""
    log_headers: Sequence[str] = ()
    """Request headers whose values layer-7 flows show; those with credentials never."""
    otlp: Collector | None = None
    """Who gets spans of requests."""


class Agent:
    """Use as ``async with``: entering brings the node up with everything in force, leaving lets go of it."""

    def __init__(self, paths: NodePaths, config: NodeConfig, settings: Settings = Settings()) -> None:
        self.paths, self.config, self._settings = paths, config, settings
        self._stack = AsyncExitStack()
        self._tasks: set[asyncio.Task[None]] = set()
        self._checked: tuple[World, Sequence[Change], World] | None = None
        self.problems: dict[str, str] = {}
        """What is wrong now, by what it concerns; shown by status."""
        self.started = datetime.now(UTC)

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def _start(self) -> None:
        """The order matters: nothing is attached before the plan that it enforces is in the maps."""
        mtu = node.uplink_mtu()
        self.datapath = self._stack.enter_context(
            Datapath.open(self.paths, DatapathOptions(sizes=self._settings.map_sizes))
        )
        node.set_up(self.paths, self.config, mtu)
        self.pods: Pods
        self.store = self._open_store()
        self._stack.callback(self.store.close)
        names = NameBook()
        run = random.SystemRandom().getrandbits(64)
        this_node = NodeInfo(self.config.name, self.config.cluster, run)
        self.flows = FlowStore(ByteRing(), names, this_node, headers=self._settings.log_headers)
        devices = PodDevices(self.datapath, mtu)
        self._stack.callback(devices.close)
        self.pods = Pods(self.store, self._runtime(devices))
        await self.pods.recover()
        call_soon = asyncio.get_running_loop().call_soon_threadsafe
        self.layer7 = Layer7(
            self.paths,
            self.datapath,
            self.flows.take_l7,
            self._envoy_problem,
            call_soon,
            self._settings.log_headers,
            self._settings.otlp,
        )
        self._stack.callback(self.layer7.close)
        numbers = NumberFile(self.paths.state_dir / "numbers.json")
        self.engine = Engine(self.datapath, self.layer7, numbers, World(self.config))
        zone_file = ZoneFile(self.paths)
        self._stack.callback(zone_file.close)
        naming = Naming(names, self.paths.cgroup, lambda: self.datapath.revision)
        self.engine.listeners += [naming, zone_file, RouteStatus(self.store)]
        self.commit(build_world(self.config, self.store.objects(), self.pods.local))
        self.datapath.enforce()
        node.bring_up(self.config)
        self.layer7.device_is_up()
        self.datapath.bump_revision()  # an agent that died between its last write and its bump could not
        sweep(self.datapath)
        self._stack.callback(take_in(self.datapath, self.flows))
        self.deployments = Deployments(self.store)
        self._stack.callback(self.store.subscribe(self._on_changes))
        self.waiting = Waiting(self.store)
        self._stack.callback(self.waiting.close)
        self._stack.push_async_callback(self.pods.close)
        self.pods.start(lambda changes: self.check(changes, dry_run=True))  # no pod waits for Envoy
        self.deployments.wake()
        for work in (self._housekeeping(), self.deployments.run(), self._keep_dns(zone_file.directory)):
            self._spawn(work)

    def _open_store(self) -> Store:
        """Errors: StoreError, also when pods run here whose store is gone: an empty one would mean to end them all."""
        path = self.paths.state_dir / "store.sqlite"
        running = sorted(folder.name for folder in self.paths.run_dir.glob("pods/*"))
        if running and not path.exists():
            raise StoreError(
                f"{path} is gone, but {len(running)} pods run on this node ({', '.join(running[:3])}, ...); "
                "put the file back, or end everything with `weft agent --cleanup`"
            )
        return Store(path, self.config.service_cidrs)

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

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        """One that should go on for ever and does not is said aloud."""
        if not task.cancelled() and (error := task.exception()):
            name = task.get_coro().__qualname__  # type: ignore[union-attr]
            log.error("%s ended", name, exc_info=error)
            self.problems[name] = f"{name} ended: {error}; restart the agent"

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

    def _envoy_problem(self, text: str) -> None:
        if text:
            self.problems[ENVOY] = text
        else:
            self.problems.pop(ENVOY, None)

    def commit(self, world: World) -> None:
        """Puts ``world`` in force, or notes as a problem that the kernel could not follow; it is tried again then.

        What comes later builds on ``world`` either way: a change that failed is never forgotten.
        """
        self._wanted = world
        try:
            self.engine.commit(world)
        except DatapathError as error:
            log.error("the plan is not in force: %s", error)
            self.problems[KERNEL] = f"the last good plan is in force, not the newest: {error}"
        else:
            self.problems.pop(KERNEL, None)

    async def _keep_dns(self, zone_directory: Path) -> None:
        """The DNS pod as this agent wants it; one of another version is replaced."""
        upstream = self._settings.upstream_dns or system.nameservers(system.node_resolv_conf())
        manifests = system.system_pod(zone_directory, self.config.service_cidrs, upstream)
        resources = [decode(Document(NOWHERE, manifest))[0] for manifest in manifests]
        pod = resources[-1].key
        try:
            self.store.apply(resources)
        except ManifestErrors:
            self.store.delete([pod])
            while not await self.waiting.until(lambda: not self.store.has(pod), 60):
                log.warning("the old DNS pod does not go")
            self.store.apply(resources)

    async def _housekeeping(self) -> None:
        """What nobody tells us about: the node's addresses, records that the kernel lost, a plan to be tried again."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            self.flows.set_kernel_lost(events_lost(self.datapath))
            try:
                addresses = node.host_addresses()
            except DatapathError as error:
                log.warning("%s", error)
                continue
            if KERNEL in self.problems or self.layer7.is_due:
                self.commit(self._wanted)
            elif addresses != self.config.host_addresses:
                self.config = replace(self.config, host_addresses=addresses)
                self.commit(replace(self._wanted, node=self.config))
