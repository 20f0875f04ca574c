"""Differences by identity, whatever the order of the keys."""

from __future__ import annotations

from weakref import ref

from hypothesis import given, settings
from hypothesis import strategies as st

from weft.plan.diff import Edition, changes

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


_EDITS = st.lists(st.tuples(st.integers(0, 6), st.one_of(st.none(), st.integers(0, 3))), max_size=6)


@given(_SNAPSHOTS, st.lists(_EDITS, min_size=1, max_size=4))
@settings(max_examples=500, deadline=None, derandomize=True)
def test_an_edition_says_the_same_as_a_comparison(
    first: dict[int, list[int]], rounds: list[list[tuple[int, int | None]]]
) -> None:
    """Between any two of a chain of editions; only from one to the next is it known without comparing."""
    chain = [Edition(first)]
    for edits in rounds:
        edition = Edition(chain[-1])
        for key, value in edits:
            if value is None:
                edition.remove(key)
            else:
                edition[key] = _VALUES[value]
        assert edition.follows(chain[-1])
        chain.append(edition)
    for old in chain:
        for new in chain:
            assert changes(old, new) == changes(dict(old), dict(new))


def test_an_edition_keeps_no_earlier_one() -> None:
    first = Edition({1: [1]})
    gone = ref(first)
    second = Edition(first)
    second[1] = [2]
    del first
    assert gone() is None
    assert changes({1: [1]}, second).come == {1: [2]}
