"""Nodes come, go, start again and change their ways; what is not weft's stays as it was."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.nodes.scene import Cluster, TestNode, ip
from tests.nodes.talk import make_socket, tcp_server
from tests.nodes.test_cut import speak
from weft.datapath import netns, node, rtnetlink
from weft.datapath.netlink import Netlink
from weft.datapath.rtnetlink import Route
from weft.model.objects import Node

PORT = 8080


@pytest.fixture(params=["", "vxlan"], ids=["direct", "vxlan"])
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    """Two nodes with a pod each, for tests that break them."""
    with Cluster(tmp_path / "nodes", 2, request.param) as made:
        made.pod("default/client", "n1", {"app": "client"})
        made.pod("default/server", "n2", {"app": "server"})
        yield made


def ways(of: TestNode) -> list[Route]:
    """Its routes to other nodes' pods."""
    with of.inside(), Netlink() as netlink:
        both = [*rtnetlink.routes(netlink, 4), *rtnetlink.routes(netlink, 6)]
    return [route for route in both if route.ours and route.gateway is not None]


def mtus(cluster: Cluster) -> set[int]:
    """Of both ends of all pods."""
    found = set()
    places = [each.home for each in cluster.nodes.values()] + [each.netns for each in cluster.pods.values()]
    for place in places:
        with netns.entered(place), Netlink() as netlink:
            found |= {link.mtu for name, link in rtnetlink.links(netlink).items() if name[:2] in ("wf", "et")}
    return found


def with_node(cluster: Cluster, *nodes: Node) -> TestNode:
    """n1, which has learnt of these nodes."""
    cluster.nodes["n1"].commit(replace(cluster.world, nodes={**cluster.world.nodes, **{n.name: n for n in nodes}}))
    return cluster.nodes["n1"]


@contextlib.contextmanager
def connection(cluster: Cluster, version: int = 4, port: int = PORT) -> Iterator[None]:
    """One that is open, and speaks before and after."""
    client, server = cluster.pods["default/client"], cluster.pods["default/server"]
    with (
        contextlib.closing(tcp_server(server.netns, version, port)) as listening,
        contextlib.closing(make_socket(client.netns, version)) as sender,
    ):
        sender.settimeout(20)
        sender.connect((str(server.address(version)), port))
        accepted, _ = listening.accept()
        with accepted:
            accepted.settimeout(20)
            speak(sender, accepted)
            yield
            speak(accepted, sender)
            speak(sender, accepted)


def test_a_node_that_goes_leaves_nothing_behind(own: Cluster) -> None:
    first = own.nodes["n1"]
    assert {route.destination for route in ways(first)} == set(own.nodes["n2"].spec.pod_cidrs)
    alone = {"n1": first.spec}
    first.commit(replace(own.world, nodes=alone, workloads={}))
    assert not ways(first) and not first.problems
    held = first.datapath.read()
    assert not held.nodes
    others = {str(each) for each in (*own.nodes["n2"].addresses, *own.nodes["n2"].spec.pod_cidrs)}
    assert not others & {str(prefix.network()).removesuffix("/32").removesuffix("/128") for prefix in held.ipcache}
    with first.inside():
        rules = subprocess.run(["nft", "list", "table", "inet", "weft"], capture_output=True, text=True, check=True)
    assert "10.66.2" not in rules.stdout and "198.51.100.20" not in rules.stdout


def test_a_start_upon_what_is_there_keeps_the_ways_and_the_connections(own: Cluster) -> None:
    with connection(own, 4), connection(own, 6):
        for each in own.nodes.values():
            before = ways(each)
            assert len(before) == 2
            with each.inside():
                node.set_up(each.paths, each.config, node.pod_mtu(each.config.tunnel, each.addresses))
                node.bring_up(each.config)
            assert ways(each) == before, "nothing is missing while nodes are not known yet"
            each.restart(own.world)
            assert ways(each) == before


def test_routing_can_be_changed(own: Cluster) -> None:
    """From one to the other and back, while a connection is open; the pods that there are get the new MTU."""
    before = own.nodes["n1"].config.tunnel
    with connection(own):
        for tunnel in ("" if before else "vxlan", before):
            for each in own.nodes.values():
                each.config = replace(each.config, tunnel=tunnel)
                each.restart(own.world)
                assert {bool(route.tunnel) for route in ways(each)} == {bool(tunnel)}
            assert mtus(own) == {1450 if tunnel else 1500}
            with connection(own, 4, PORT + 1), connection(own, 6, PORT + 1):
                pass


def test_tear_down_leaves_nothing(own: Cluster) -> None:
    for each in own.nodes.values():
        each.close()
        with each.inside(), Netlink() as netlink:
            assert set(rtnetlink.links(netlink)) == {"lo", "uplink"}
            assert not [r for version in (4, 6) for r in rtnetlink.routes(netlink, version) if r.ours]
            tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
        assert not tables
        assert not each.paths.pin_dir.exists() and not each.paths.cgroup.exists()


# ---- what is wrong with a node --------------------------------------------------------------------------------------

FAR = Node("far", (ip_address("203.0.113.77"), ip_address("2001:db8:113::77")), (ip_network("10.66.9.0/24"),))


def test_a_node_on_no_link_of_this_one(own: Cluster) -> None:
    first = with_node(own, FAR)
    if first.config.tunnel:
        assert not first.problems and len(ways(first)) == 3
        return
    (problem,) = first.problems
    assert "node far" in problem and "203.0.113.77" in problem and "198.51.100.1" in problem and "vxlan" in problem
    assert len(ways(first)) == 2, "the network may know the way"


def test_a_node_without_an_address_of_the_family(own: Cluster) -> None:
    first = with_node(own, Node("half", (ip_address("2001:db8:51::90"),), (ip_network("10.66.9.0/24"),)))
    (problem,) = first.problems
    assert "node half" in problem and "IPv4" in problem and "10.66.9.0/24" in problem
    assert len(ways(first)) == 2


def test_a_node_whose_range_is_another_ones(own: Cluster) -> None:
    first = with_node(own, Node("thief", (ip_address("198.51.100.90"),), (ip_network("10.66.0.0/16"),)))
    (problem,) = first.problems
    assert "node thief" in problem and "10.66.0.0/16 overlaps that of node n" in problem
    assert len(ways(first)) == 2


def test_a_node_without_a_range(own: Cluster) -> None:
    first = with_node(own, Node("new", (ip_address("198.51.100.90"),)))
    (problem,) = first.problems
    assert "node new" in problem and "podCIDR" in problem


def test_a_route_of_somebody_elses_stays(own: Cluster) -> None:
    """With direct routing somebody else leads there, which is as good; past a tunnel it must not."""
    first = own.nodes["n1"]
    with first.inside():
        ip("route", "add", "10.66.9.0/24", "via", "198.51.100.1", "proto", "static")
    near = Node("near", (ip_address("198.51.100.90"),), (ip_network("10.66.9.0/24"),))
    with_node(own, near)
    assert len(ways(first)) == 2
    assert bool(first.problems) == bool(first.config.tunnel)
    first.commit(own.world)
    with first.inside(), Netlink() as netlink:
        kept = [r for r in rtnetlink.routes(netlink, 4) if str(r.destination) == "10.66.9.0/24"]
    assert [str(route.gateway) for route in kept] == ["198.51.100.1"]


def test_a_node_that_moves_takes_its_routes_with_it(own: Cluster) -> None:
    moved = replace(own.nodes["n2"].spec, addresses=(ip_address("198.51.100.90"), ip_address("2001:db8:51::90")))
    first = with_node(own, moved)
    found = {route.tunnel.far if route.tunnel else route.gateway for route in ways(first)}
    assert found == ({moved.addresses[0]} if first.config.tunnel else set(moved.addresses))
