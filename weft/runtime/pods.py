"""Runs the node's pods: prepare, start, stop, remove, and find them again.

    prepare   addresses, run directory, cgroup, network (host side down), supervisors that wait
    start     host side up, then "go" to the supervisors; only after the plan that knows the pod is in force
    stop      SIGTERM, after the grace period SIGKILL
    remove    everything away, addresses free again

The agent may die anywhere: ``recover`` tells what it left, and ``remove`` takes away what is half made.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from weakref import WeakValueDictionary

from weft.model.kinds.core import Pod
from weft.model.net import EndpointId, IPAddress
from weft.model.objects import LocalEndpoint, NamespacedName
from weft.runtime import cgroup, files, logs, shim
from weft.runtime.config import Limits, Place, container_config
from weft.runtime.environment import Downward
from weft.runtime.errors import PodError
from weft.runtime.files import DnsSettings
from weft.runtime.folder import PodFolder, Record, folders, sandbox_name
from weft.runtime.ipam import AddressPool
from weft.runtime.network import PodNetwork
from weft.runtime.state import LOST, PodState, Recovered, container_state, found, phase
from weft.runtime.watch import Watcher


@dataclass(frozen=True, slots=True)
class RuntimePaths:
    run_dir: Path
    """The node's own, ``/run/weft/NAME``."""
    cgroup: Path
    """Folder of all pods' cgroups."""
    shim: Path
    """The program weft-shim."""
    hidden: tuple[Path, ...]
    """What pods must not see into: run and state directories of all nodes (/sys/fs/bpf and cgroups always are)."""

    def netns(self, name: str) -> Path:
        return self.run_dir / "netns" / name


@dataclass(frozen=True, slots=True)
class Prepared:
    addresses: tuple[IPAddress, ...]
    endpoint: LocalEndpoint


class PodRuntime:
    """Use from one event loop. ``on_change`` is called with the pod's key whenever one of its containers changes."""

    def __init__(
        self,
        paths: RuntimePaths,
        network: PodNetwork,
        pool: AddressPool,
        *,
        node: str,
        on_change: Callable[[NamespacedName], None],
        dns: DnsSettings | None = None,
        host: IPAddress | None = None,
        limits: Limits | None = None,
    ) -> None:
        """``host``: the node's address, for status.hostIP. Needs a running loop."""
        self._paths, self._network, self._pool, self._node = paths, network, pool, node
        self.dns = dns or DnsSettings()
        """What pods prepared from now on get; may be replaced."""
        self._host, self._limits = host, limits or Limits()
        self._records: dict[NamespacedName, Record] = {}
        self._endpoints: dict[NamespacedName, LocalEndpoint] = {}
        self._last_endpoint = 0
        self._busy: WeakValueDictionary[NamespacedName, asyncio.Lock] = WeakValueDictionary()
        self._on_change = on_change
        self._watcher = Watcher(self._changed)
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """Stops watching; pods live on."""
        for task in self._tasks:
            task.cancel()
        self._watcher.close()

    def get_ready(self) -> None:
        """Pods may come from now on: what can be made ahead is made."""
        self._network.get_ready()

    # ---- one pod's life ---------------------------------------------------------------------------------------------

    async def prepare(self, key: NamespacedName, pod: Pod, uid: str) -> Prepared:
        """Everything but packets and the command. Errors: PodError, AddressesExhausted, the network's; nothing is left
        behind then. A pod that is prepared already is an error."""
        async with self._lock(key):
            if self._folder(key).path.exists():
                raise PodError(f"pod {key}: is here already; remove it first")
            work = asyncio.ensure_future(self._prepare(key, pod, uid))
            try:
                return await asyncio.shield(work)
            except BaseException:
                await asyncio.wait([work])  # half of it may be in a thread: nothing is removed under its hands
                await self._remove(key)
                raise

    async def _prepare(self, key: NamespacedName, pod: Pod, uid: str) -> Prepared:
        name, folder = sandbox_name(key), self._folder(key)
        addresses = self._pool.allocate(key)
        self._last_endpoint += 1
        endpoint = EndpointId(self._last_endpoint)
        names = tuple(one.name for one in pod.spec.containers)
        texts = tuple(map(str, addresses))
        record = Record(key.namespace, key.name, uid, texts, endpoint, names, pod.spec.restart_policy)
        folder.create(record)
        self._records[key] = record
        cgroup_folder = self._paths.cgroup / name
        cgroup_folder.mkdir(parents=True, exist_ok=True)
        place = Place(self._paths.netns(name), cgroup_folder, folder.etc, self._paths.hidden)
        self._write_etc(folder, key, pod, addresses)
        downward = Downward(key, pod, uid, self._node, addresses, self._host)
        for container in pod.spec.containers:
            config = container_config(container, downward, place, self._limits)
            (folder.container(container.name) / "config").write_bytes(config)
        network = asyncio.ensure_future(self._network.create(name, place.netns, addresses, endpoint))
        launches = [shim.launch(self._paths.shim, folder.container(one)) for one in record.containers]
        results = await asyncio.gather(network, *launches, return_exceptions=True)
        if failed := next((result for result in results if isinstance(result, BaseException)), None):
            raise failed
        local = network.result()
        self._endpoints[key] = local
        self._watch(record)
        return Prepared(addresses, local)

    def _write_etc(self, folder: PodFolder, key: NamespacedName, pod: Pod, addresses: tuple[IPAddress, ...]) -> None:
        texts = {
            "hostname": files.hostname(key.name, pod.spec) + "\n",
            "hosts": files.hosts(key, pod.spec, addresses, self.dns.domain),
            "resolv.conf": files.resolv_conf(key.namespace, pod.spec, self.dns),
        }
        for name, text in texts.items():
            (folder.etc / name).write_text(text)

    async def start(self, key: NamespacedName) -> None:
        """Host side up, then the commands. May be repeated. Errors: PodError, the network's."""
        async with self._lock(key):
            record = self._record(key)
            await self._network.up(sandbox_name(key))
            for name in record.containers:
                if not shim.tell(self._folder(key).container(name), "go"):
                    raise PodError(
                        f"pod {key}: container {name} has no supervisor; remove the pod and prepare it again"
                    )

    async def restart(self, key: NamespacedName, container: str) -> None:
        """Ends the container's process, which is started again at once. Errors: PodError."""
        if not shim.tell(self._container(key, container), "restart"):
            raise PodError(f"pod {key}: container {container} is not running")

    async def stop(self, key: NamespacedName, grace: float | None = None) -> None:
        """Returns when no process of the pod is left. ``grace``: seconds from SIGTERM to SIGKILL; None: the pod's own.
        A pod that is not there has stopped."""
        word = "stop" if grace is None else f"stop {round(grace * 1000)}"
        record = self._records.get(key)
        directories = [self._folder(key).container(name) for name in record.containers] if record else []
        for directory in directories:
            shim.tell(directory, word)
        for directory in directories:
            await self._watcher.ended(directory)

    async def remove(self, key: NamespacedName) -> None:
        """Ends what runs at once and takes every trace away. Nothing there is not an error."""
        async with self._lock(key):
            await self._remove(key)

    async def _remove(self, key: NamespacedName) -> None:
        name, folder = sandbox_name(key), self._folder(key)
        record = self._records.get(key)
        for container in record.containers if record else ():
            self._watcher.forget(folder.container(container))
        await cgroup.end(self._paths.cgroup / name)
        await self._network.delete(name, self._paths.netns(name))
        folder.remove()
        self._records.pop(key, None)
        self._endpoints.pop(key, None)
        self._pool.release(key)

    # ---- after the agent's death ------------------------------------------------------------------------------------

    async def recover(self) -> list[Recovered]:
        """Everything that an earlier agent left, with its addresses claimed and its changes watched from now on.

        What is so broken that not even its name is known is removed here. Call once, before anything else.
        """
        recovered = []
        for folder in folders(self._paths.run_dir / "pods"):
            record = folder.record()
            if record is None or self._folder(record.key).path != folder.path:
                await cgroup.end(self._paths.cgroup / folder.path.name)
                await self._network.delete(folder.path.name, self._paths.netns(folder.path.name))
                folder.remove()
            else:
                recovered.append(await self._recover(record))
        return recovered

    async def _recover(self, record: Record) -> Recovered:
        key, name = record.key, sandbox_name(record.key)
        addresses = tuple(map(ip_address, record.addresses))
        self._records[key] = record
        self._last_endpoint = max(self._last_endpoint, record.endpoint)
        self._pool.claim(key, addresses)
        for container in record.containers:
            directory = self._folder(key).container(container)
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # the death may have come before it was made
            await self._watcher.settled(directory)
        local = self._network.find(name, self._paths.netns(name), addresses, EndpointId(record.endpoint))
        if local:
            self._endpoints[key] = local
        self._watch(record)
        state = self.status(key)
        statuses = [shim.read_status(self._folder(key).container(one)) for one in record.containers]
        return Recovered(found(state.containers, statuses, local is not None), state)

    # ---- questions --------------------------------------------------------------------------------------------------

    def status(self, key: NamespacedName) -> PodState:
        """Errors: PodError for an unknown pod."""
        record = self._record(key)
        directories = {name: self._folder(key).container(name) for name in record.containers}
        containers = tuple(
            container_state(name, shim.read_status(directory), shim.is_alive(directory))
            for name, directory in directories.items()
        )
        addresses = tuple(map(ip_address, record.addresses))
        return PodState(key, record.uid, phase(containers), addresses, self._endpoints.get(key), containers)

    def pods(self) -> list[NamespacedName]:
        return sorted(self._records)

    def logs(
        self, key: NamespacedName, follow: bool = False, tail: int | None = None, container: str = ""
    ) -> AsyncIterator[bytes]:
        """Lines without their ends. ``follow``: until the container has ended for good. Errors: PodError."""
        return logs.lines(self._container(key, container), follow, tail)

    def exec_argv(self, key: NamespacedName, container: str = "") -> list[str]:
        """What to run on this machine, as root, for a command in the pod; add ``-i``, ``-t``, ``--`` and the command.
        Errors: PodError."""
        return [str(self._paths.shim), "exec", "--dir", str(self._container(key, container))]

    # ---- inside -----------------------------------------------------------------------------------------------------

    def _folder(self, key: NamespacedName) -> PodFolder:
        return PodFolder(self._paths.run_dir / "pods" / sandbox_name(key))

    def _container(self, key: NamespacedName, name: str) -> Path:
        """The folder of a container; the pod's first if no name is given."""
        known = self._record(key).containers
        if name and name not in known:
            raise PodError(f"pod {key}: no container {name}; it has {', '.join(known)}")
        return self._folder(key).container(name or known[0])

    def _record(self, key: NamespacedName) -> Record:
        if key not in self._records:
            raise PodError(f"pod {key}: does not run on this node")
        return self._records[key]

    def _lock(self, key: NamespacedName) -> asyncio.Lock:
        return self._busy.setdefault(key, asyncio.Lock())

    def _watch(self, record: Record) -> None:
        for name in record.containers:
            self._watcher.watch(self._folder(record.key).container(name), record.key)

    def _changed(self, key: NamespacedName) -> None:
        if key not in self._records:
            return
        lost = any(one.reason == LOST for one in self.status(key).containers)
        if lost and self._records[key].restart_policy != "Never":
            task = asyncio.get_running_loop().create_task(self._revive(key))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._on_change(key)
        self.get_ready()  # not sooner: it would keep a pod that was just started from its first instruction

    async def _revive(self, key: NamespacedName) -> None:
        """A supervisor was killed, and its container with it: another one takes over, as after any other crash."""
        async with self._lock(key):
            record = self._records.get(key)
            for name in record.containers if record else ():
                directory = self._folder(key).container(name)
                status = shim.read_status(directory)
                if status is None or status.state == "Terminated" or shim.is_alive(directory):
                    continue
                await shim.launch(self._paths.shim, directory)
                self._watcher.watch(directory, key)
                if status.go:
                    shim.tell(directory, "go")
