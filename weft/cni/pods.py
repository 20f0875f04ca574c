"""The pods that the kubelet runs here: who has which address and device, whatever is killed in between.

    ADD     record → veth with its program, host side down → plan in force → host side up → answer
    DEL     veth → plan in force without the pod → address free → record

A record is there before anything else of a pod, and goes last. One whose host side is not up was never answered, so
``recover`` takes it away: the runtime calls ADD or DEL again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from weft.cni.network import PluggedNetwork
from weft.cni.protocol import CniError, Code, Request, result
from weft.cni.records import Record, Records
from weft.model.net import EndpointId
from weft.model.objects import LocalEndpoint, LocalPod, NamespacedName
from weft.runtime.ipam import AddressesExhausted, AddressPool, AddressTaken

log = logging.getLogger("weft.cni")


@dataclass(slots=True)
class _Sandbox:
    """A container id's network. ``endpoint`` is None until it is plugged in."""

    record: Record
    endpoint: LocalEndpoint | None = None


class KubeletPods:
    """Use from one event loop. ``local`` is what the world's source asks for: a pod's newest sandbox counts, so that
    the DEL of its former one takes nothing away from it."""

    def __init__(
        self,
        run_dir: Path,
        pool: AddressPool,
        network: PluggedNetwork,
        known: Callable[[NamespacedName, str], Awaitable[bool]],
        commit: Callable[[NamespacedName], Awaitable[None]],
    ) -> None:
        """``known`` waits a while for the API server's word of a pod with this uid; ``commit`` puts what ``local`` says
        of a pod in force, or raises."""
        self.local: dict[NamespacedName, LocalPod] = {}
        self.requests: Counter[tuple[str, int]] = Counter()
        """How often each command ended with each code (0: done), since the agent began."""
        self._records = Records(run_dir / "cni")
        self._pool, self._network, self._known, self._commit = pool, network, known, commit
        self._sandboxes: dict[str, _Sandbox] = {}
        self._last_endpoint = 0
        self._busy: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def recover(self) -> None:
        """What an earlier agent left: whole ones are in ``local`` with their addresses claimed, the others gone. Call
        once, before anything else."""
        for container, record in self._records.read():
            if record is None:
                log.warning("the record of container %s cannot be read: its network is removed", container)
                await self._network.unplug(container)
                self._records.remove(container)
                continue
            self._last_endpoint = max(self._last_endpoint, record.endpoint)
            endpoint = self._network.find_plugged(container, record.ips, record.endpoint)
            self._sandboxes[container] = _Sandbox(record, endpoint)
            if endpoint is None:
                await self._remove(container)
                continue
            try:
                self._pool.claim(container, record.ips)
            except AddressTaken as error:
                log.warning("pod %s keeps an address that this node does not give: %s", record.key, error)
        for key in {sandbox.record.key for sandbox in self._sandboxes.values()}:
            self._show(key)

    # ---- the verbs --------------------------------------------------------------------------------------------------

    async def add(self, request: Request, netns: int) -> dict[str, Any]:
        """Connects a container's namespace (a descriptor); returns the specification's result. May be repeated.

        Errors: CniError; nothing is left behind then, nor when it is cancelled."""
        key, uid = request.pod()
        container = request.container
        async with self._lock(container):
            there = self._sandboxes.get(container)
            if there and (there.record.key, there.record.uid, there.record.ifname) != (key, uid, request.ifname):
                raise CniError(
                    Code.INVALID_ENVIRONMENT,
                    f"CNI_CONTAINERID {container}: is connected by {there.record.ifname} for pod {there.record.key} "
                    f"({there.record.uid}); a pod has one interface of weft",
                )
            if there and await self._is_whole(there, netns):
                return self._result(request, there)
            await self._remove(container)
            if not await self._known(key, uid):
                raise CniError(Code.TRY_AGAIN, f"pod {key} ({uid}): the API server has not told of it yet")
            work = asyncio.ensure_future(self._connect(request, key, uid, netns))
            try:
                return self._result(request, await asyncio.shield(work))
            except BaseException:
                await asyncio.wait([work])  # half of it may be in a thread: nothing is removed under its hands
                await self._remove(container)
                raise

    async def delete(self, container: str, ifname: str) -> None:
        """A container that is not there is not an error. Errors: CniError, if its device does not go."""
        async with self._lock(container):
            sandbox = self._sandboxes.get(container)
            if sandbox and sandbox.record.ifname == ifname:
                await self._remove(container)

    async def check(self, request: Request, netns: int) -> None:
        """Errors: CniError that says what is not as ``add`` left it."""
        async with self._lock(request.container):
            sandbox = self._sandboxes.get(request.container)
            if sandbox is None or sandbox.record.ifname != request.ifname:
                raise CniError(
                    Code.UNKNOWN_CONTAINER, f"container {request.container}: has no {request.ifname} from this node"
                )
            if difference := request.unexpected_addresses(sandbox.record.ips):
                raise CniError(Code.NOT_AS_EXPECTED, f"prevResult: {difference}")
            try:
                await self._network.check_plugged(request.container, netns, request.ifname, sandbox.record.ips)
            except Exception as error:
                raise CniError(Code.NOT_AS_EXPECTED, f"pod {sandbox.record.key}: {error}") from error

    async def collect(self, valid: set[tuple[str, str]]) -> None:
        """GC: everything but these (container, interface) goes. Errors: CniError, after all was tried."""
        stale = [
            (container, sandbox.record.ifname)
            for container, sandbox in self._sandboxes.items()
            if (container, sandbox.record.ifname) not in valid
        ]
        ended = await asyncio.gather(*(self.delete(*one) for one in stale), return_exceptions=True)
        if failures := [str(one) for one in ended if isinstance(one, BaseException)]:
            raise CniError(Code.NETWORK, "; ".join(failures))

    async def delete_noted(self, folder: Path) -> None:
        """Finishes the DELs that came while there was no agent (weft.cni.records.notes_folder)."""
        by_note = {f"{container}.{one.record.ifname}": container for container, one in self._sandboxes.items()}
        for note in sorted(folder.iterdir()) if folder.is_dir() else ():
            container = by_note.get(note.name)
            try:
                if container:
                    await self.delete(container, self._sandboxes[container].record.ifname)
                note.unlink(missing_ok=True)
            except (CniError, OSError) as error:
                log.error("what %s asks for is not done: %s", note, error)

    # ---- inside -----------------------------------------------------------------------------------------------------

    async def _connect(self, request: Request, key: NamespacedName, uid: str, netns: int) -> _Sandbox:
        container = request.container
        try:
            addresses = self._pool.allocate(container)
        except AddressesExhausted as error:
            raise CniError(Code.TRY_AGAIN, f"no address for pod {key} in this node's podCIDRs: {error}") from error
        self._last_endpoint += 1
        record = Record(
            container,
            request.ifname,
            key.namespace,
            key.name,
            uid,
            tuple(map(str, addresses)),
            EndpointId(self._last_endpoint),
        )
        self._sandboxes[container] = sandbox = _Sandbox(record)
        try:
            self._records.write(record)
            sandbox.endpoint = await self._network.plug(container, netns, request.ifname, addresses, record.endpoint)
            self._show(key)
            await self._commit(key)
            await self._network.up(container)
        except Exception as error:
            raise CniError(Code.NETWORK, f"pod {key}: {error}") from error
        return sandbox

    async def _remove(self, container: str) -> None:
        """Every trace of a container. Errors: CniError; its record stays then, so that it can be tried again."""
        sandbox = self._sandboxes.get(container)
        if sandbox is None:
            return
        key = sandbox.record.key
        try:
            await self._network.unplug(container)
        except Exception as error:
            raise CniError(Code.NETWORK, f"pod {key}: {error}") from error
        before = self.local.get(key)
        del self._sandboxes[container]
        self._show(key)
        try:
            if self.local.get(key) != before:
                await self._commit(key)
        except Exception as error:  # the pod is gone all the same
            log.error("pod %s is gone, but the plan without it is not in force: %s", key, error)
        finally:  # also when the caller is
            self._pool.release(container)
            self._records.remove(container)

    async def _is_whole(self, sandbox: _Sandbox, netns: int) -> bool:
        record = sandbox.record
        try:
            await self._network.check_plugged(record.container, netns, record.ifname, record.ips)
        except Exception as error:
            log.warning("pod %s is connected anew: %s", record.key, error)
            return False
        return sandbox.endpoint is not None

    def _show(self, key: NamespacedName) -> None:
        """``local`` has the newest of a pod's sandboxes."""
        mine = [one for one in self._sandboxes.values() if one.record.key == key and one.endpoint]
        newest = max(mine, key=lambda one: one.record.endpoint, default=None)
        if newest and newest.endpoint:
            self.local[key] = LocalPod(newest.record.uid, newest.record.ips, newest.endpoint)
        else:
            self.local.pop(key, None)

    def _result(self, request: Request, sandbox: _Sandbox) -> dict[str, Any]:
        addresses = [(address, self._network.gateway(address)) for address in sandbox.record.ips]
        host = self._network.device(request.container)
        assert sandbox.endpoint
        return result(request, host, sandbox.endpoint.mac, self._network.mtu, addresses)

    def _lock(self, container: str) -> asyncio.Lock:
        return self._busy.setdefault(container, asyncio.Lock())
