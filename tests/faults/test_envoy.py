"""Envoy, the agent, or both are killed under load: clients learn it at once and are served again; others go on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.lab import Lab, Pod, until
from tests.layer7.scene import EDITS, FORBIDDEN, POLICY, PUBLIC, Load, Place, Scene, is_running
from weft.api.client import AgentError

PLAIN = 9000
AT_ONCE = 2.0
"""Seconds; a connection that hangs would take the client's 10."""


class Stage(Scene):
    """With a further server that no rule of layer 7 is about."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(lab)
        self.plain: Pod = lab.serve("plain", f"tcp:{PLAIN}", labels={"app": "plain"})
        lab.apply(POLICY)

    def load(self, place: Place, keep: bool, paths: tuple[str, ...] = (PUBLIC, FORBIDDEN)) -> Load:
        return Load(place, self.targets(place), paths, keep=keep)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Lab() as lab:
        yield Stage(lab)


@pytest.fixture(autouse=True)
def never_served(stage: Stage) -> Iterator[None]:
    yield
    assert stage.unserved()


def test_envoy_killed_in_a_loop(stage: Stage) -> None:
    busy, idle = stage.pod.hold(stage.plain.v4, PLAIN, 1), stage.pod.hold(stage.plain.v6, PLAIN)
    with stage.load(stage.client, True) as kept, stage.load(stage.outside, False) as single:
        for restarts in range(4):
            kept.served()
            single.served()
            assert stage.lab.status()["envoy"]["restarts"] == restarts
            stage.kill_envoy()
        kept.served(seconds=AT_ONCE)
        single.served(seconds=AT_ONCE)
        for load in (kept, single):
            counts, longest = load.end()
            assert counts[PUBLIC].keys() <= {"200", "reset", "refused", "closed"}, counts
            assert counts[FORBIDDEN].keys() <= {"403", "reset", "refused", "closed"}, counts
            assert longest < AT_ONCE
    for held in (busy, idle):
        assert held.stop().outcome == "held"
    until(lambda: stage.lab.status()["envoy"]["restarts"] == 4, "status counts the restarts")


def test_connections_are_told_and_observe_says_why(stage: Stage) -> None:
    with stage.load(stage.client, True) as kept:
        kept.served()
        before = kept.counts()
        stage.kill_envoy()
        kept.served()
        counts = kept.counts()
        ends = ("reset", "closed")  # a reset if Envoy had not read all, else its kernel closes the socket
        assert sum(counts[path].get(how, 0) - before[path].get(how, 0) for path in counts for how in ends) >= 1, counts

    def told() -> bool:
        dropped = stage.lab.observe(verdict=["DROPPED"], source_pod=["default/client"])
        return any(flow.get("extensions", {}).get("value", {}).get("reason") == "PROXY_GONE" for flow in dropped)

    until(told, "the flow log says why")


def test_agent_killed_in_a_loop(stage: Stage) -> None:
    """Not one request fails, and the new agent has the same Envoy."""
    envoy, listeners = stage.envoy, stage.lab.status()["envoy"]["listeners"]
    edits = itertools.cycle([POLICY.replace("path: /public", "path: /public/?"), POLICY])
    with stage.load(stage.client, True) as kept, stage.load(stage.outside, False) as single:
        for _ in range(2):
            stage.lab.kill_agent()
            kept.served()
            single.served()
            stage.lab.start_agent()
            assert stage.envoy == envoy
            assert stage.lab.status()["envoy"]["listeners"] == listeners
        for load in (kept, single):
            counts, longest = load.end()
            assert counts[PUBLIC].keys() == {"200"} and counts[FORBIDDEN].keys() == {"403"}, counts
            assert longest < AT_ONCE
    slashed = (*stage.by_address[0], PUBLIC + "/")
    for status in ("200", "403"):
        stage.lab.apply(next(edits))
        assert stage.client.ask(slashed, (*stage.by_address[1], FORBIDDEN)) == [status, "403"]
    assert stage.envoy == envoy


def test_both_away_refuse_at_once(stage: Stage) -> None:
    busy = stage.pod.hold(stage.plain.v4, PLAIN, 1)
    with stage.load(stage.client, True) as kept, stage.load(stage.outside, False) as single:
        kept.served()
        stage.lab.kill_agent()
        try:
            stage.kill_envoy()
            for load in (kept, single):
                for path in (PUBLIC, FORBIDDEN):
                    load.served(path=path, status="refused", seconds=AT_ONCE)
        finally:
            stage.lab.start_agent()
        for load in (kept, single):
            load.served()
            counts, longest = load.end()
            assert counts[PUBLIC].keys() <= {"200", "reset", "refused", "closed"}, counts
            assert counts[FORBIDDEN].keys() <= {"403", "reset", "refused", "closed"}, counts
            assert longest < AT_ONCE
    assert busy.stop().outcome == "held"


def test_edits_and_deaths_together(stage: Stage) -> None:
    """Envoy dies while a rule is applied, the agent dies while it applies one, and Envoy right after it."""
    with (
        stage.load(stage.client, True) as kept,
        stage.load(stage.outside, False) as single,
        ThreadPoolExecutor(1) as second,
    ):
        for edit in EDITS[:3]:
            death = second.submit(stage.kill_envoy)
            stage.lab.apply(edit)
            death.result()
            kept.served()
            single.served()
        edited = second.submit(stage.lab.apply, EDITS[3])
        try:
            kept.served(3, FORBIDDEN, "403")
            stage.lab.kill_agent()
            stage.kill_envoy()
        finally:
            stage.lab.start_agent()
        assert isinstance(edited.exception(), AgentError | None), "it was applied, or the agent was not there"
        stage.lab.apply(POLICY)
        for load in (kept, single):
            load.served(seconds=AT_ONCE)
            counts, longest = load.end()
            assert counts[PUBLIC].keys() <= {"200", "reset", "refused", "closed"}, counts
            assert counts[FORBIDDEN].keys() <= {"403", "reset", "refused", "closed"}, counts
            assert longest < AT_ONCE


def test_the_last_rule_goes_and_envoy_goes(stage: Stage) -> None:
    """Clients notice nothing: what Envoy still has it answers, and says that the connection ends."""
    envoy = stage.envoy
    assert envoy
    with stage.load(stage.client, True, (PUBLIC,)) as kept, stage.load(stage.outside, False, (PUBLIC,)) as single:
        stage.lab.delete("cnp", "server")
        until(lambda: not is_running(envoy), "Envoy is gone", 15)
        assert stage.envoy == 0
        for load in (kept, single):
            load.served()
            counts, _ = load.end()
            assert counts[PUBLIC].keys() == {"200"}, counts
    stage.lab.apply(POLICY)
    assert stage.envoy not in (0, envoy)
    assert stage.client.ask((*stage.by_address[0], PUBLIC), (*stage.by_address[0], FORBIDDEN)) == ["200", "403"]
