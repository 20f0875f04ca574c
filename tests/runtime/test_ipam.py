"""Addresses: both families in step, late reuse, what the store says."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from weft.runtime.ipam import AddressesExhausted, AddressPool, AddressTaken

V4, V6 = ipaddress.ip_network("10.0.0.0/29"), ipaddress.ip_network("fd00::/64")
ROUTER = [ipaddress.ip_address("10.0.0.1"), ipaddress.ip_address("fd00::1")]


def pool() -> AddressPool:
    return AddressPool((V6, V4), ROUTER)


def spelled(addresses: object) -> str:
    assert isinstance(addresses, tuple)
    return " ".join(map(str, addresses))


def test_in_step_and_late_reuse() -> None:
    some = pool()
    assert [spelled(some.allocate(name)) for name in "abc"] == [f"10.0.0.{n} fd00::{n}" for n in (2, 3, 4)]
    some.release("b")
    some.release("a")
    some.release("a")
    assert [spelled(some.allocate(name)) for name in "defg"] == [f"10.0.0.{n} fd00::{n}" for n in (5, 6, 3, 2)]
    assert spelled(some.allocate("g")) == "10.0.0.2 fd00::2"
    with pytest.raises(AddressesExhausted, match=r"10\.0\.0\.0/29 and fd00::/64: all 5 addresses are in use; delete"):
        some.allocate("h")


def test_claims() -> None:
    some = pool()
    some.claim("old", [ipaddress.ip_address("10.0.0.4"), ipaddress.ip_address("fd00::4")])
    some.claim("old", [ipaddress.ip_address("10.0.0.4")])
    assert spelled(some.allocate("new")) == "10.0.0.5 fd00::5"
    for address, problem in (
        ("10.0.0.4", "belongs to old"), ("10.0.0.1", "the node's own"), ("10.0.0.7", "not a host address"),
        ("10.0.1.2", "not a host address"), ("fd00::ffff", "not a host address"),
    ):  # fmt: skip
        with pytest.raises(AddressTaken, match=problem):
            some.claim("other", [ipaddress.ip_address(address)])


def test_one_family() -> None:
    some = AddressPool((V6,))
    assert spelled(some.allocate("a")) == "fd00::1"
    some.claim("high", [ipaddress.ip_address("fd00::ffff:0")])
    assert spelled(some.allocate("b")) == "fd00::ffff:1"
    with pytest.raises(ValueError, match="give one per family"):
        AddressPool((V4, V4))


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60))
def test_nobody_shares(steps: list[tuple[bool, int]]) -> None:
    some, held = pool(), {}
    for take, name in steps:
        if not take:
            some.release(name)
            held.pop(name, None)
        elif name in held or len(held) < 5:
            held[name] = some.allocate(name)
        else:
            with pytest.raises(AddressesExhausted):
                some.allocate(name)
        assert len(set(held.values())) == len(held)
        assert not {address for pair in held.values() for address in pair} & set(ROUTER)
