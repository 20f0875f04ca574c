"""The agent of one node, whoever tells it what to do: what it holds, how it starts, how a change comes into force.

``EmbeddedAgent`` has its own store and runs pods. ``KubernetesAgent`` watches an API server; a kubelet runs the pods.
"""

from __future__ import annotations

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from weft.agent.engine import Engine
from weft.agent.events import take_in
from weft.agent.layer7 import Layer7
from weft.agent.naming import Naming
from weft.agent.numberfile import NumberFile
from weft.agent.routestatus import RouteStatus
from weft.agent.udpclients import UdpClients
from weft.datapath import node
from weft.datapath.errors import CapacityError, DatapathError
from weft.datapath.kernel import Datapath
from weft.datapath.kernel import Options as DatapathOptions
from weft.datapath.node import NodePaths
from weft.datapath.resize import resize
from weft.datapath.stats import events_lost
from weft.datapath.sweep import sweep
from weft.flows.hubble import NodeInfo
from weft.flows.names import NameBook
from weft.flows.ring import ByteRing
from weft.flows.store import FlowStore
from weft.model.net import IPAddress
from weft.model.objects import NodeConfig
from weft.model.world import World
from weft.proxy.tracing import Collector
from weft.sources.objects import Json, Key, Stored

log = logging.getLogger("weft.agent")

HOUSEKEEPING_SECONDS = 5.0
KERNEL, ENVOY = "kernel", "envoy"
PARTS = (
    ("node", "nodes", "namespaces", "workloads"),
    ("services", "slices"),
    ("routes", "grants"),
    ("policies",),
)
"""Of a World, each of use without what comes after it: who is there, what they offer, how it is split, who may."""


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
    store: Path | None = None
    """A store that several nodes share; None: this node's own."""
    external_envoy: bool = False
    """Envoy is started by another process of the node's, in its own pod."""


class Objects(Protocol):
    """What every source of objects can be asked, and told: weft.sources.store.Store, and Kubernetes' API."""

    def get(self, key: Key) -> Stored: ...
    def has(self, key: Key) -> bool: ...
    def objects(self, kind: str = "", namespace: str = "") -> list[Stored]: ...
    def set_status(self, statuses: Mapping[Key, Json]) -> None: ...


class Agent(ABC):
    """Use as ``async with``: entering brings the node up with everything in force, leaving lets go of it."""

    source: Objects

    def __init__(self, paths: NodePaths, config: NodeConfig, settings: Settings) -> None:
        self.paths, self.config, self._settings = paths, config, settings
        self._stack = AsyncExitStack()
        self._tasks: set[asyncio.Task[None]] = set()
        self._addresses: tuple[IPAddress, ...] = ()
        """By which other nodes know this one, the preferred one first; empty where there are none."""
        self.problems: dict[str, str] = {}
        """What is wrong now, by what it concerns; shown by status."""
        self.ended: list[str] = []
        """Work that should go on for ever and does not."""
        self.started = datetime.now(UTC)

    async def _begin(self) -> None:
        """What must be known before anything is opened."""
        return

    @abstractmethod
    async def _learn(self) -> World:
        """The world to begin with, and the pods that an earlier agent left. Nothing is attached yet."""

    @abstractmethod
    async def _serve(self) -> None:
        """The node is up and its policy in force: take pods and changes from now on."""

    @abstractmethod
    def _namespaces(self) -> Iterable[Path]:
        """The pods' network namespaces, as files; others among them do no harm."""

    @abstractmethod
    def describe(self) -> Json:
        """``source`` (a line) and ``pods`` (total, running, ready: this node's) for ``weft status``."""

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._stack.aclose()

    async def _start(self) -> None:
        """The order matters: nothing is attached before the plan that it enforces is in the maps."""
        await self._begin()
        self.mtu = node.pod_mtu(self.config.tunnel, self._addresses)
        self.datapath = self._stack.enter_context(
            Datapath.open(self.paths, DatapathOptions(sizes=self._settings.map_sizes))
        )
        node.set_up(self.paths, self.config, self.mtu)
        names = NameBook()
        run = random.SystemRandom().getrandbits(64)
        this_node = NodeInfo(self.config.name, self.config.cluster, run)
        self.flows = FlowStore(ByteRing(), names, this_node)
        self.layer7 = Layer7(
            self.paths,
            self.datapath,
            self.flows.take_l7,
            self._envoy_problem,
            asyncio.get_running_loop().call_soon_threadsafe,
            self._settings.log_headers,
            self._settings.otlp,
            self.mtu,
            self._settings.external_envoy,
        )
        self._stack.callback(self.layer7.close)
        numbers = NumberFile(self.paths.state_dir / "numbers.json")
        self.engine = Engine(self.datapath, self.layer7, numbers, World(self.config))
        self.engine.listeners.append(Naming(names, self.paths.cgroup, lambda: self.datapath.revision))
        world = await self._learn()
        self.engine.listeners += [RouteStatus(self.source), UdpClients(self.datapath, self._namespaces)]
        self._commit_first(world)
        self.datapath.enforce()
        node.bring_up(self.config)
        resize(self._namespaces(), self.mtu)
        self.engine.connect_nodes()
        self.layer7.mend()
        self.datapath.bump_revision()  # an agent that died between its last write and its bump could not
        sweep(self.datapath)
        self._stack.callback(take_in(self.datapath, self.flows))
        await self._serve()
        self._spawn(self._housekeeping())

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
            self.ended.append(self.problems[name])

    def all_problems(self) -> list[str]:
        """What is wrong now, for people."""
        return [*self.problems.values(), *self.engine.unreachable]

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
            problem = f"the last good plan is in force, not the newest: {error}"
            in_force = isinstance(error, CapacityError) and self.engine.in_force
            if in_force and (stuck := self._commit_parts(world)):
                problem = f"{', '.join(stuck)} are in force as they last fitted, not as they are now: {error}"
            if self.problems.get(KERNEL) != problem:
                log.error("%s", problem)
            self.problems[KERNEL] = problem
        else:
            self.problems.pop(KERNEL, None)

    def _commit_first(self, world: World) -> None:
        """Maps that take the place of others have to hold everything. Errors: DatapathError, and the others stay."""
        if not self.datapath.replaces_others:
            self.commit(world)
            return
        self._wanted = world
        try:
            self.engine.commit(world)
        except DatapathError as error:
            self.datapath.withdraw()
            raise DatapathError("the earlier maps stay in force", str(error)) from error

    def _commit_parts(self, world: World) -> list[str]:
        """Of a world that does not fit, the parts that do; returns the others: a policy too many holds up no pod."""
        stuck: list[str] = []
        for part in PARTS:
            before = self.engine.world
            now = replace(before, **{name: getattr(world, name) for name in part})
            if not _differ(now, before):
                continue
            try:
                if _differ(now, world):  # else it is what did not fit
                    self.engine.commit(now)
                    continue
            except DatapathError as error:
                log.debug("%s: %s", part, error)
            stuck += [name for name in part if getattr(world, name) is not getattr(before, name)]
        return stuck

    async def _housekeeping(self) -> None:
        """What nobody tells us about: the node's addresses, records that the kernel lost, a plan to be tried again."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            self.flows.set_kernel_lost(events_lost(self.datapath))
            self.engine.keep_routes()
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


def _differ(one: World, other: World) -> bool:
    return any(getattr(one, each.name) is not getattr(other, each.name) for each in fields(World))
