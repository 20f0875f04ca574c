"""Which endpoints of its slices a service uses: against kube-proxy's own rules, written down a second time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plan.test_services import NAME, SERVICE, backends, key, pod
from weft.model.desired import Desired
from weft.model.net import TCP
from weft.model.objects import EndpointSlice, NamedPort, NamespacedName, Node, NodeConfig, Service, SliceEndpoint
from weft.model.route import ClusterEndpoint, ClusterRef
from weft.model.world import World
from weft.plan import Compiler, compile_world
from weft.plan.backends import chosen, cluster_endpoints, kernel_backends, slice_candidates
from weft.plan.diff import Changes
from weft.plan.numbering import NumberSpace
from weft.plan.services import Services

BY_SLICES = replace(SERVICE, by_slices=True)
NODES, ZONES = ("n1", "n2"), ("east", "west")
HERE = NodeConfig("n1", zone="east")


def kube_proxy(service: Service, endpoints: Sequence[SliceEndpoint], here: NodeConfig) -> set[str]:
    """CategorizeEndpoints and topologyModeFromHints of pkg/proxy/topology.go (Kubernetes 1.36), for one port and
    family: step by step, as it is written there."""
    if service.internal_local:
        local = [one for one in endpoints if one.ready and one.node == here.name]
        if not local:
            local = [one for one in endpoints if one.serving and one.terminating and one.node == here.name]
        return {str(one.addresses[0]) for one in local}
    node_hints = zone_hints = True
    for_node = for_zone = False
    for one in endpoints:
        if not one.ready:
            continue
        if not one.nodes:
            node_hints = False
        elif here.name in one.nodes:
            for_node = True
        if not one.zones:
            zone_hints = False
        elif here.zone in one.zones:
            for_zone = True
    mode = "node" if node_hints and for_node else "zone" if zone_hints and for_zone else ""
    found = set()
    for one in endpoints:
        if not one.ready or (mode == "node" and here.name not in one.nodes):
            continue
        if mode == "zone" and here.zone not in one.zones:
            continue
        found.add(str(one.addresses[0]))
    return found or {str(one.addresses[0]) for one in endpoints if one.serving and one.terminating}


def _endpoint(number: int) -> st.SearchStrategy[SliceEndpoint]:
    def some(names: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
        return st.sampled_from(((), names[:1], names[1:], names))

    conditions = st.sampled_from([(True, True, False), (False, False, False), (False, True, True), (True, True, True)])
    return st.builds(
        lambda condition, node, zones, nodes: SliceEndpoint(
            (ip_address(f"10.0.0.{number}"),),
            condition[0],
            serving=condition[1],
            terminating=condition[2],
            node=node,
            zones=zones,
            nodes=nodes,
        ),
        conditions | st.sampled_from([(False, False, True), (False, True, False)]),
        st.sampled_from(("", *NODES)),
        some(ZONES),
        some(NODES),
    )


@given(st.integers(0, 4).flatmap(lambda n: st.tuples(*map(_endpoint, range(1, n + 1)))), st.booleans(), st.data())
@settings(max_examples=1500, deadline=None, derandomize=True)
def test_endpoints_are_those_that_kube_proxy_chooses(
    endpoints: tuple[SliceEndpoint, ...], local: bool, data: st.DataObject
) -> None:
    service = replace(BY_SLICES, internal_local=local)
    here = NodeConfig(data.draw(st.sampled_from(NODES)), zone=data.draw(st.sampled_from(("", *ZONES))))
    cut = data.draw(st.integers(0, len(endpoints)))  # the same whether they are in one slice or in two
    slices = [_slice(str(at), part) for at, part in enumerate((endpoints[:cut], endpoints[cut:]))]
    found = chosen(service, slice_candidates(service.ports[0], slices), here)
    assert {str(each.address) for each in found} == kube_proxy(service, endpoints, here)
    assert len(kernel_backends(found, 4)) == len(found) == len(cluster_endpoints(found))


def _slice(
    name: str, endpoints: Iterable[SliceEndpoint], port: int = 8000, port_name: str = "http", protocol: int = TCP
) -> EndpointSlice:
    ports = (NamedPort(port_name, port, protocol),)
    return EndpointSlice(NamespacedName(NAME.namespace, name), NAME.name, ports, tuple(endpoints))


def endpoint(*addresses: str, ready: bool = True, **fields: Any) -> SliceEndpoint:
    return replace(SliceEndpoint(tuple(map(ip_address, addresses)), ready), **fields)


def world(service: Service, *slices: EndpointSlice, node: NodeConfig = HERE, **fields: Any) -> World:
    made = World(node, services={service.key: service}, slices={each.key: each for each in slices})
    return replace(made, workloads={each.key: each for each in (pod(1), pod(2))}, **fields)


def http(desired: Desired, address: str = "10.96.0.5") -> list[tuple[str, int]]:
    return backends(desired, key(address, 80))


def test_slices_count_and_pods_do_not() -> None:
    """Two slices of one family, one of the other; ports by their name, whatever the service says of targets."""
    slices = (
        _slice("a", [endpoint("10.1.0.1", "10.1.0.99")], 8001),
        _slice("b", [endpoint("10.1.0.2")], 8002),
        _slice("c", [endpoint("fd01::1")], 8003),
        _slice("d", [endpoint("10.1.0.3")], 8004, "other"),
    )
    desired = compile_world(world(BY_SLICES, *slices)).desired
    assert http(desired) == [("10.1.0.1", 8001), ("10.1.0.2", 8002)]
    assert http(desired, "fd96::5") == [("fd01::1", 8003)]
    assert http(compile_world(world(SERVICE, *slices)).desired) == [("10.0.0.1", 8001), ("10.0.0.2", 8000)]


def test_slices_of_another_proxy_do_not_count_for_a_cluster_ip() -> None:
    slices = (_slice("a", [endpoint("10.1.0.1")]), replace(_slice("b", [endpoint("10.1.0.2")]), other_proxy=True))
    assert http(compile_world(world(BY_SLICES, *slices)).desired) == [("10.1.0.1", 8000)]
    headless = replace(BY_SLICES, cluster_ips=(), headless=True)  # every slice of a headless Service says that
    services = Services(NumberSpace({}), NumberSpace({}))
    port = ClusterRef(headless.key, 80)
    services.update(world(headless, *slices), Changes({}, {}), frozenset({port}))
    assert [str(one.address) for one in services.endpoints(port)] == ["10.1.0.1", "10.1.0.2"]


def test_an_address_that_is_in_two_slices_belongs_to_whom_is_not_ending() -> None:
    """A new pod may have the address of one that is just ending."""
    old, new = endpoint("10.1.0.1", ready=False, terminating=True), endpoint("10.1.0.1")
    slices = (_slice("a", [old]), _slice("b", [new, endpoint("10.1.0.2")]))
    for some in (slices, slices[::-1]):
        assert http(compile_world(world(BY_SLICES, *some)).desired) == [("10.1.0.1", 8000), ("10.1.0.2", 8000)]


def test_a_change_of_the_nodes_zone_is_followed() -> None:
    slices = [_slice("a", [endpoint(f"10.1.0.{n}", zones=(zone,)) for n, zone in enumerate(ZONES, 1)])]
    compiler, before = Compiler(), world(BY_SLICES, *slices)
    assert http(compiler.compile(before).desired) == [("10.1.0.1", 8000)]
    moved = replace(before, node=replace(HERE, zone="west"))
    assert http(compiler.compile(moved).desired) == [("10.1.0.2", 8000)]
    labelled = replace(moved, nodes={"n1": Node("n1", (), (), "east")})
    assert http(compiler.compile(labelled).desired) == [("10.1.0.1", 8000)], "a label that came later"
    assert http(compile_world(labelled).desired) == [("10.1.0.1", 8000)]
    assert http(compiler.compile(moved).desired) == [("10.1.0.2", 8000)]


def test_pods_of_the_store_are_near_or_far_as_slices_would_say() -> None:
    def found(service: Service, here: str = "n1", zones: tuple[str, str] = ZONES) -> list[int]:
        nodes = {name: Node(name, (), (), zone) for name, zone in zip(NODES, zones, strict=True)}
        pods = {each.key: each for each in (pod(2), pod(4, node="n2"))}
        here_ = NodeConfig(here, zone=nodes[here].zone)
        desired = compile_world(replace(world(service, node=here_), nodes=nodes, workloads=pods)).desired
        return [int(address.rsplit(".", 1)[1]) for address, _ in http(desired)]

    assert found(SERVICE) == [2, 4]
    local = replace(SERVICE, internal_local=True)
    assert (found(local), found(local, "n2")) == ([2], [4])
    zone = replace(SERVICE, traffic_distribution="PreferSameZone")
    assert (found(zone), found(zone, "n2"), found(zone, zones=("east", "east"))) == ([2], [4], [2, 4])
    assert found(zone, zones=("east", "")) == [2, 4], "a node of no zone"
    node = replace(SERVICE, traffic_distribution="PreferSameNode")
    assert (found(node, zones=("east", "east")), found(node, "n2", ("east", "east"))) == ([2], [4])


def test_envoy_has_the_same_endpoints() -> None:
    ending = endpoint("10.1.0.3", ready=False, terminating=True)
    found = chosen(BY_SLICES, slice_candidates(BY_SLICES.ports[0], [_slice("a", [ending])]), HERE)
    assert cluster_endpoints(found) == (ClusterEndpoint(ip_address("10.1.0.3"), 8000, draining=True),)
