"""Differences by identity, whatever the order of the keys."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from weft.plan.diff import changes

_VALUES = [[number] for number in range(4)]
_SNAPSHOTS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=8).map(
    lambda items: {key: _VALUES[value] for key, value in items}
)


@given(_SNAPSHOTS, _SNAPSHOTS)
@settings(max_examples=500, deadline=None, derandomize=True)
def test_what_went_and_what_came(old: dict[int, list[int]], new: dict[int, list[int]]) -> None:
    change = changes(old, new)
    assert change.gone == {key: value for key, value in old.items() if new.get(key) is not value}
    assert change.come == {key: value for key, value in new.items() if old.get(key) is not value}


def test_equal_values_that_are_not_the_same_object_are_a_change() -> None:
    assert changes({1: [1]}, {1: [1]}).come == {1: [1]}
