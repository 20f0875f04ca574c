"""What the machine can do is found out, and what it can't is refused by name."""

from __future__ import annotations

import pytest

from weft.datapath import features
from weft.datapath.errors import FeatureError
from weft.datapath.features import PROBES, Probe


def test_this_machine_has_what_is_needed() -> None:
    found = features.probe()
    features.require(found)
    assert len({each.name for each in found}) == len(PROBES)
    assert all(each.detail for each in found)


def refuse() -> str:
    raise FeatureError("Linux 5.10.0", "older than 6.1")


def test_a_missing_feature_is_refused_by_name_with_its_remedy() -> None:
    found = features.probe([*PROBES[:2], Probe("Linux 6.1", True, refuse, "run Linux 6.1 or later")])
    with pytest.raises(FeatureError, match=r"Linux 6.1: Linux 5.10.0: older than 6.1; run Linux 6.1 or later"):
        features.require(found)


def test_what_is_only_better_to_have_is_not_refused() -> None:
    found = features.probe([Probe("tcx", False, refuse, "clsact instead")])
    assert not found[0].ok
    features.require(found)


def test_a_program_that_does_not_load_is_a_missing_feature() -> None:
    found = features.probe([Probe("service programs", True, features._program("no_such"), "rebuild")])
    with pytest.raises(FeatureError, match="no_such"):
        features.require(found)
