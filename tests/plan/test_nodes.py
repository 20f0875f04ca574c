"""What a world's nodes and API servers mean: identities, ranges, routes, and what is said of nodes that don't fit."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from weft.model.desired import IPCACHE_HOST, IPCACHE_REMOTE, IPCACHE_UNASSIGNED, NodeEntry
from weft.model.identity import Reserved
from weft.model.labels import LabelSet
from weft.model.net import IdentityId, Prefix, to_wide
from weft.model.nodes import NodeRoute
from weft.model.objects import EndpointSlice, NamespacedName, Node, NodeConfig, SliceEndpoint
from weft.model.world import World
from weft.plan import Compiled, Compiler, compile_world

HERE = NodeConfig(
    "a",
    pod_cidrs=(ip_network("10.0.0.0/24"), ip_network("fd00::/64")),
    router_addresses=(ip_address("10.0.0.1"), ip_address("fd00::1")),
    host_addresses=(ip_address("192.0.2.1"), ip_address("2001:db8::1")),
)
A = Node("a", HERE.host_addresses, HERE.pod_cidrs)
B = Node(
    "b",
    (ip_address("192.0.2.2"), ip_address("2001:db8::2")),
    (ip_network("10.0.1.0/24"), ip_network("fd00:0:0:1::/64")),
)
WORLD = World(HERE, nodes={"a": A, "b": B})


def with_api(*addresses: str) -> World:
    key = NamespacedName("default", "kubernetes")
    ends = tuple(SliceEndpoint((ip_address(each),)) for each in addresses)
    return replace(WORLD, slices={key: EndpointSlice(key, "kubernetes", (), ends)})


def who(compiled: Compiled, address: str) -> tuple[int, int]:
    """Identity and flags of an address's own entry."""
    entry = compiled.desired.ipcache[Prefix.host(ip_address(address))]
    return entry.identity, entry.flags


def labels(compiled: Compiled, number: Reserved) -> LabelSet:
    return compiled.identities[IdentityId(number)].labels


def test_another_nodes_addresses_are_remote_nodes_and_its_range_is_nobodys() -> None:
    compiled = compile_world(WORLD)
    assert who(compiled, "192.0.2.2") == who(compiled, "2001:db8::2") == (Reserved.REMOTE_NODE, 0)
    assert who(compiled, "10.0.1.1") == who(compiled, "fd00:0:0:1::1") == (Reserved.REMOTE_NODE, IPCACHE_REMOTE)
    assert who(compiled, "192.0.2.1") == (Reserved.HOST, IPCACHE_HOST)
    for cidr in B.pod_cidrs:
        entry = compiled.desired.ipcache[Prefix.of(cidr)]
        assert (entry.identity, entry.flags) == (0, IPCACHE_UNASSIGNED | IPCACHE_REMOTE)


@pytest.mark.parametrize(
    ("address", "number", "expected", "router"),
    [
        ("192.0.2.2", Reserved.KUBE_APISERVER, "reserved:kube-apiserver reserved:remote-node", "10.0.1.1"),
        ("192.0.2.1", Reserved.HOST, "reserved:host reserved:kube-apiserver", "10.0.0.1"),
        ("198.51.100.9", Reserved.KUBE_APISERVER, "reserved:kube-apiserver reserved:world reserved:world-ipv4", ""),
    ],
)
def test_an_api_server_is_what_its_address_is_besides(
    address: str, number: Reserved, expected: str, router: str
) -> None:
    compiled = compile_world(with_api(address))
    assert who(compiled, address)[0] == number
    assert sorted(labels(compiled, number)) == expected.split()
    if router:
        assert who(compiled, router)[0] == number


def test_what_is_no_more_is_forgotten() -> None:
    compiler = Compiler()
    compiler.compile(with_api("192.0.2.2", "192.0.2.1"))
    assert compiler.compile(replace(WORLD, nodes={"a": A})).desired == compile_world(World(HERE)).desired
    compiled = compiler.compile(WORLD)
    assert labels(compiled, Reserved.HOST) == LabelSet({"reserved:host": ""})


def test_direct_routes_lead_to_the_address_of_their_family() -> None:
    routes = compile_world(WORLD).nodes
    assert routes.routes == tuple(
        NodeRoute(cidr, address, "b") for cidr, address in zip(B.pod_cidrs, B.addresses, strict=True)
    )
    assert routes.addresses == B.addresses and not routes.problems and not routes.tunnel
    assert not compile_world(WORLD).desired.nodes


@pytest.mark.parametrize("first", [0, 1])
def test_a_tunnel_has_the_family_of_this_nodes_first_address(first: int) -> None:
    turned = replace(A, addresses=A.addresses[::-1] if first else A.addresses)
    compiled = compile_world(replace(WORLD, node=replace(HERE, tunnel="vxlan"), nodes={"a": turned, "b": B}))
    routes = compiled.nodes
    assert routes.sender == HERE.host_addresses[first]
    assert {(route.destination, route.address) for route in routes.routes} == {
        (c, B.addresses[first]) for c in B.pod_cidrs
    }
    assert [route.source for route in routes.routes] == list(HERE.router_addresses)
    entry = NodeEntry(tuple(map(Prefix.of, B.pod_cidrs)))
    assert compiled.desired.nodes == {to_wide(address): entry for address in B.addresses}


def test_who_had_a_range_first_keeps_it() -> None:
    """This node before all others, then by name."""
    thief = Node("c", (ip_address("192.0.2.3"),), (ip_network("10.0.1.128/25"), ip_network("10.0.0.0/25")))
    compiled = compile_world(replace(WORLD, nodes={**WORLD.nodes, "c": thief}))
    first, second = compiled.nodes.problems
    assert "node c: its podCIDR 10.0.1.128/25 overlaps that of node b" in first
    assert "node c: its podCIDR 10.0.0.0/25 overlaps that of node a" in second
    assert {route.node for route in compiled.nodes.routes} == {"b"}
    assert compiled.desired.ipcache[Prefix.of(HERE.pod_cidrs[0])].flags == IPCACHE_UNASSIGNED
