"""Services: which backends, under which keys; and no moment in which one points at a list that is not all there."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plan.watch import single_operations
from weft.model.desired import Backend, BackendKey, Desired, MemberKey, ServiceEntry, ServiceKey
from weft.model.net import TCP, UDP, to_wide
from weft.model.objects import (
    EndpointSlice,
    NamedPort,
    NamespacedName,
    NodeConfig,
    Service,
    ServicePort,
    SliceEndpoint,
    Workload,
)
from weft.model.world import World
from weft.plan import Compiler, compile_world, transition

NAME = NamespacedName("shop", "api")
SERVICE = Service(
    NAME,
    "ClusterIP",
    (ip_address("10.96.0.5"), ip_address("fd96::5")),
    (ServicePort("http", 80, TCP, "http"), ServicePort("dns", 53, UDP, 5353)),
    {"app": "api"},
)


def pod(number: int, **fields: Any) -> Workload:
    made = Workload(
        NamespacedName("shop", f"api-{number}"),
        {"app": "api"},
        "",
        "n1",
        (ip_address(f"10.0.0.{number}"), ip_address(f"fd00::{number:x}")),
        (NamedPort("http", 8000 + number % 2, TCP),),
        ready=True,
    )
    return replace(made, **fields)


def world(service: Service = SERVICE, *pods: Workload, slices: tuple[EndpointSlice, ...] = ()) -> World:
    return World(
        NodeConfig("n1"),
        workloads={each.key: each for each in pods},
        services={service.key: service},
        slices={each.key: each for each in slices},
    )


def key(address: str, port: int, protocol: int = TCP) -> ServiceKey:
    return ServiceKey(to_wide(ip_address(address)), port, protocol)


def backends(desired: Desired, at: ServiceKey) -> list[tuple[str, int]]:
    entry = desired.services[at]
    found = desired.backends[entry.backends] if entry.backend_count else ()
    assert len(found) == entry.backend_count
    return [
        (str(ip_address(each.address[12:] if b"\xff\xff" in each.address else each.address)), each.port)
        for each in found
    ]


def test_each_family_has_its_backends_and_named_ports_are_the_pods_own() -> None:
    desired = compile_world(world(SERVICE, pod(2), pod(1))).desired
    assert backends(desired, key("10.96.0.5", 80)) == [("10.0.0.1", 8001), ("10.0.0.2", 8000)]
    assert backends(desired, key("fd96::5", 80)) == [("fd00::1", 8001), ("fd00::2", 8000)]
    assert backends(desired, key("10.96.0.5", 53, UDP)) == [("10.0.0.1", 5353), ("10.0.0.2", 5353)]
    assert len(desired.services) == 4
    assert len({entry.id for entry in desired.services.values()}) == 4


def test_a_service_without_backends_is_known_and_empty() -> None:
    desired = compile_world(world(SERVICE, pod(1, labels={"app": "other"}))).desired
    assert {entry[:2] for entry in desired.services.values()} == {(0, 0)}
    assert desired.backends == {}


def test_who_answers() -> None:
    def answering(service: Service, *pods: Workload) -> list[int]:
        desired = compile_world(world(service, *pods)).desired
        return [int(address.rsplit(".", 1)[1]) for address, _ in backends(desired, key("10.96.0.5", 80))]

    unready, leaving = pod(2, ready=False), pod(3, terminating=True)
    assert answering(SERVICE, pod(1), unready, leaving) == [1]
    assert answering(SERVICE, unready, leaving) == [3], "only a terminating one is ready"
    assert answering(SERVICE, unready, pod(4, ready=False, terminating=True)) == []
    assert answering(replace(SERVICE, publish_not_ready=True), pod(1), unready, leaving) == [1, 2, 3]
    assert answering(SERVICE, pod(1, ports=())) == [], "it has no port of that name"
    assert answering(SERVICE, pod(1, key=NamespacedName("other", "api-1"))) == []


def test_headless_and_external_name_services_have_no_entries() -> None:
    assert not compile_world(world(replace(SERVICE, headless=True), pod(1))).desired.services
    external = replace(SERVICE, type="ExternalName", cluster_ips=(), selector={})
    assert not compile_world(world(external)).desired.services


def test_a_service_without_selector_has_the_backends_that_somebody_wrote_down() -> None:
    written = EndpointSlice(
        NamespacedName("shop", "api-1"),
        "api",
        (NamedPort("http", 9000, TCP),),
        (SliceEndpoint((ip_address("192.0.2.1"),)), SliceEndpoint((ip_address("192.0.2.2"),), ready=False)),
    )
    other = replace(written, key=NamespacedName("elsewhere", "api-1"))
    desired = compile_world(world(replace(SERVICE, selector={}), pod(1), slices=(written, other))).desired
    assert backends(desired, key("10.96.0.5", 80)) == [("192.0.2.1", 9000)]
    assert backends(desired, key("10.96.0.5", 53, UDP)) == []


def test_backends_are_looked_up_in_lists_of_services_with_affinity_and_of_udp() -> None:
    desired = compile_world(world(replace(SERVICE, affinity_seconds=30), pod(1))).desired
    assert {entry.affinity_seconds for entry in desired.services.values()} == {30}
    assert desired.member_lists == set(desired.backends)
    desired = compile_world(world(SERVICE, pod(1))).desired
    assert desired.member_lists == {e.backends for k, e in desired.services.items() if k.protocol == UDP}


def test_only_the_list_changes_when_a_backend_goes() -> None:
    compiler = Compiler()
    before = compiler.compile(world(SERVICE, pod(1), pod(2))).desired
    after = compiler.compile(world(SERVICE, pod(1))).desired
    assert before.backends.keys().isdisjoint(after.backends)
    assert {k: e.id for k, e in before.services.items()} == {k: e.id for k, e in after.services.items()}


def _services() -> st.SearchStrategy[World]:
    some = st.sets(st.integers(1, 4))
    return st.builds(
        lambda ready, leaving, seconds: world(
            replace(SERVICE, affinity_seconds=seconds),
            *(pod(number, terminating=number in leaving) for number in sorted(ready)),
        ),
        some,
        st.just(set()) | some,
        st.sampled_from((0, 0, 30)),
    ) | st.just(World(NodeConfig("n1")))


@given(st.lists(_services(), min_size=2, max_size=4), st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=150, deadline=None, derandomize=True)
def test_no_service_ever_points_at_a_missing_or_short_list(sequence: list[World], random: Random, same: bool) -> None:
    compiler, kernel = Compiler(), Desired()
    maps: dict[str, dict[Any, Any]] = {"services": {}, "backends": {}, "backend_members": {}}
    for each in sequence:
        desired = compiler.compile(each).desired
        if same:  # numbers that meant something else before
            desired = _renumbered(desired)
        for name, where, value in single_operations(transition(kernel, desired), random):
            if name not in maps:
                continue
            if value is None:
                del maps[name][where]
            else:
                maps[name][where] = value
            for key_, entry in maps["services"].items():
                searched = key_.protocol == UDP or entry.affinity_seconds > 0
                _is_whole(
                    entry, searched, kernel.services.get(key_), desired.services.get(key_), (kernel, desired), maps
                )
        assert maps["services"] == desired.services
        assert maps["backends"] == {
            BackendKey(n, slot): b for n, some in desired.backends.items() for slot, b in enumerate(some)
        }
        assert maps["backend_members"].keys() == {
            MemberKey(n, *b) for n in desired.member_lists for b in desired.backends[n]
        }
        kernel = desired
        assert transition(kernel, desired) == ()


def _is_whole(
    entry: ServiceEntry,
    searched: bool,
    old: ServiceEntry | None,
    new: ServiceEntry | None,
    states: tuple[Desired, Desired],
    maps: dict[str, dict[Any, Any]],
) -> None:
    found: tuple[Backend | None, ...] = tuple(
        maps["backends"].get(BackendKey(entry.backends, slot)) for slot in range(entry.backend_count)
    )
    assert None not in found
    assert not found or found in [s.backends.get(e.backends) for s, e in zip(states, (old, new), strict=True) if e]
    if searched:
        assert all(MemberKey(entry.backends, *backend) in maps["backend_members"] for backend in found if backend)


def _renumbered(desired: Desired) -> Desired:
    numbers = {number: place for place, number in enumerate(sorted(desired.backends), 1)} | {0: 0}
    return replace(
        desired,
        services={k: e._replace(backends=numbers[e.backends]) for k, e in desired.services.items()},
        backends={numbers[n]: some for n, some in desired.backends.items()},
        member_lists=frozenset(numbers[n] for n in desired.member_lists),
    )
