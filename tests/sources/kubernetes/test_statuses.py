"""Merging of statuses: ours, and what is others'."""

from __future__ import annotations

from typing import Any

from weft.sources.kubernetes.statuses import merged, refused_route, validity
from weft.sources.routestatus import CONTROLLER

Json = dict[str, Any]
THEN, NOW = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
CNP = "CiliumNetworkPolicy"


def test_a_condition_keeps_its_time_while_its_status_is_the_same() -> None:
    first = merged(CNP, {}, validity("spec.a: bad"), THEN)
    assert first["conditions"][0]["lastTransitionTime"] == THEN
    assert merged(CNP, first, validity("spec.a: bad"), NOW) == first
    other = merged(CNP, first, validity("spec.b: bad"), NOW)["conditions"][0]
    assert (other["message"], other["lastTransitionTime"]) == ("spec.b: bad", THEN)
    valid = merged(CNP, first, validity(""), NOW)["conditions"][0]
    assert (valid["status"], valid["lastTransitionTime"]) == ("True", NOW)
    assert "reason" not in valid


def test_conditions_of_other_types_stay() -> None:
    theirs = {"type": "Audited", "status": "True"}
    found = merged(CNP, {"conditions": [theirs]}, validity(""), NOW)["conditions"]
    assert found[0] == theirs and found[1]["type"] == "Valid"


def parent(name: str, controller: str = CONTROLLER, status: str = "True", time: str = THEN) -> Json:
    condition = {"type": "Accepted", "status": status, "reason": "Accepted", "message": "", "lastTransitionTime": time}
    return {"parentRef": {"name": name}, "controllerName": controller, "conditions": [condition]}


def test_parents_of_others_keep_their_places() -> None:
    ours, theirs, old = parent("a"), parent("gateway", "example.org/x"), parent("old")
    wanted = {"parents": [parent("new", time=NOW), parent("a", time=NOW)]}
    found = merged("HTTPRoute", {"parents": [ours, old, theirs]}, wanted, NOW)["parents"]
    assert found == [ours, theirs, parent("new", time=NOW)]
    assert merged("HTTPRoute", {"parents": found}, wanted, NOW) == {"parents": found}


def test_the_same_parent_under_another_controller_is_theirs() -> None:
    theirs = parent("a", "example.org/x", "False")
    found = merged("GRPCRoute", {"parents": [theirs]}, {"parents": [parent("a")]}, NOW)["parents"]
    assert found == [theirs, parent("a")]


def test_a_condition_that_no_longer_applies_goes() -> None:
    partly = parent("a")
    partly["conditions"].append({"type": "PartiallyInvalid", "status": "True", "lastTransitionTime": THEN})
    found = merged("HTTPRoute", {"parents": [partly]}, {"parents": [parent("a")]}, NOW)["parents"]
    assert [one["type"] for one in found[0]["conditions"]] == ["Accepted"]


def test_a_refused_route_speaks_of_its_services_as_far_as_they_can_be_read() -> None:
    for spec in (None, "text", {"parentRefs": 7}, {"parentRefs": [7, {"name": "gateway"}]}):
        assert refused_route(spec, 1, "bad") == {"parents": []}
    reference = {"group": "", "kind": "Service", "name": "web"}
    (entry,) = refused_route({"parentRefs": [reference]}, 3, "bad")["parents"]
    assert entry["parentRef"] == reference and entry["conditions"][0]["observedGeneration"] == 3
