"""An agent that dies at any moment leaves a datapath that says what it said before, or what the new one says."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from tests.datapath.conftest import OPTIONS, SIZES, Node, table
from weft.datapath import bpf, rtnetlink
from weft.datapath.kernel import Datapath, Options
from weft.datapath.netlink import Netlink
from weft.datapath.pod import device_name
from weft.model.desired import Write
from weft.model.net import EndpointId, TableId

READS = (bpf.MAP_LOOKUP, bpf.MAP_LOOKUP_BATCH, bpf.MAP_NEXT_KEY, bpf.OBJ_GET, bpf.OBJ_INFO)


def dies_at(moment: int, work: Callable[[], None]) -> bool:
    """Do ``work`` in a process of its own that is killed with -9 right before its ``moment``-th change of the kernel
    (map, pin, link, test run, netlink request). Returns whether it was killed (else it came to its end)."""
    child = os.fork()
    if child == 0:
        status, changes = 1, itertools.count(1)

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(first: Any, *others: Any, **named: Any) -> Any:
                if first not in READS and next(changes) == moment:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(first, *others, **named)

            return call

        try:
            setattr(bpf, "call", counted(bpf.call))  # noqa: B010
            setattr(Netlink, "request", counted(Netlink.request))  # noqa: B010
            work()
            status = 0
        finally:
            os._exit(status)
    _, result = os.waitpid(child, 0)
    assert os.WIFSIGNALED(result) or os.WEXITSTATUS(result) == 0
    return os.WIFSIGNALED(result)


@pytest.fixture
def guarded(running: Node) -> Node:
    """Pod 13 takes connections from pod 11 and from nobody else."""
    running.apply(Write("policy", table(5, allowed=11)))
    running.pod(11)
    running.pod(12)
    running.pod(13, ingress=5)
    return running


# 1 and 2 (only with tcx) probe for it, the next one starts the expiry; one for each of 8 socket hooks and
# proxy_listen; then weft_host and three pods, with one change each, or two (clsact: qdisc and filter).
@pytest.mark.parametrize(("tcx", "moments"), [(None, (3, 8, 12, 14)), (False, (5, 12, 15))], ids=["tcx", "clsact"])
def test_death_while_an_agent_starts(guarded: Node, tcx: bool | None, moments: tuple[int, ...]) -> None:
    def start() -> None:
        with Datapath.open(guarded.paths, Options(sizes=SIZES, tcx=tcx)) as datapath:
            datapath.read()
            datapath.enforce()

    if tcx is False:
        guarded.detach_all()
        start()
    with guarded.listen(13):
        for moment in moments:
            assert dies_at(moment, start) or not guarded.datapath.tcx
            assert guarded.reaches(11, 13), moment
            assert guarded.refused(12, 13), moment
    assert not dies_at(1 << 30, start)


def test_death_while_another_shape_of_maps_takes_over(guarded: Node) -> None:
    """First the old maps are in force, at the end the new ones; in between no refused connection passes."""
    kernel = guarded.kernel
    held = [Write("policy", dict(kernel.tables[TableId(5)])), Write("ipcache", kernel.ipcache)]

    def start() -> None:
        with Datapath.open(guarded.paths, Options(sizes=SIZES | {"policy": 4096})) as datapath:
            datapath.apply(datapath.read(), [*held, Write("endpoints", kernel.endpoints)])
            datapath.enforce()

    with guarded.listen(13):
        for moment in (9, 20, 4, 10, 16):  # pins, probe, plan, hooks, pods
            assert dies_at(moment, start)
            assert guarded.reaches(11, 13), moment
            assert guarded.refused(12, 13), moment
        assert not dies_at(1 << 30, start)
        assert guarded.reaches(11, 13)
        assert guarded.refused(12, 13)
    assert len([folder for folder in guarded.paths.pin_dir.iterdir() if folder.name.startswith("v")]) == 1


def test_death_while_the_first_agent_starts(running: Node) -> None:
    """Half-made pins are of no use to the next one, which makes its own."""
    running.datapath.close()
    running.detach_all()
    for folder in running.paths.pin_dir.glob("v*"):
        for pin in folder.iterdir():
            pin.unlink()
        folder.rmdir()

    def start() -> None:
        with Datapath.open(running.paths, OPTIONS) as datapath:
            datapath.enforce()

    moments = [moment for moment in (5, 20, 15) if dies_at(moment, start)]
    assert moments == [5, 20, 15]
    running.datapath = Datapath.open(running.paths, OPTIONS)
    running.datapath.enforce()
    running.apply(Write("policy", table(5, allowed=11)))
    assert len(list(running.paths.pin_dir.glob("v*"))) == 1


def test_death_while_a_pod_is_made(running: Node) -> None:
    """Its door is shut at every moment, and the next attempt makes it whole."""

    def make() -> None:
        running.pods.make("default_p11", running.netns(11), (running.v4(11), running.v6(11)), EndpointId(11))

    moment, died = 0, True
    while died:
        moment += 1
        died = dies_at(moment, make)
        with Netlink() as netlink:
            device = rtnetlink.links(netlink).get(device_name("default_p11"))
        assert device is None or not device.up
        assert died or running.link_pin(11).exists() or not running.datapath.tcx
    assert moment > 5
    running.pod(11)
    running.pod(12)
    with running.listen(11):
        assert running.reaches(12, 11)
