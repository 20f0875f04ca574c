"""Maps of the plan without room: the whole new plan is refused. If the kernel fails in the middle of a plan, it is kept
in mind and tried again. What was in force stays so."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from tests.faults.scene import POLICY, PORT, Scene, scene
from tests.lab import Lab, until
from tests.lab.traces import node_pins, pinned_map
from tests.services.manifests import endpoint_slice, service
from weft.api.client import AgentError
from weft.datapath.errors import DatapathError
from weft.datapath.maps import Map

SIZE = 256
"""The least that the agent takes."""
EDITED = POLICY.replace("app: friend", "app: stranger")


@contextmanager
def small(name: str) -> Iterator[Lab]:
    """A node whose map ``name`` has ``SIZE`` entries."""
    with Lab(agent_options=("--map-size", f"{name}={SIZE}")) as lab:
        assert {row["name"]: row["max"] for row in lab.status()["maps"]}[name] == SIZE
        yield lab


def many_ports() -> str:
    """Every second port: no two of them are one prefix, so each is an entry of its own."""
    ports = [f'{{port: "{number}", protocol: TCP}}' for number in range(1, 2 * SIZE, 2)]
    return EDITED.replace('{port: "8080", protocol: ANY}', ", ".join(['{port: "8080", protocol: ANY}', *ports]))


def many_cidrs() -> str:
    cidrs = [f"203.0.{number // 256}.{number % 256}/32" for number in range(SIZE)]
    return EDITED.replace("  ingress:", f"  ingress:\n  - fromCIDR: [{', '.join(cidrs)}]")


def many_services() -> str:
    ports = [(f"p{number}", number + 1, 8080, "TCP") for number in range(SIZE)]
    return EDITED + "---\n" + json.dumps(service("many", *ports))


def many_backends() -> str:
    addresses = [f"203.0.113.{number}" for number in range(SIZE)]
    slices = [endpoint_slice("far", 4, 8080, *addresses) | {"metadata": _named(f"far-{n}")} for n in range(2)]
    slices[1]["endpoints"] = [{"addresses": [address.replace("113", "112")]} for address in addresses]
    made = [service("far", ("http", 80, 8080, "TCP"), app=None), *slices]
    return "\n---\n".join([EDITED, *map(json.dumps, made)])


def _named(name: str) -> dict[str, object]:
    return {"name": name, "labels": {"kubernetes.io/service-name": "far"}}


def unchanged(pods: Scene) -> None:
    """What ``scene`` put in force."""
    assert pods.friend.probe("tcp", pods.server.v4, PORT).outcome == "open"
    assert pods.friend.probe("tcp", pods.service, 80).outcome == "open"
    assert pods.stranger.probe("tcp", pods.server.v4, PORT).outcome == "timeout"


@pytest.mark.parametrize(
    ("name", "too_much"),
    [("policy", many_ports), ("ipcache", many_cidrs), ("services", many_services), ("backends", many_backends)],
)
def test_a_plan_that_does_not_fit_is_refused_whole(name: str, too_much: Callable[[], str]) -> None:
    """The edit of the server's policy, which would fit, is part of it and does not come into force either."""
    with small(name) as lab:
        pods = scene(lab)
        held = pods.friend.hold(pods.server.v4, PORT, 5)
        before, objects = lab.status(), lab.get("cnp", "server", "default")
        said = lab.weft("apply", "-f", "-", ok=False, stdin=too_much())
        assert said.startswith(f"error: nothing was applied: map {name}: the change needs "), said
        assert f"it has room for {SIZE - (name in ('policy', 'ipcache'))}" in said
        assert f"start the agent with --map-size {name}=" in said and "Traceback" not in said
        after = lab.status()
        assert after["source"].split(",")[0] == before["source"].split(",")[0]  # pods write their status meanwhile
        assert after["services"]["ports"] == before["services"]["ports"]
        for part in ("policy", "problems"):
            assert after[part] == before[part], part
        assert lab.get("cnp", "server", "default") == objects
        unchanged(pods)
        lab.kill_agent()
        lab.start_agent()
        unchanged(pods)
        assert held.stop().outcome == "held"
        lab.apply(EDITED)
        assert pods.stranger.probe("tcp", pods.server.v4, PORT).outcome == "open"


@contextmanager
def filled_from_outside(lab: Lab) -> Iterator[None]:
    """The policy trie without room for one entry more, which the agent cannot know of: its next write fails. While no
    pod changes: the agent then takes away what it does not know."""
    until(lambda: lab.status()["pods"]["ready"] == 4, "the scene's pods and the DNS are ready", 60)
    table = Map.pinned(pinned_map(lab.name, "policy"))
    value, ours = next(value for _, value in table.items()), []
    try:
        with pytest.raises(DatapathError) as full:
            for number in range(2 * SIZE):
                key = (32).to_bytes(4, "little") + (0xFFFF0000 + number).to_bytes(4, "big")
                key = key.ljust(table.key_size, b"\0")
                table.update(key, value)
                ours.append(key)
        assert full.value.errno == errno.ENOSPC
        yield
        for key in ours:
            table.delete(key)
    finally:
        table.close()


def test_a_write_that_fails_is_not_forgotten() -> None:
    with small("policy") as lab:
        pods = scene(lab)
        held = pods.friend.hold(pods.server.v4, PORT, 5)
        assert lab.weft("status").count("PROBLEM") == 0
        with filled_from_outside(lab):
            said = lab.weft("apply", "-f", "-", ok=False, stdin=EDITED)
            assert said.startswith("error: stored, but the last good plan is in force, not the newest: "), said
            assert "policy: ENOSPC" in said and "tried again" in said
            unchanged(pods)
            status = lab.weft("status", ok=False)
            (problem,) = [line for line in status.splitlines() if line.startswith("PROBLEM")]
            assert "map policy: " in problem  # by now it may have been tried again, and the room counted
            assert len(json.loads(lab.weft("status", "-o", "json", ok=False))["problems"]) == 1
            with suppress(AgentError):  # what comes meanwhile may be refused, and does not hide the one before
                lab.apply(POLICY.replace("name: server", "name: another").replace("app: server", "app: nobody"))
            unchanged(pods)
            assert held.stop().outcome == "held"
        until(lambda: not lab.status()["problems"], "the plan is in force", 60)
        assert pods.stranger.probe("tcp", pods.server.v4, PORT).outcome == "open"
        assert pods.friend.probe("tcp", pods.server.v4, PORT).outcome == "timeout"
        lab.weft("status")


def test_a_failed_write_is_made_good_by_the_next_agent() -> None:
    """It is the store that remembers: not even the agent need live on."""
    with small("policy") as lab:
        pods = scene(lab)
        with filled_from_outside(lab):
            lab.weft("apply", "-f", "-", ok=False, stdin=EDITED)
            lab.kill_agent()
            unchanged(pods)
        lab.start_agent()
        assert pods.stranger.probe("tcp", pods.server.v4, PORT).outcome == "open"
        assert lab.status()["problems"] == []


def test_an_agent_whose_maps_are_too_small_for_what_is_in_force_does_not_start() -> None:
    """Maps of other sizes are new and empty: the earlier ones go only when these hold everything."""
    with Lab() as lab:
        pods = scene(lab)
        lab.apply(many_ports().replace("app: stranger", "app: friend"))
        held, idle = (pods.friend.hold(pods.server.v4, PORT, interval) for interval in (5, 0))
        lab.kill_agent()
        before, usual = pins(lab), lab.agent_options
        lab.agent_options = (*usual, "--map-size", f"policy={SIZE}", "--map-size", f"ipcache={4 * SIZE}")
        for _ in range(2):
            lab.launch_agent()
            assert lab.wait_agent() == 1
            said = lab.log.read_text().splitlines()[-1]
            assert said.startswith("weft agent: the earlier maps stay in force: map policy: the change needs "), said
            assert f"it has room for {SIZE - 1}" in said
            assert pins(lab) == before
            unchanged(pods)
        needed = int(said.partition("--map-size policy=")[2].partition(" ")[0])
        assert SIZE < needed < 2 * SIZE
        lab.agent_options = (*usual, "--map-size", f"policy={needed}")
        lab.start_agent()
        assert lab.status()["problems"] == []
        assert {row["name"]: row["max"] for row in lab.status()["maps"]}["policy"] == needed
        unchanged(pods)
        assert [each.stop().outcome for each in (held, idle)] == ["held", "held"]
        lab.kill_agent()
        lab.agent_options = usual
        lab.start_agent()
        lab.apply(EDITED)
        assert pods.stranger.probe("tcp", pods.server.v4, PORT).outcome == "open"


def pins(lab: Lab) -> set[str]:
    return {str(path) for folder in node_pins(lab.name) for path in folder.rglob("*") if path.parent.name != "links"}
