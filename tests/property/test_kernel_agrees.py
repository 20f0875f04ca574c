"""The loaded BPF program, asked by PROG_TEST_RUN, says what the reference model says: on live maps that go from world
to world by the steps of ``transition``."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from ipaddress import ip_address

import pytest
from hypothesis import given, note, settings

from tests.lab.waiting import volume
from tests.property.worlds import PORTS, addresses, describe, histories
from weft.datapath import netns
from weft.datapath.kernel import Datapath, Options
from weft.datapath.layouts import PolicyQuery
from weft.datapath.node import NodePaths
from weft.datapath.query import Question, ask
from weft.model.desired import Desired
from weft.model.http import HttpMatch, HttpRuleSet
from weft.model.policy import Direction, Rule
from weft.model.verdicts import Verdict
from weft.model.world import World
from weft.plan import Compiled, Compiler, transition
from weft.policy.decide import Side, decide_side
from weft.policy.http import spell_match
from weft.policy.parties import Parties, Party, Place

CASES = volume(200_000)
NOWHERE = tuple(map(ip_address, ("10.0.0.200", "fd00::200", "10.0.1.200", "fd01::200", "10.96.0.5", "fd96::5")))
"""Addresses that no pod has, here and on another node, and service addresses."""
SIZES = {"flows": 64, "endpoints": 64, "policy": 16384, "ipcache": 1024, "services": 16, "backends": 16}


@pytest.fixture(scope="module")
def datapath(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Datapath]:
    """Loaded and pinned, attached to nothing."""
    folder = tmp_path_factory.mktemp("agrees")
    name = f"a{os.getpid()}x{uuid.uuid4().hex[:6]}"
    pins = folder / "bpf"
    pins.mkdir()
    netns.mount("bpf", pins, "bpf")
    try:
        paths = NodePaths(name, folder / "run", folder / "state", pins / "weft" / name, folder / "cgroup")
        with Datapath.open(paths, Options(sizes={**SIZES, "backend_members": 16, "events": 1 << 14})) as opened:
            yield opened
    finally:
        netns.unmount(pins)
        shutil.rmtree(folder, ignore_errors=True)


def test_the_kernel_agrees_with_the_reference_model(datapath: Datapath) -> None:
    asked = 0

    @settings(max_examples=max(volume(250), 100), deadline=None, derandomize=True)
    @given(histories(4))
    def agrees(sequence: list[World]) -> None:
        nonlocal asked
        if asked >= CASES:
            return
        step(datapath, Desired())
        compiler = Compiler()
        for world in sequence:
            compiled = compiler.compile(world)
            step(datapath, compiled.desired)
            wrong, count = disagreements(datapath, world, compiled)
            asked += count
            if wrong:
                note(describe(world))
            assert not wrong, "\n".join(wrong[:5])

    agrees()
    assert asked >= CASES


def step(datapath: Datapath, desired: Desired) -> None:
    kernel = datapath.read()
    datapath.apply(kernel, transition(kernel, desired))
    assert transition(datapath.read(), desired) == ()


def disagreements(datapath: Datapath, world: World, compiled: Compiled) -> tuple[list[str], int]:
    parties = Parties(world)
    local = {pod.key for pod in world.workloads.values() if pod.local}
    everybody = [parties.at(address) for address in (*addresses(world), *NOWHERE)]
    cases = [
        (source, destination, protocol, port)
        for source in everybody
        for destination in everybody
        if len({source.address[:12] == bytes(10) + b"\xff\xff", destination.address[:12] == bytes(10) + b"\xff\xff"})
        == 1
        if (source.key in local or destination.key in local) and source.key != destination.key
        if source.place
        not in (Place.UNASSIGNED, Place.UNKNOWN, Place.SERVICE)  # no packet with such a source gets this far
        for protocol, port in PORTS
    ]
    answers = ask(datapath, [Question(s.address, d.address, protocol, port) for s, d, protocol, port in cases])
    wrong = []
    for (source, destination, protocol, port), answer in zip(cases, answers, strict=True):
        wanted = expected(parties, local, source, destination, protocol, port)
        if said(answer, compiled) != wanted:
            flow = f"{source.name} -> {destination.name} {protocol}/{port}"
            wrong.append(f"{flow}: should be {spell(wanted)}, the kernel says {spell(said(answer, compiled))}")
    return wrong, len(cases)


Requests = tuple[tuple[Rule, HttpMatch], ...] | None
Answer = tuple[Verdict, Rule | None, Rule | None, Requests, Requests]
"""Verdict, egress rule, ingress rule, the requests that either lets pass (None: all)."""


def expected(parties: Parties, local: set, source: Party, destination: Party, protocol: int, port: int) -> Answer:
    """As ``decide``, but a pod of another node is asked there."""
    refusals = {Place.SERVICE: Verdict.IS_A_CLUSTERIP}
    refusals |= dict.fromkeys((Place.UNASSIGNED, Place.UNKNOWN), Verdict.UNKNOWN_TARGET)
    if destination.place in refusals:
        return refusals[destination.place], None, None, None, None
    egress = ingress = None
    sent: Requests = None
    received: Requests = None
    if source.key in local:
        side = decide_side(parties.specs, Direction.EGRESS, source, destination, protocol=protocol, port=port)
        egress, sent = side.rule, side.http
        if not side.allowed:
            return reason(side), egress, None, None, None
    if destination.key in local and source.place is not Place.HOST:
        side = decide_side(parties.specs, Direction.INGRESS, destination, source, protocol=protocol, port=port)
        ingress, received = side.rule, side.http
        if not side.allowed:
            return reason(side), egress, ingress, sent, None
    return Verdict.FORWARDED, egress, ingress, sent, received


def reason(side: Side) -> Verdict:
    return Verdict.POLICY_DENY if side.rule is not None else Verdict.POLICY_DENIED


def said(answer: PolicyQuery, compiled: Compiled) -> Answer:
    egress, ingress = (compiled.rules[rule] if rule else None for rule in (answer.egress_rule, answer.ingress_rule))
    sent, received = (requests_of(number, compiled) for number in (answer.egress_l7, answer.ingress_l7))
    return Verdict(answer.reason), egress, ingress, sent, received


def requests_of(number: int, compiled: Compiled) -> Requests:
    if not number:
        return None
    listener = compiled.desired.listeners[number]
    assert isinstance(listener, HttpRuleSet)
    return tuple((compiled.rules[rule], match) for rule, match in listener.permissions)


def spell(answer: Answer) -> str:
    names = (f"{rule.policy.name}[{rule.index}]" if rule else "no rule" for rule in answer[1:3])
    requests = (", ".join(map(spell_match, (match for _, match in some or ()))) or "all" for some in answer[3:])
    return f"{answer[0].name} by {' and '.join(names)}, requests {' and '.join(requests)}"
