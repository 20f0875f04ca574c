"""Networks made ahead: shut, nobody's, and gone with whoever made them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest

from tests.datapath.conftest import Node, endpoints
from tests.lab.waiting import until
from weft.datapath import netns, node, rtnetlink, spare
from weft.datapath.errors import DatapathError
from weft.datapath.netlink import Netlink
from weft.datapath.pod import PodDevices, device_name
from weft.datapath.spare import Spare, Spares
from weft.model.desired import Write
from weft.model.net import EndpointId


def devices() -> dict[str, rtnetlink.Link]:
    with Netlink() as netlink:
        return {name: link for name, link in rtnetlink.links(netlink).items() if node.is_spare_device(name)}


def test_a_spare_is_shut_and_nobodys(running: Node) -> None:
    with spare.make(running.datapath, 1500) as made:
        ((_, link),) = devices().items()
        assert link.ifindex == made.ifindex and not link.up
        inside = rtnetlink.links(made.inside)
        assert inside["eth0"].ifindex == made.inner and not inside["eth0"].up
        assert rtnetlink.addresses(made.inside) == []
        assert made.link is not None or not running.datapath.tcx
        assert not [pin for pin in (running.paths.pin_dir / "links").iterdir() if node.is_spare_device(pin.name)]
    until(lambda: not devices(), "it went with its maker's descriptors")


def test_nothing_is_left_when_the_program_cannot_be_attached(running: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: str, ifindex: int) -> int | None:
        raise DatapathError(f"attach to {device}", 1)

    before = len(list(Path("/proc/self/fd").iterdir()))
    monkeypatch.setattr(running.datapath, "attach_spare", refuse)
    with pytest.raises(DatapathError, match="attach to ws"):
        spare.make(running.datapath, 1500)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    until(lambda: not devices(), "the half-made one is gone")


def test_a_pod_gets_one_and_the_next_is_made_after_it(running: Node) -> None:
    async def life() -> None:
        pods = PodDevices(running.datapath, 1500)
        pods.get_ready()
        await asyncio.to_thread(until, lambda: len(devices()) == 3, "they are made ahead")
        ready = {link.ifindex for link in devices().values()}
        local = await pods.create("default_p11", running.netns(11), (running.v4(11), running.v6(11)), EndpointId(11))
        assert local.ifindex in ready
        assert {link.ifindex for link in devices().values()} == ready - {local.ifindex}
        pods.get_ready()
        assert len(devices()) == 2, "it hinders the pod that is coming"
        running.apply(Write("endpoints", endpoints(local, 11, 0, 0)))
        await pods.up("default_p11")
        pods.get_ready()
        await asyncio.to_thread(until, lambda: len(devices()) == 3, "another one is made")
        running.pod(12)
        with running.listen(12):
            assert running.reaches(11, 12)
        pods.close()
        await asyncio.to_thread(until, lambda: not devices(), "those that nobody took are gone")
        assert rtnetlink.index_of(device_name("default_p11")) == local.ifindex
        with running.listen(12):
            assert running.reaches(11, 12)

    asyncio.run(life())


def test_they_go_with_a_killed_agent(running: Node) -> None:
    child = os.fork()
    if child == 0:
        try:
            kept = [spare.make(running.datapath, 1500) for _ in range(2)]
            signal.pause()
            del kept
        finally:
            os._exit(1)
    until(lambda: len(devices()) == 2, "the child has made two")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    until(lambda: not devices(), "both are gone")


def test_the_nodes_end_takes_those_of_a_living_agent_away(running: Node) -> None:
    with spare.make(running.datapath, 1500):
        node.tear_down(running.paths)
        assert not devices()


def _fakes(outcomes: list[Spare | DatapathError]) -> Callable[[], Spare]:
    given: Iterator[Spare | DatapathError] = iter(outcomes)

    def make() -> Spare:
        outcome = next(given)
        if isinstance(outcome, DatapathError):
            raise outcome
        return outcome

    return make


def test_one_that_could_not_be_made_is_passed_over() -> None:
    """A moment without memory, long ago, is no reason to refuse a pod now."""
    namespaces = [netns.make() for _ in range(2)]
    good = [Spare(namespace, None, Netlink(), 1, 2) for namespace in namespaces]
    spares = Spares(_fakes([DatapathError("make", 12), good[0], DatapathError("make", 12), good[1]]), 3)
    spares.fill()
    until(lambda: all(made.done() for made in spares._ready), "all were tried")
    first: Future[Spare] = spares.take()
    assert first.result() is good[0]
    second = spares.take()
    assert second.result() is good[1]
    for made in good:
        made.__exit__()
    spares.close()
