"""The cluster as an API server tells it: listed once, then followed; handed out as edits of the world."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from weft.model.objects import NamespacedName, Node
from weft.sources.errors import NotFound
from weft.sources.kubernetes import resources, shapes, values
from weft.sources.kubernetes.api import Api, ApiError
from weft.sources.kubernetes.complaints import Complaints
from weft.sources.kubernetes.flaws import node_flaw, service_flaw, slice_flaw
from weft.sources.kubernetes.lastgood import LastGood
from weft.sources.kubernetes.lease import Leadership
from weft.sources.kubernetes.reflector import Reflector
from weft.sources.kubernetes.resources import Seen
from weft.sources.kubernetes.strict import StrictTable
from weft.sources.kubernetes.tables import Local, PlainTable, PodTable, Table
from weft.sources.kubernetes.writer import StatusWriter
from weft.sources.objects import Json, Key, Stored
from weft.sources.registry import KINDS, ROUTES
from weft.sources.world import Edit

log = logging.getLogger("weft.kubernetes")

QUIET, LONGEST = 0.002, 0.02
"""What comes with no more than QUIET seconds between is one batch, but none waits longer than LONGEST."""
OWN_NODE_SECONDS = 1.0


class PodSeen(NamedTuple):
    """A pod that the API server says is this node's."""

    uid: str
    labels: Mapping[str, str]


class KubernetesSource:
    """``local``: what weft has connected on this node, by pod. ``on_edits``: given the edits of the world, one call for
    those that came together; what it raises ends ``run``."""

    def __init__(
        self,
        api: Api,
        node: str,
        cluster: str,
        local: Local,
        on_edits: Callable[[Sequence[Edit]], None],
        leadership: Leadership | None = None,
        state_dir: Path | None = None,
    ) -> None:
        """``state_dir``: where the next agent of this node finds what it must know."""
        self._api, self._node, self._on_edits = api, node, on_edits
        self._complaints = Complaints()
        self._pods = PodTable(resources.PODS, self._complaints, node, local)
        last_good = LastGood(state_dir / "last-good.json" if state_dir else None)
        self._strict = {
            one.kind: StrictTable(one, self._complaints, cluster, last_good, self._checked, self._removed)
            for one in resources.STRICT
        }
        self._leadership = leadership or Leadership(api, node)
        self._writer = StatusWriter(
            api, node, self._leadership, self._complaints, lambda kind: self._strict[kind].resource, self._seen
        )
        self._statuses: dict[Key, Json] = {}
        """What the plan says of routes; not told of those that are refused."""
        self._refused: set[Key] = set()
        self._reflectors = [Reflector(api, table, self._mark) for table in self._tables()]
        self._dirty: dict[tuple[str, Any], Table] = {}
        self._wake = asyncio.Event()
        self._waiting: dict[NamespacedName, set[asyncio.Future[None]]] = {}
        self._own_problem = ""

    def _tables(self) -> list[Table]:
        complaints = self._complaints
        return [
            PlainTable(resources.NODES, "nodes", complaints, shapes.Node, values.node, node_flaw, namespaced=False),
            PlainTable(
                resources.NAMESPACES, "namespaces", complaints, shapes.Headed, values.namespace, namespaced=False
            ),
            self._pods,
            PlainTable(resources.SERVICES, "services", complaints, shapes.Service, values.service, service_flaw),
            PlainTable(
                resources.ENDPOINT_SLICES,
                "slices",
                complaints,
                shapes.EndpointSlice,
                lambda shape: values.endpoint_slice(shape, self._pods.value),
                slice_flaw,
            ),
            *self._strict.values(),
        ]

    @property
    def problems(self) -> dict[str, str]:
        """What is wrong now, by what it concerns."""
        found = {"api-server": self._api.problem, "node": self._own_problem}
        found |= {one.resource.plural: one.problem for one in self._reflectors}
        return {name: text for name, text in found.items() if text}

    async def own_node(self) -> Node:
        """This node's object, as soon as it is there and has podCIDRs."""
        decode = msgspec.json.Decoder(shapes.Node).decode
        while True:
            try:
                node = values.node(decode(await self._api.get(resources.NODES.path("v1", name=self._node))))
            except ApiError as error:
                missing = f"Node {self._node} is not there" if error.code == 404 else str(error)
            else:
                if node.pod_cidrs:
                    self._own_problem = ""
                    return node
                missing = (
                    f"Node {self._node} has no spec.podCIDRs: whoever allocates them (kube-controller-manager "
                    "--allocate-node-cidrs --cluster-cidr=...) must give it some"
                )
            if missing != self._own_problem:
                log.warning("waiting: %s", missing)
            self._own_problem = missing
            await self._api.pause(OWN_NODE_SECONDS)

    async def sync(self) -> None:
        """Returns after ``on_edits`` was given everything that the API server has, in one call."""
        pods = next(one for one in self._reflectors if one.table is self._pods)
        await pods.sync()  # first: slices then share the names and addresses of their pods
        async with asyncio.TaskGroup() as group:
            for one in self._reflectors:
                group.create_task(one.sync())
        self._flush()

    async def run(self) -> None:
        """For ever."""
        async with asyncio.TaskGroup() as group:
            for one in self._reflectors:
                group.create_task(one.run())
            group.create_task(self._deliver())
            group.create_task(self._writer.run())

    async def release(self) -> None:
        """After ``run`` was cancelled, before the Api is closed: another agent may write at once."""
        await self._leadership.release()

    def pod(self, key: NamespacedName) -> PodSeen | None:
        """None: the API server has no such pod on this node, as far as we know."""
        found = self._pods.own.get(key)
        return None if found is None else PodSeen(found.uid, found.metadata.labels or {})

    async def has_pod(self, key: NamespacedName, uid: str, seconds: float) -> bool:
        """Whether this very pod is this node's; waits for it so long."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while not self._is_own(key, uid):
            arrival: asyncio.Future[None] = loop.create_future()
            self._waiting.setdefault(key, set()).add(arrival)
            try:
                async with asyncio.timeout_at(deadline):
                    await arrival
            except TimeoutError:
                return self._is_own(key, uid)
            finally:
                self._waiting[key].discard(arrival)
                if not self._waiting[key]:
                    del self._waiting[key]
        return True

    def _is_own(self, key: NamespacedName, uid: str) -> bool:
        found = self._pods.own.get(key)
        return found is not None and found.uid == uid

    def touch(self, *keys: NamespacedName) -> None:
        """What weft has connected under these names has changed: ``on_edits`` is given it before this returns."""
        self._mark(self._pods, [key for key in keys if self._pods.refresh(key)])
        self._flush()

    def get(self, key: Key) -> Stored:
        """As it is in force. Raises NotFound."""
        table = self._strict.get(key.kind)
        if table is None or key not in table.stored:
            raise NotFound(f'{KINDS[key.kind].plural_resource} "{key.name}" not found')
        return table.stored[key]

    def has(self, key: Key) -> bool:
        table = self._strict.get(key.kind)
        return table is not None and key in table.stored

    def objects(self, kind: str = "", namespace: str = "") -> list[Stored]:
        """Policies, routes and grants, sorted by kind, namespace and name; empty = all kinds, all namespaces."""
        tables = [table for name, table in self._strict.items() if kind in ("", name)]
        wanted = {key: one for table in tables for key, one in table.stored.items()}
        return [wanted[key] for key in sorted(wanted) if not namespace or key.namespace == namespace]

    def set_status(self, statuses: Mapping[Key, Json]) -> None:
        """What the statuses of these routes should say (``routestatus``); the leader writes it as soon as it can."""
        for key, status in statuses.items():
            self._statuses[key] = status
            if key not in self._refused:
                self._writer.want(key, status)

    def _seen(self, key: Key) -> Seen | None:
        return self._strict[key.kind].seen.get(key)

    def _checked(self, key: Key, status: Json | None) -> None:
        if status is not None:
            self._writer.want(key, status)
        elif key in self._statuses:
            self._writer.want(key, self._statuses[key])
        if key.kind in ROUTES and status is not None:
            self._refused.add(key)
        else:
            self._refused.discard(key)

    def _removed(self, key: Key) -> None:
        self._statuses.pop(key, None)
        self._refused.discard(key)
        self._writer.forget(key)

    def _mark(self, table: Table, keys: Iterable[Any]) -> None:
        for key in keys:
            self._dirty[table.field, key] = table
            if key in self._waiting and table is self._pods:
                for arrival in self._waiting[key]:
                    if not arrival.done():
                        arrival.set_result(None)
        if self._dirty:
            self._wake.set()

    async def _deliver(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._wake.wait()
            latest, known = loop.time() + LONGEST, 0
            while len(self._dirty) != known and loop.time() < latest:
                known = len(self._dirty)
                await asyncio.sleep(QUIET)
            self._flush()

    def _flush(self) -> None:
        """Values as they are now, so a key that changed twice is one edit."""
        dirty, self._dirty = self._dirty, {}
        self._wake.clear()
        edits = [Edit(field, key, table.value(key)) for (field, key), table in dirty.items()]
        if edits:
            self._on_edits(edits)
