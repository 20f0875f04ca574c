"""Who writes: several agents see the same objects, and the one that holds a Lease says what came of them.

The rules are client-go's: a holder renews; another one takes over when it has seen the Lease unchanged for its whole
duration, by its own clock.
"""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import UTC, datetime

import msgspec

from weft.sources.kubernetes.api import Api, ApiError
from weft.sources.objects import Json

log = logging.getLogger("weft.kubernetes")

NAME = "weft-status"
DURATION, RENEW = 30.0, 10.0


class LeaseMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""


class LeaseSpec(msgspec.Struct, rename="camel"):
    holder_identity: str = ""
    renew_time: str = ""
    lease_transitions: int = 0
    acquire_time: str = ""
    lease_duration_seconds: int = 0


class Lease(msgspec.Struct, rename="camel"):
    metadata: LeaseMeta
    spec: LeaseSpec = msgspec.field(default_factory=LeaseSpec)


_DECODER = msgspec.json.Decoder(Lease)


class Leadership:
    """``holder``: this node's name. ``is_held`` is set as long as it leads. Seconds: ``duration``, ``renew``."""

    def __init__(self, api: Api, holder: str, duration: float = DURATION, renew: float = RENEW) -> None:
        self._api, self._holder, self._duration, self._renew = api, holder, duration, renew
        self.is_held = asyncio.Event()
        self._renewed = self._seen_at = 0.0
        self._seen: tuple[str, str] = ("", "")
        """Holder and renewTime, when it last changed."""

    async def run(self) -> None:
        """For ever."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                holds = await self._try(loop.time())
            except (ApiError, msgspec.DecodeError) as error:
                if not isinstance(error, ApiError) or error.code not in (0, 409):
                    log.warning("lease %s/%s: %s", self._api.namespace, NAME, error)
                taken = isinstance(error, ApiError) and error.code == 409
                valid = loop.time() - self._renewed < self._duration - self._renew
                holds = self.is_held.is_set() and valid and not taken
            else:
                self._renewed = loop.time()
            self._set(holds)
            await asyncio.sleep(self._renew * random.uniform(0.8, 1.2))

    async def release(self) -> None:
        """Let another one lead at once."""
        if not self.is_held.is_set():
            return
        self.is_held.clear()
        try:
            lease = _DECODER.decode(await self._api.get(self._path(NAME)))
            if lease.spec.holder_identity == self._holder:
                lease.spec.holder_identity = ""
                await self._write("PUT", lease)
        except (ApiError, msgspec.DecodeError) as error:
            log.warning("lease %s/%s is not given back: %s", self._api.namespace, NAME, error)

    def _set(self, holds: bool) -> None:
        if holds == self.is_held.is_set():
            return
        log.info("this node %s the statuses of policies and routes", "writes" if holds else "no longer writes")
        if holds:
            self.is_held.set()
        else:
            self.is_held.clear()

    async def _try(self, now: float) -> bool:
        """Renew or take over; whether this node holds it."""
        try:
            lease = _DECODER.decode(await self._api.get(self._path(NAME)))
        except ApiError as error:
            if error.code != 404:
                raise
            await self._write("POST", self._mine(Lease(LeaseMeta())))
            return True
        seen = (lease.spec.holder_identity, lease.spec.renew_time)
        if seen != self._seen:
            self._seen, self._seen_at = seen, now
        expired = now - self._seen_at >= (lease.spec.lease_duration_seconds or self._duration)
        if lease.spec.holder_identity not in ("", self._holder) and not expired:
            return False
        await self._write("PUT", self._mine(lease))
        return True

    def _mine(self, lease: Lease) -> Lease:
        spec, now = lease.spec, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        if spec.holder_identity != self._holder:
            spec.holder_identity, spec.acquire_time = self._holder, now
            spec.lease_transitions += 1
        spec.renew_time, spec.lease_duration_seconds = now, max(1, round(self._duration))
        return lease

    async def _write(self, method: str, lease: Lease) -> None:
        version = {"resourceVersion": lease.metadata.resource_version} if lease.metadata.resource_version else {}
        body: Json = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": NAME, "namespace": self._api.namespace, **version},
            "spec": {name: value for name, value in msgspec.to_builtins(lease.spec).items() if value != ""},
        }
        await self._api.send(method, self._path(NAME if method == "PUT" else ""), body)

    def _path(self, name: str) -> str:
        folder = f"/apis/coordination.k8s.io/v1/namespaces/{self._api.namespace}/leases"
        return f"{folder}/{name}" if name else folder
