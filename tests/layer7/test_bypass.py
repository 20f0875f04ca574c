"""What an http rule forbids is never served, whichever way it is asked for and whoever is dead."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.lab import Lab, until
from tests.layer7.scene import EDITS, FORBIDDEN, LISTENERS, POLICY, PUBLIC, THREADS, Held, Load, Place, Scene

JUDGED = {(PUBLIC, "200"), (FORBIDDEN, "403")}
MARKS = (0x200, 0x900, 0xA00, 0xB00, 0xC00, 0xF00, 0x800)
PROXY_PORT_FIRST = 61000


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab() as lab:
        yield Scene(lab)


@pytest.fixture(autouse=True)
def never_served(scene: Scene) -> Iterator[None]:
    """Every test begins with the rule in force, and ends with the forbidden path not served since."""
    scene.lab.apply(POLICY)
    scene.forget()
    yield
    assert scene.unserved()


def test_every_way_in_is_judged(scene: Scene) -> None:
    for place in (scene.client, scene.outside):
        assert scene.verdicts(place) == JUDGED, place.name
    assert scene.served() == {"GET '/public'"}


def test_the_node_itself_is_not_judged(scene: Scene) -> None:
    assert scene.verdicts(scene.node) == {(PUBLIC, "200"), (FORBIDDEN, "200")}
    scene.forget()


def test_connections_opened_before_the_rule_are_cut(scene: Scene) -> None:
    scene.lab.delete("cnp", "server")
    places = (scene.client, scene.outside)
    with (
        Held(scene.client, scene.targets(scene.client)) as of_client,
        Held(scene.outside, scene.targets(scene.outside)) as of_outside,
        Held(scene.node, scene.targets(scene.node)) as of_node,
    ):
        assert {*of_client.first, *of_outside.first, *of_node.first} == {"200"}
        scene.lab.apply(POLICY)
        for held, place in zip((of_client, of_outside), places, strict=True):
            assert set(held.tell(FORBIDDEN)) == {"reset"}, place.name
        assert set(of_node.tell(PUBLIC)) == {"200"}


@pytest.mark.parametrize("keep", [True, False], ids=["keep-alive", "connection per request"])
def test_a_rule_that_is_edited_under_load(scene: Scene, keep: bool) -> None:
    with (
        Load(scene.client, scene.targets(scene.client), keep=keep) as of_client,
        Load(scene.outside, scene.targets(scene.outside), keep=keep) as of_outside,
    ):
        for edit in EDITS:
            scene.lab.apply(edit)
            of_client.served(5)
        for load in (of_client, of_outside):
            counts, longest = load.end()
            assert counts[FORBIDDEN].keys() <= {"403", "reset"}, counts
            assert counts[PUBLIC].keys() <= {"200", "reset"}, counts
            assert longest < 3


def test_a_rule_that_is_added_under_load(scene: Scene) -> None:
    """From the moment that apply returns, not one forbidden request is served, on old connections or new ones."""
    with (
        Load(scene.client, scene.targets(scene.client), keep=True) as kept,
        Load(scene.client, scene.targets(scene.client)) as single,
        Load(scene.outside, scene.targets(scene.outside), keep=True) as of_outside,
    ):
        for _ in range(3):
            scene.lab.delete("cnp", "server")
            for load in (kept, single, of_outside):
                load.served(path=FORBIDDEN)
            scene.lab.apply(POLICY)
            for load in (kept, single, of_outside):
                before = load.counts()[FORBIDDEN]["200"]
                load.served(path=FORBIDDEN, status="403")
                # What was answered before apply returned may be counted after it: one for each thread.
                assert load.counts()[FORBIDDEN]["200"] <= before + THREADS
        scene.forget()
        for load in (kept, single, of_outside):
            load.served()
            counts, longest = load.end()
            assert counts[FORBIDDEN].keys() <= {"200", "403", "reset"}, counts
            assert counts[PUBLIC].keys() <= {"200", "reset"}, counts
            assert longest < 3


def test_nobody_dials_a_listener(scene: Scene) -> None:
    numbers = listening(scene)
    assert numbers
    asked = [(address, number, FORBIDDEN, 0.5) for address in LISTENERS for number in numbers]
    for place in (scene.client, scene.outside, scene.node):
        assert set(place.ask(*asked)) <= {"timeout", "refused", "[Errno 101] Network is unreachable"}, place.name


def test_marks_and_ports_of_envoys_are_nobodys_else(scene: Scene) -> None:
    """A pod that may set marks and bind any port is judged like any other."""
    forged = [{"mark": mark} for mark in MARKS]
    forged += [{"source_port": PROXY_PORT_FIRST + number, "mark": 0xC00} for number in range(4)]
    forged += [{"source_port": PROXY_PORT_FIRST + 100 + number} for number in range(4)]
    asked = [(*target, path, 5, how) for target in scene.by_address for path in (FORBIDDEN, PUBLIC) for how in forged]
    outcomes = scene.client.ask(*asked)
    assert {outcome for question, outcome in zip(asked, outcomes, strict=True) if question[2] == FORBIDDEN} == {"403"}
    listeners = [(address, number, FORBIDDEN, 0.5, how)
                 for address in LISTENERS for number in listening(scene) for how in forged]  # fmt: skip
    assert not {"200", "403"} & set(scene.client.ask(*listeners))
    wanted = {"source_port": PROXY_PORT_FIRST + 200}
    assert scene.outside.ask((*scene.by_address[0], FORBIDDEN, 5, wanted)) == ["403"]


def test_agent_killed(scene: Scene) -> None:
    envoy = scene.envoy
    scene.lab.kill_agent()
    try:
        for place in (scene.client, scene.outside):
            assert scene.verdicts(place) == JUDGED, place.name
    finally:
        scene.lab.start_agent()
    for place in (scene.client, scene.outside):
        assert scene.verdicts(place) == JUDGED, place.name
    assert scene.envoy == envoy


def test_envoy_killed(scene: Scene) -> None:
    for _ in range(3):
        scene.kill_envoy()
        for place in (scene.client, scene.outside):
            got = scene.verdicts(place)
            assert got <= JUDGED | {(path, how) for path in (PUBLIC, FORBIDDEN) for how in ("refused", "reset")}, got
        until(lambda: back(scene, scene.client), "it is served again", 3)


def test_both_killed(scene: Scene) -> None:
    scene.lab.kill_agent()
    try:
        scene.kill_envoy()
        for place in (scene.client, scene.outside):
            assert scene.verdicts(place) == {(PUBLIC, "refused"), (FORBIDDEN, "refused")}, place.name
        assert scene.verdicts(scene.node) == {(PUBLIC, "200"), (FORBIDDEN, "200")}
        scene.forget()
        scene.lab.launch_agent()
        for place in (scene.client, scene.outside):
            until(lambda place=place: back(scene, place), f"{place.name} is served again", 20)  # type: ignore[misc]
    finally:
        until(scene.lab._answers, "the agent answers", 20)


def back(scene: Scene, place: Place) -> bool:
    """Whether all is served as the rule says; never more."""
    got = scene.verdicts(place)
    assert (FORBIDDEN, "200") not in got
    return got == JUDGED


def listening(scene: Scene) -> list[int]:
    """Ports that Envoy listens at."""
    there = f"--net=/run/weft/{scene.lab.name}/netns/envoy"
    said = subprocess.run(["nsenter", there, "ss", "-Hltn"], capture_output=True, text=True, check=True).stdout
    return sorted({int(line.split()[3].rpartition(":")[2]) for line in said.splitlines() if LISTENERS[0] in line})
