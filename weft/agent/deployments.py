"""Deployments → Pods, one step after the other, whenever something changed."""

from __future__ import annotations

import asyncio
import logging
import random

from weft.sources.errors import StoreError
from weft.sources.objects import Key
from weft.sources.registry import DEPLOYMENT, POD
from weft.sources.replicas import HASH_LABEL, owned, safe_hash, template_hash, wanted
from weft.sources.status import deployment_status
from weft.sources.store import Store

log = logging.getLogger("weft.deployments")

RETRY_SECONDS = 2.0


class Deployments:
    """``wake`` after each change of the store; ``run`` for ever beside it."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._changed = asyncio.Event()
        self._random = random.SystemRandom()

    def wake(self) -> None:
        self._changed.set()

    async def run(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                for deployment in self._store.objects(DEPLOYMENT):
                    self._step(deployment.key)
            except StoreError as error:
                log.warning("Deployments wait: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                self.wake()

    def _step(self, key: Key) -> None:
        deployment = self._store.get(key)
        pods = self._store.objects(POD, key.namespace)
        step = wanted(deployment, pods, lambda: safe_hash(self._random.randbytes(8), 5))
        if step.create:
            self._store.apply(step.create)
        if step.delete:
            self._store.delete(step.delete)
        mine = owned(deployment, self._store.objects(POD, key.namespace))
        hash_ = template_hash(deployment)
        current = frozenset(pod.key.name for pod in mine if pod.resource.labels.get(HASH_LABEL) == hash_)
        self._store.set_status({key: deployment_status(deployment, mine, current)})
