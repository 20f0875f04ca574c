"""The agent dies at any moment; what it leaves is found and taken up, or taken away whole."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

from tests.runtime.node import Node, pod, shell, until
from tests.runtime.test_pods import KEY, reaches, up
from weft.datapath import netns
from weft.model.objects import NamespacedName
from weft.runtime import shim
from weft.runtime.pods import PodRuntime
from weft.runtime.state import Found


def test_running_pod_is_taken_up(node: Node) -> None:
    pids = []

    async def first_life(runtime: PodRuntime) -> None:
        await up(runtime, pod(["sleep", "infinity"]))
        pids.append((await reaches(runtime, "Running")).pid)

    async def second_life(runtime: PodRuntime) -> None:
        (found,) = await runtime.recover()
        assert (found.found, found.state.key, found.state.uid) == (Found.STARTED, KEY, "uid-1")
        assert found.state.containers[0].pid == pids[0]
        assert found.state.endpoint is not None
        other = await runtime.prepare(NamespacedName("shop", "new"), pod(["true"]), "uid-2")
        assert other.addresses[0] not in found.state.addresses
        assert other.endpoint.id != found.state.endpoint.id
        node.changes.clear()
        await runtime.restart(KEY, "main")
        await until(lambda: KEY in node.changes, "its changes are seen again")
        await runtime.stop(KEY)
        assert not Path(f"/proc/{pids[0]}").exists()

    node.run(first_life)
    assert Path(f"/proc/{pids[0]}").exists()
    node.run(second_life)


def test_prepared_pod_can_be_started_by_the_next_agent(node: Node) -> None:
    async def first_life(runtime: PodRuntime) -> None:
        await runtime.prepare(KEY, pod(["sleep", "infinity"]), "uid-1")

    async def second_life(runtime: PodRuntime) -> None:
        (found,) = await runtime.recover()
        assert found.found is Found.PREPARED
        await runtime.start(KEY)
        await reaches(runtime, "Running")

    node.run(first_life)
    node.run(second_life)


def test_finished_pod_stays_finished(node: Node) -> None:
    async def first_life(runtime: PodRuntime) -> None:
        await up(runtime, shell("exit 4", restartPolicy="Never"))

    async def second_life(runtime: PodRuntime) -> None:
        await runtime.recover()
        await reaches(runtime, "Terminated", "Error")

    async def third_life(runtime: PodRuntime) -> None:
        (found,) = await runtime.recover()
        assert (found.found, found.state.phase) == (Found.FINISHED, "Failed")
        assert found.state.containers[0].exit_code == 4

    for life in (first_life, second_life, third_life):
        node.run(life)


def test_after_a_reboot(node: Node) -> None:
    """Directories may outlive a reboot; processes and namespaces do not, and their numbers are others' by then."""

    async def first_life(runtime: PodRuntime) -> None:
        await up(runtime, pod(["sleep", "infinity"]))
        await reaches(runtime, "Running")

    async def second_life(runtime: PodRuntime) -> None:
        (found,) = await runtime.recover()
        assert (found.found, found.state.endpoint) == (Found.BROKEN, None)
        assert found.state.containers[0].pid == 0
        await runtime.remove(KEY)
        assert runtime.pods() == []
        await up(runtime, pod(["sleep", "infinity"]))
        await reaches(runtime, "Running")

    node.run(first_life)
    folder = node.paths.run_dir / "pods" / "shop_web" / "containers" / "main"
    status = (folder / "status").read_text()
    (node.paths.cgroup / "shop_web" / "cgroup.kill").write_text("1")
    while shim.is_alive(folder):
        pass
    netns.unmount(node.paths.netns("shop_web"))
    subprocess.run(["ip", "-n", node.name, "link", "del", "type", "veth"], check=False, capture_output=True)
    (folder / "status").write_text(status.replace("shim=", "shim=1\nformer="))
    node.run(second_life)


def test_a_pod_of_which_only_the_record_was_written(node: Node) -> None:
    """Its folder is made piece by piece, and goes piece by piece: a death may leave no more than pod.json."""

    async def first_life(runtime: PodRuntime) -> None:
        await runtime.prepare(KEY, pod(["sleep", "infinity"]), "uid-1")
        await runtime.stop(KEY, grace=0)

    async def second_life(runtime: PodRuntime) -> None:
        (found,) = await runtime.recover()
        assert (found.found, found.state.key) == (Found.BROKEN, KEY)
        await runtime.remove(KEY)
        _nothing_left(node)
        await up(runtime, pod(["sleep", "infinity"]))
        await reaches(runtime, "Running")

    node.run(first_life)
    for folder in (node.paths.run_dir / "pods").iterdir():
        for child in ("containers", "etc"):
            shutil.rmtree(folder / child)
    node.run(second_life)


def test_killed_supervisor_is_replaced(node: Node) -> None:
    async def scene(runtime: PodRuntime) -> None:
        await up(runtime, pod(["sleep", "infinity"]))
        first = await reaches(runtime, "Running")
        parent = int(Path(f"/proc/{first.pid}/stat").read_text().rpartition(")")[2].split()[1])
        subprocess.run(["kill", "-9", str(parent)], check=True)
        await until(lambda: runtime.status(KEY).containers[0].restarts == 1, "another one has taken over")
        second = await reaches(runtime, "Running")
        assert second.pid != first.pid
        await until(lambda: not Path(f"/proc/{first.pid}").exists(), "the old container is gone")
        await runtime.stop(KEY, grace=0)

    node.run(scene)


def _live_once(node: Node, seconds: float) -> list[list[str]]:
    """An agent's life; it is killed after a while. What it said."""
    paths = {name: str(getattr(node.paths, name)) for name in ("run_dir", "cgroup", "shim")}
    command = [sys.executable, "-m", "tests.runtime.victim", json.dumps({"name": node.name, **paths})]
    victim = subprocess.Popen(["nsenter", f"--net=/run/netns/{node.name}", *command], stdout=subprocess.PIPE, text=True)
    try:
        assert victim.stdout is not None
        said = [victim.stdout.readline().split()]
        try:
            victim.wait(seconds)
        except subprocess.TimeoutExpired:
            victim.kill()
        return said + [line.split() for line in victim.stdout.read().splitlines()]
    finally:
        victim.kill()
        victim.wait()
        assert victim.stdout is not None
        victim.stdout.close()


def test_killed_at_random_moments(node: Node) -> None:
    """Whatever was started runs and is found; everything else can be removed without a trace."""
    chance = random.Random(7)
    kinds = set()

    for _ in range(8):
        said = _live_once(node, chance.uniform(0.0, 0.25))
        started = {name for word, name in said if word == "started"} - {
            name for word, name in said if word == "removing"
        }

        async def next_life(runtime: PodRuntime, started: set[str] = started) -> None:
            recovered = {one.state.key.name: one for one in await runtime.recover()}
            kinds.update(one.found for one in recovered.values())
            for name in started:
                # Told to start by one who died before its supervisor had said that it heard: nobody need tell it again.
                assert recovered[name].found in (Found.STARTED, Found.PREPARED), name
                assert recovered[name].state.endpoint is not None
                await reaches(runtime, "Running", key=recovered[name].state.key)
            for name, one in recovered.items():
                if one.found is Found.PREPARED and name not in started:
                    await runtime.start(NamespacedName("shop", name))
                    await reaches(runtime, "Running", key=one.state.key)
            for one in recovered.values():
                await runtime.remove(one.state.key)
            _nothing_left(node)

        node.run(next_life)
    assert Found.STARTED in kinds


def _nothing_left(node: Node) -> None:
    assert not list((node.paths.run_dir / "pods").iterdir())
    assert not list((node.paths.run_dir / "netns").iterdir())
    assert not [entry for entry in node.paths.cgroup.iterdir() if entry.is_dir()]
    links = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True).stdout
    assert "wf" not in links, links
