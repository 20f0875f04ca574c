"""Flattened port rules say of every port what the rules say, and no fewer entries could."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plan.watch import Verdict, at_most, common
from weft.model.desired import ACTION_ALLOW, PolicyEntry
from weft.model.net import RuleId
from weft.plan.groups import is_below, meet
from weft.policy.flatten import Claim, flatten_ports
from weft.policy.tables import Group, Slot

_EDGES = st.sampled_from((0, 1, 2, 79, 80, 81, 127, 128, 255, 256, 1023, 1024, 8080, 32767, 32768, 65534, 65535))
_CLAIMS = st.lists(
    st.builds(lambda a, b, v: Claim(min(a, b), max(a, b), v), _EDGES, _EDGES, st.integers(0, 4)), max_size=6
)
_PORTS = sorted(
    {
        p
        for e in (0, 1, 2, 79, 80, 81, 127, 128, 255, 256, 1023, 1024, 8080, 32767, 32768, 65534, 65535)
        for p in (e - 1, e, e + 1)
        if 0 <= p < 65536
    }
)


def lookup(prefixes: dict[tuple[int, int], int], port: int, otherwise: int) -> int:
    for bits in range(16, -1, -1):
        if (port >> (16 - bits) << (16 - bits), bits) in prefixes:
            return prefixes[port >> (16 - bits) << (16 - bits), bits]
    return otherwise


@given(_CLAIMS, st.integers(0, 5))
@settings(max_examples=400, deadline=None, derandomize=True)
def test_every_port_has_the_verdict_of_the_first_rule_that_claims_it(claims: list[Claim], otherwise: int) -> None:
    prefixes = {(port, bits): verdict for port, bits, verdict in flatten_ports(claims, otherwise)}
    for port in _PORTS:
        wanted = min([otherwise, *(c.verdict for c in claims if c.first <= port <= c.last)])
        assert lookup(prefixes, port, otherwise) == wanted, port


def test_few_entries() -> None:
    assert flatten_ports([Claim(0, 65535, 0)], 1) == [(0, 0, 0)]
    assert flatten_ports([Claim(1, 65535, 0)], 1) == [(0, 0, 0), (0, 16, 1)]
    assert flatten_ports([Claim(80, 80, 0), Claim(0, 65535, 1)], 1) == [(80, 16, 0)]
    assert flatten_ports([], 3) == []


_LISTENERS = st.sampled_from((0, 10_000, 10_001))


def _groups() -> st.SearchStrategy[Group]:
    actions = (0, 1, 2)

    def group(base: int, claims: list[Claim], protocol: int, listeners: tuple[int, int]) -> Group:
        entries = [PolicyEntry(action, RuleId(n)) for n, action in enumerate((*actions, 1, 0, base))]
        entries[1], entries[3] = entries[1]._replace(l7=listeners[0]), entries[3]._replace(l7=listeners[1])
        slots = {Slot(protocol, p, 72 + bits): entries[v] for p, bits, v in flatten_ports(claims, 5)}
        return {Slot(0, 0, 64): entries[5], **slots}

    return st.builds(
        group, st.sampled_from(actions), _CLAIMS, st.sampled_from((6, 17)), st.tuples(_LISTENERS, _LISTENERS)
    )


def says(group: Group, protocol: int, port: int) -> PolicyEntry:
    for bits in range(16, -1, -1):
        slot = Slot(protocol, port >> (16 - bits) << (16 - bits), 72 + bits)
        if slot in group:
            return group[slot]
    return group[Slot(0, 0, 64)]


def allows(group: Group, protocol: int, port: int) -> Verdict:
    entry = says(group, protocol, port)
    return (entry.l7, 0) if entry.action == ACTION_ALLOW else None


@given(_groups(), _groups())
@settings(max_examples=300, deadline=None, derandomize=True)
def test_the_meet_allows_what_both_allow(one: Group, other: Group) -> None:
    both, below = meet(one, other), True
    for protocol in (6, 17, 1):
        for port in _PORTS:
            mine, theirs = (allows(each, protocol, port) for each in (one, other))
            assert allows(both, protocol, port) == common(mine, theirs)
            below = below and at_most(mine, theirs)
    assert is_below(one, other) == below
    assert is_below(both, one)
    assert is_below(both, other)
