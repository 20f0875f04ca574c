"""A store that several nodes share: this node's own object in it, what others write, and who leads.

docs/decisions/0010-shared-store.md.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path

from weft.datapath.node import uplink_addresses
from weft.model.objects import NodeConfig
from weft.model.origin import NOWHERE
from weft.sources.decode import decode
from weft.sources.objects import Document, Json, Key
from weft.sources.registry import NODE
from weft.sources.store import Store
from weft.sources.world import ZONE_LABEL

FOLLOW_SECONDS = 0.05
LEAD_SECONDS = 1.0


def introduce(store: Store, config: NodeConfig) -> None:
    """Say in the store who this node is and how it is reached. Errors: StoreError, ManifestErrors."""
    labels = {ZONE_LABEL: config.zone} if config.zone else {}
    manifest: Json = {
        "apiVersion": "v1",
        "kind": NODE,
        "metadata": {"name": config.name, "labels": labels},
        "spec": {"podCIDRs": [str(cidr) for cidr in config.pod_cidrs]},
    }
    resource, _ = decode(Document(NOWHERE, manifest))
    store.apply([resource])
    addresses = [{"type": "InternalIP", "address": str(address)} for address in uplink_addresses()]
    store.set_status({Key(NODE, "", config.name): {"addresses": addresses}})


async def follow(store: Store) -> None:
    """For ever: what other nodes' agents write is in force here a moment later."""
    while True:
        await asyncio.sleep(FOLLOW_SECONDS)
        store.refresh()


async def lead(file: Path) -> int:
    """Wait until no other agent leads; we do until the returned descriptor is closed, at our end at the latest."""
    lock = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(LEAD_SECONDS)
        else:
            return lock
