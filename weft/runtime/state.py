"""What a pod's containers are doing, taken together. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from weft.model.net import IPAddress
from weft.model.objects import LocalEndpoint, NamespacedName
from weft.runtime.shim import ShimStatus

LOST = "ContainerStatusUnknown"
"""The reason of a container whose supervisor died (kubelet's word for it)."""


@dataclass(frozen=True, slots=True)
class ContainerState:
    """``state`` is Waiting, Running or Terminated; the fields are core/v1 ContainerStatus'."""

    name: str
    state: str
    reason: str
    message: str
    started: datetime | None
    """When the present or last process began."""
    finished: datetime | None
    exit_code: int | None
    """Of the last end; None: it has not ended yet."""
    restarts: int
    pid: int
    """In the node's pid namespace; 0 = none runs."""


@dataclass(frozen=True, slots=True)
class PodState:
    key: NamespacedName
    uid: str
    phase: str
    """Pending, Running, Succeeded or Failed (core/v1 PodPhase)."""
    addresses: tuple[IPAddress, ...]
    endpoint: LocalEndpoint | None
    """None: its network is not there (half made, or the machine was restarted)."""
    containers: tuple[ContainerState, ...]


class Found(Enum):
    """In which state an earlier agent left a pod."""

    PREPARED = "prepared"
    """Complete, and not started: give ``start``."""
    STARTED = "started"
    """It was started and its supervisors live."""
    FINISHED = "finished"
    """It ended by itself, as its restartPolicy has it."""
    BROKEN = "broken"
    """Half made, or its network or a supervisor is gone: ``remove`` it, and prepare it again if it is still wanted."""


@dataclass(frozen=True, slots=True)
class Recovered:
    found: Found
    state: PodState


def container_state(name: str, status: ShimStatus | None, alive: bool) -> ContainerState:
    """``alive``: a supervisor has the container. A dead one that did not say goodbye took its processes with it."""
    said = status or ShimStatus()
    lost = not alive and said.state != "Terminated"
    ended = said.finished is not None
    return ContainerState(
        name=name,
        state="Terminated" if lost and status else said.state,
        reason=LOST if lost and status else said.reason,
        message=said.message,
        started=said.started,
        finished=said.finished,
        exit_code=137 if lost and status else said.exit_code if ended else None,
        restarts=said.restarts,
        pid=0 if lost else said.pid,
    )


def phase(containers: Sequence[ContainerState]) -> str:
    """kubelet's getPhase: what runs or will be started again makes the pod Running."""
    states = {container.state for container in containers}
    if states == {"Terminated"}:
        return "Failed" if any(container.exit_code for container in containers) else "Succeeded"
    if any(container.state == "Waiting" and container.started is None for container in containers):
        return "Pending"
    return "Running"


def found(states: Sequence[ContainerState], statuses: Sequence[ShimStatus | None], network: bool) -> Found:
    """What is to be said of a pod that an earlier agent left."""
    if states and all(state.state == "Terminated" and state.reason != LOST for state in states):
        return Found.FINISHED
    if not states or not network or None in statuses or any(state.reason == LOST for state in states):
        return Found.BROKEN
    if all(status is not None and status.go for status in statuses):
        return Found.STARTED
    return Found.PREPARED
