"""Readiness of the node's pods, by probes, with the thresholds of Kubernetes' kubelet (pkg/kubelet/prober)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from weft.model.kinds.core import Container, Pod, Probe
from weft.model.net import IPAddress
from weft.model.objects import NamespacedName
from weft.runtime.errors import PodError
from weft.runtime.probe import probe_once
from weft.runtime.state import ContainerState, PodState

_NOT_RUNNING_PERIOD = 0.1
"""Seconds between looks at a container that does not run yet: its first probe comes soon after its start."""


@dataclass(slots=True)
class _Verdict:
    """Of one container: ready or not, and how many equal results in a row speak against that."""

    ready: bool = False
    against: int = 0
    why: str = "not probed yet"
    process: datetime | None = None
    """Start of the process that was judged; another one starts from nothing."""


class Readiness:
    """One task for each container that has a probe. A container without one is ready as soon as it runs.

    ``status`` and ``exec_argv`` are PodRuntime's; ``on_change`` is called when a container's readiness changes.
    """

    def __init__(
        self,
        status: Callable[[NamespacedName], PodState],
        exec_argv: Callable[[NamespacedName, str], list[str]],
        on_change: Callable[[NamespacedName], None],
    ) -> None:
        self._status, self._exec_argv, self._on_change = status, exec_argv, on_change
        self._verdicts: dict[tuple[NamespacedName, str], _Verdict] = {}
        self._tasks: dict[NamespacedName, list[asyncio.Task[None]]] = {}

    def restore(self, key: NamespacedName, ready: Iterable[str]) -> None:
        """Before ``begin``, for a pod that an earlier agent left running: containers that were ready stay so until
        their probe says otherwise, so an agent's restart takes no backend away."""
        for name in ready:
            self._verdicts[key, name] = _Verdict(ready=True, why="")

    def begin(self, key: NamespacedName, pod: Pod, addresses: tuple[IPAddress, ...]) -> None:
        """Probe the pod's containers from now on."""
        self._stop(key)
        loop = asyncio.get_running_loop()
        tasks = []
        for container in pod.spec.containers:
            if container.readiness_probe is not None:
                verdict = self._verdicts.setdefault((key, container.name), _Verdict())
                work = self._probe(key, container, container.readiness_probe, addresses[0], verdict)
                tasks.append(loop.create_task(work))
        self._tasks[key] = tasks

    def end(self, key: NamespacedName) -> None:
        """The pod goes; unknown is not an error."""
        self._stop(key)
        for known in [each for each in self._verdicts if each[0] == key]:
            del self._verdicts[known]

    def is_ready(self, key: NamespacedName, container: str, pod: Pod) -> bool:
        """What the probe says of a running container; without a probe always true."""
        if any(one.name == container and one.readiness_probe is not None for one in pod.spec.containers):
            verdict = self._verdicts.get((key, container))
            return verdict is not None and verdict.ready
        return True

    def why(self, key: NamespacedName, container: str) -> str:
        """What the last failed probe said; empty if ready or not probed."""
        verdict = self._verdicts.get((key, container))
        return verdict.why if verdict and not verdict.ready else ""

    def close(self) -> None:
        for key in tuple(self._tasks):
            self._stop(key)

    def _stop(self, key: NamespacedName) -> None:
        for task in self._tasks.pop(key, ()):
            task.cancel()

    async def _probe(
        self, key: NamespacedName, container: Container, probe: Probe, address: IPAddress, verdict: _Verdict
    ) -> None:
        clock = asyncio.get_running_loop().time
        running_since: float | None = None
        while True:
            began = clock()
            state = self._container(key, container.name)
            if state is None or state.state != "Running":
                running_since = None
                self._judge(key, verdict, probe, "the container is not running", at_once=True)
                await asyncio.sleep(_NOT_RUNNING_PERIOD)
                continue
            if verdict.process not in (None, state.started):
                self._judge(key, verdict, probe, "the container was started again", at_once=True)
                running_since = began
            verdict.process = state.started
            running_since = began if running_since is None else running_since
            wait = running_since + probe.initial_delay_seconds - began
            if wait > 0 and not verdict.ready:
                await asyncio.sleep(wait)
                continue
            argv = self._exec_argv(key, container.name)
            self._judge(key, verdict, probe, await probe_once(probe, container, address, argv))
            await asyncio.sleep(max(0.0, began + probe.period_seconds - clock()))

    def _container(self, key: NamespacedName, name: str) -> ContainerState | None:
        try:
            return next(one for one in self._status(key).containers if one.name == name)
        except PodError:
            return None

    def _judge(self, key: NamespacedName, verdict: _Verdict, probe: Probe, failure: str, at_once: bool = False) -> None:
        """Takes a result in; enough of them in a row turn the verdict."""
        verdict.why = failure or verdict.why
        if bool(failure) != verdict.ready:
            verdict.against = 0
            return
        verdict.against += 1
        threshold = probe.failure_threshold if verdict.ready else probe.success_threshold
        if at_once or verdict.against >= threshold:
            verdict.ready, verdict.against = not verdict.ready, 0
            self._on_change(key)
