"""The life of a stored pod, with a runtime whose steps fail."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.lab.pods import PAUSE, pod_manifest
from tests.runtime.node import until
from weft.agent import lifecycle
from weft.agent.lifecycle import Pods
from weft.datapath.errors import DatapathError
from weft.model.kinds.core import Pod
from weft.model.net import EndpointId, IPAddress
from weft.model.objects import LocalEndpoint, NamespacedName
from weft.model.origin import NOWHERE
from weft.runtime.errors import PodError
from weft.runtime.pods import Prepared
from weft.runtime.state import ContainerState, PodState
from weft.sources.decode import decode
from weft.sources.objects import Change, Document
from weft.sources.registry import POD
from weft.sources.store import Store

KEY = NamespacedName("default", "web")
ENDPOINT = LocalEndpoint(EndpointId(1), 7, bytes(6))
WAITING = ContainerState("main", "Waiting", "ContainerCreating", "", None, None, None, 0, 0)


class Runtime:
    """Does what ``outcomes`` say, step by step, and notes what it was asked for."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self._outcomes = list(outcomes)
        self.done: list[str] = []
        self.here = False

    def _step(self, name: str) -> None:
        self.done.append(name)
        if self._outcomes and (error := self._outcomes.pop(0)):
            raise error

    async def prepare(self, key: NamespacedName, pod: Pod, uid: str) -> Prepared:
        if self.here:
            raise PodError(f"pod {key}: is here already; remove it first")
        self._step("prepare")
        self.here = True
        return Prepared((), ENDPOINT)

    async def start(self, key: NamespacedName) -> None:
        self._step("start")

    async def stop(self, key: NamespacedName, grace: float | None = None) -> None:
        self.done.append("stop")

    async def remove(self, key: NamespacedName) -> None:
        self.done.append("remove")
        self.here = False

    def status(self, key: NamespacedName) -> PodState:
        addresses: tuple[IPAddress, ...] = ()
        return PodState(key, "uid", "Pending", addresses, ENDPOINT, (WAITING,))

    def exec_argv(self, key: NamespacedName, container: str = "") -> list[str]:
        return []

    def get_ready(self) -> None: ...

    def close(self) -> None: ...


def live(store: Path, runtime: Any, steps: list[str], refusals: list[Exception]) -> list[str]:
    """A pod's whole life; which messages its status had before it was there."""
    seen: list[str] = []

    async def scene() -> None:
        objects = Store(store)
        pods = Pods(objects, runtime)

        def on_changes(changes: Sequence[Change]) -> None:
            pods.on_changes(changes)
            for change in changes:
                status = change.new.status if change.new else {}
                waiting = status["containerStatuses"][0]["state"].get("waiting", {}) if status else {}
                if "message" in waiting:
                    seen.append(f"{waiting['reason']}: {waiting['message']}")
                    assert KEY not in pods.local

        def check(changes: object) -> None:
            if refusals:
                raise refusals.pop(0)

        objects.subscribe(on_changes)
        pods.start(check)
        manifest = pod_manifest(
            "web", PAUSE, namespace="default", labels={}, ports=[], service_account="default", capabilities=[],
            readiness=None, restart="Always",
        )  # fmt: skip
        objects.apply([decode(Document(NOWHERE, manifest))[0]])
        await until(lambda: runtime.done == steps and KEY in pods.local, "it is there")
        objects.delete([one.key for one in objects.objects(POD)])
        await until(lambda: not objects.objects(POD), "it is gone")
        assert KEY not in pods.local and not runtime.here
        await pods.close()
        objects.close()

    asyncio.run(scene())
    return seen


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "RETRY_SECONDS", 0.01)


def test_a_pod_that_does_not_start_is_taken_back_and_made_again(tmp_path: Path) -> None:
    runtime = Runtime(None, DatapathError("bring up wf12345678", 12))
    steps = ["prepare", "start", "remove", "prepare", "start"]
    (problem,) = live(tmp_path / "store", runtime, steps, [])
    assert problem.startswith("FailedCreatePodSandBox: ") and "bring up wf12345678" in problem


def test_a_full_disk_is_no_end(tmp_path: Path) -> None:
    runtime = Runtime(OSError(28, "No space left on device"))
    (problem,) = live(tmp_path / "store", runtime, ["prepare", "remove", "prepare", "start"], [])
    assert "No space left" in problem


def test_a_pod_that_the_maps_have_no_room_for_is_taken_back(tmp_path: Path) -> None:
    runtime = Runtime()
    steps = ["prepare", "remove", "prepare", "start"]
    (problem,) = live(tmp_path / "store", runtime, steps, [DatapathError("endpoints is full", 7)])
    assert "endpoints is full" in problem
