"""A pod's way to the network: shut until it is enforced, found again, gone without a trace."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import replace

import pytest

from tests.datapath.conftest import OPTIONS, Node, endpoints
from weft.datapath import netns, rtnetlink, stats
from weft.datapath.netlink import Netlink
from weft.datapath.pod import device_name, pod_mac
from weft.model.desired import Write
from weft.model.net import EndpointId

NAME = "default_p11"


def make(node: Node) -> None:
    local = node.pods.make(NAME, node.netns(11), (node.v4(11), node.v6(11)), EndpointId(11))
    assert local.mac == pod_mac((node.v4(11),)) == bytes.fromhex("02770a37000b")


def test_nothing_passes_before_up(running: Node) -> None:
    running.pod(12)
    make(running)
    assert running.link_pin(11).exists() or not running.datapath.tcx
    with running.listen(12), pytest.raises((TimeoutError, OSError)):
        running.connect(11, 12, seconds=0.3)
    with Netlink() as netlink:
        links = rtnetlink.links(netlink)
    assert not links[device_name(NAME)].up
    running.pods.bring_up(NAME)
    with running.listen(12):  # no address in the maps yet: a pod that weft does not know is nobody
        assert running.refused(11, 12)


def test_the_inside_is_quiet(running: Node) -> None:
    running.pod(11)
    with netns.entered(running.netns(11)):
        neighbours = subprocess.run("ip neigh; ip -6 neigh", shell=True, capture_output=True, text=True, check=True)
        with Netlink() as inside:
            eth0 = rtnetlink.links(inside)["eth0"]
            addresses = rtnetlink.addresses(inside)
    assert eth0.flags & rtnetlink.NOARP
    assert {str(address) for index, address, _ in addresses if index == eth0.ifindex} == {"10.55.0.11", "fd55::b"}
    assert neighbours.stdout.count("02:77:65:66:74:01 PERMANENT") >= 2
    assert stats.counters(running.datapath) == {}  # not one packet was sent or refused


def test_a_pod_is_found_again_by_another_agent(running: Node) -> None:
    local = running.pod(11)
    running.pod(12)
    running.reopen()
    found = running.pods.find(NAME, running.netns(11), (running.v4(11), running.v6(11)), EndpointId(11))
    assert found == local
    with running.listen(11):
        assert running.reaches(12, 11)


def test_what_is_half_made_is_not_found_and_made_again(running: Node) -> None:
    where = (running.v4(11), running.v6(11))
    path = running.netns(11)
    assert running.pods.find(NAME, path, where, EndpointId(11)) is None
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()  # died before the mount
    assert running.pods.find(NAME, path, where, EndpointId(11)) is None
    make(running)
    subprocess.run(["ip", "link", "delete", device_name(NAME)], check=True)  # died before the device
    assert running.pods.find(NAME, path, where, EndpointId(11)) is None
    running.pod(11)
    running.pod(12)
    with running.listen(11):
        assert running.reaches(12, 11)


def test_a_removed_pod_leaves_nothing(running: Node) -> None:
    running.pod(11)
    running.pods.remove(NAME, running.netns(11))
    assert not rtnetlink.index_of(device_name(NAME))
    assert not running.netns(11).exists()
    assert not running.link_pin(11).exists()
    running.pods.remove(NAME, running.netns(11))


def test_it_is_known_whether_the_program_is_attached(running: Node) -> None:
    """By tcx and, as on older kernels, by clsact."""
    device, ifindex = device_name(NAME), running.pod(11).ifindex
    assert running.datapath.is_attached(device, ifindex)
    running.detach_all()
    assert not running.datapath.is_attached(device, ifindex) or not running.datapath.tcx
    running.reopen(replace(OPTIONS, tcx=False))
    assert running.datapath.is_attached(device, ifindex)
    subprocess.run(["tc", "filter", "del", "dev", device, "ingress"], check=True)
    assert not running.datapath.is_attached(device, ifindex)


def test_the_runtime_calls_it_from_a_loop(running: Node) -> None:
    async def life() -> None:
        local = await running.pods.create(NAME, running.netns(11), (running.v4(11), running.v6(11)), EndpointId(11))
        running.apply(Write("endpoints", endpoints(local, 11, 0, 0)))
        await running.pods.up(NAME)
        await running.pods.delete(NAME, running.netns(11))

    asyncio.run(life())
    running.pods.close()
    assert not running.netns(11).exists()
