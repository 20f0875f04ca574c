"""No moment in which a routed service has no listener to send its clients to."""

from __future__ import annotations

from ipaddress import ip_address
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plan.watch import single_operations
from weft.model.desired import BumpRevision, Desired, RouteKey, ServiceEntry, ServiceKey
from weft.model.net import TCP, to_wide
from weft.plan import transition

KEYS = [ServiceKey(to_wide(ip_address(f"10.96.0.{n}")), 80, TCP) for n in range(3)]


def made(ports: list[tuple[int, int, dict[int, int]]]) -> Desired:
    """Each: service id, listener (0 = not routed), listeners of scopes."""
    services, routes = {}, {}
    for key, (number, listener, scopes) in zip(KEYS, ports, strict=False):
        services[key] = ServiceEntry(0, 0, 0, number, int(bool(listener)))
        if listener:
            routes[RouteKey(number, 0)] = listener
            routes |= {RouteKey(number, scope): other for scope, other in scopes.items()}
    return Desired(services=services, routes=routes)


PORT = st.tuples(
    st.integers(1, 4),
    st.sampled_from((0, 0, 10_001, 10_002)),
    st.dictionaries(st.integers(1, 2), st.just(10_003), max_size=2),
)
STATES = st.lists(PORT, max_size=3, unique_by=lambda port: port[0]).map(made)


@given(st.lists(STATES, min_size=2, max_size=4), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None, derandomize=True)
def test_a_routed_service_always_finds_a_route(sequence: list[Desired], random: Random) -> None:
    kernel = Desired()
    maps: dict[str, dict[Any, Any]] = {"services": {}, "routes": {}}
    for desired in sequence:
        for name, where, value in single_operations(transition(kernel, desired), random):
            if value is None:
                del maps[name][where]
            else:
                maps[name][where] = value
            for entry in maps["services"].values():
                assert not entry.routed or RouteKey(entry.id, 0) in maps["routes"]
        assert maps == {"services": desired.services, "routes": desired.routes}
        kernel = desired
        assert transition(kernel, desired) == ()


def bumps(before: Desired, after: Desired) -> bool:
    return any(isinstance(step, BumpRevision) for step in transition(before, after))


def test_open_connections_are_decided_again_when_their_listener_changes() -> None:
    plain, routed = made([(1, 0, {})]), made([(1, 10_001, {})])
    assert bumps(plain, routed) and bumps(routed, plain)
    assert bumps(routed, made([(1, 10_002, {})]))
    assert bumps(made([(1, 10_001, {1: 10_003})]), routed)
    assert bumps(routed, Desired())
    assert not bumps(routed, made([(1, 10_001, {}), (2, 10_001, {})])), "somebody new concerns nobody"
