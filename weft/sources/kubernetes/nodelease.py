"""What each node says of itself, where everybody who may read Leases finds it: one Lease for each agent.

Its renewTime says when the agent was last heard, its annotation what it said. It belongs to the agent's pod, and goes
with it.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from weft.sources.kubernetes.api import MERGE_PATCH, Api, ApiError

log = logging.getLogger("weft.kubernetes")

ANNOTATION, LABEL = "weft.io/status", "weft.io/node"
RENEW_SECONDS = 20.0
DURATION_SECONDS = 60
"""After so long without a word an agent counts as gone."""


class Owner(NamedTuple):
    """A pod."""

    name: str
    uid: str


class NodeLease:
    """``summary``: what the node says, as plain data without secrets."""

    def __init__(self, api: Api, node: str, owner: Owner | None, summary: Callable[[], Mapping[str, Any]]) -> None:
        self._api, self._node, self._owner, self._summary = api, node, owner, summary
        self._folder = f"/apis/coordination.k8s.io/v1/namespaces/{api.namespace}/leases"

    async def run(self) -> None:
        """For ever."""
        failed = False
        while True:
            try:
                await self._renew()
                failed = False
            except ApiError as error:
                if not failed and not self._api.problem:
                    log.warning("lease of this node: %s", error)
                failed = True
            await self._api.pause(RENEW_SECONDS * random.uniform(0.8, 1.2))

    async def _renew(self) -> None:
        name, body = f"weft-node-{self._node}", self._body()
        try:
            await self._api.send("PATCH", f"{self._folder}/{name}", body, MERGE_PATCH)
        except ApiError as error:
            if error.code != 404:
                raise
            await self._api.send("POST", self._folder, body)

    def _body(self) -> Any:
        metadata: dict[str, Any] = {
            "name": f"weft-node-{self._node}",
            "namespace": self._api.namespace,
            "labels": {LABEL: self._node},
            "annotations": {ANNOTATION: msgspec.json.encode(self._summary()).decode()},
        }
        if self._owner:
            metadata["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", **self._owner._asdict()}]
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": metadata,
            "spec": {
                "holderIdentity": self._node,
                "leaseDurationSeconds": DURATION_SECONDS,
                "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }


class NodeReport(NamedTuple):
    """One Node object, and what its agent said last. ``silent``: seconds since then; None: it never said anything."""

    node: str
    silent: float | None
    summary: Mapping[str, Any]


class _Metadata(msgspec.Struct):
    name: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Spec(msgspec.Struct, rename="camel"):
    renew_time: datetime | None = None


class _Item(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec = msgspec.field(default_factory=_Spec)


class _Items(msgspec.Struct):
    items: list[_Item] | None = None


async def reports(api: Api) -> list[NodeReport]:
    """Of every node of the cluster, by name. Raises ApiError."""
    nodes = msgspec.json.decode(await api.get("/api/v1/nodes"), type=_Items).items or []
    path = f"/apis/coordination.k8s.io/v1/namespaces/{api.namespace}/leases"
    leases = msgspec.json.decode(await api.get(path, {"labelSelector": LABEL}), type=_Items).items or []
    said = {lease.metadata.labels[LABEL]: lease for lease in leases}
    now, found = datetime.now(UTC), []
    for name in sorted(node.metadata.name for node in nodes):
        lease = said.get(name)
        renewed = lease.spec.renew_time if lease else None
        summary = msgspec.json.decode(lease.metadata.annotations.get(ANNOTATION, "{}")) if lease else {}
        found.append(NodeReport(name, (now - renewed).total_seconds() if renewed else None, summary))
    return found
