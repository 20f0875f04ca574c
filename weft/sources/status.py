"""Status sub-documents as Kubernetes spells them (core/v1 PodStatus, apps/v1 DeploymentStatus). Pure.

Whoever runs the pods fills them in with these; ``world`` and ``table`` read them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from weft.model.net import IPAddress
from weft.sources.objects import Json, Stored
from weft.sources.world import is_ready


@dataclass(frozen=True, slots=True)
class ContainerStatus:
    """``started`` None: not running, for ``reason`` (``CrashLoopBackOff``, ``Completed``, ``Error``, ...)."""

    name: str
    ready: bool = False
    restarts: int = 0
    started: datetime | None = None
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    """Of the last end, if the container has ended for good."""


def pod_status(
    phase: str, addresses: Sequence[IPAddress], containers: Sequence[ContainerStatus], host: IPAddress | None = None
) -> Json:
    """``phase``: Pending, Running, Succeeded or Failed. The pod is ready when it runs and all its containers are."""
    ready = phase == "Running" and all(container.ready for container in containers)
    status: Json = {
        "phase": phase,
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        "containerStatuses": [_container(container) for container in containers],
    }
    if addresses:
        status |= {"podIP": str(addresses[0]), "podIPs": [{"ip": str(address)} for address in addresses]}
    return status | ({"hostIP": str(host)} if host else {})


def _container(container: ContainerStatus) -> Json:
    return {
        "name": container.name,
        "ready": container.ready,
        "restartCount": container.restarts,
        "state": _state(container),
    }


def _state(container: ContainerStatus) -> Json:
    if container.started is not None:
        return {"running": {"startedAt": timestamp(container.started)}}
    why = {"reason": container.reason} | ({"message": container.message} if container.message else {})
    if container.exit_code is not None:
        return {"terminated": {**why, "exitCode": container.exit_code}}
    return {"waiting": why}


def deployment_status(deployment: Stored, pods: Iterable[Stored], current: frozenset[str]) -> Json:
    """``pods``: the Deployment's own; ``current``: names of those made from its present template."""
    living = [pod for pod in pods if pod.deleting is None]
    ready = sum(is_ready(pod) for pod in living)
    return {
        "observedGeneration": deployment.generation,
        "replicas": len(living),
        "updatedReplicas": sum(pod.key.name in current for pod in living),
        "readyReplicas": ready,
        "availableReplicas": ready,
    }


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC and whole seconds, as Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
