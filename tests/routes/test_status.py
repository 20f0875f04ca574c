"""``status.parents``: conditions, reasons and times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from tests.routes.scene import START, compiled, ref, route, service, stored, world
from weft.sources.objects import Change, Json, Stored
from weft.sources.routestatus import CONTROLLER, route_status
from weft.sources.world import updated

TO_API = "[{backendRefs: [{name: api, port: 80}]}]"
EXTENSION = "filters: [{type: ExtensionRef, extensionRef: {group: a.example, kind: Auth, name: x}}]"
OK = {"Accepted": ("True", "Accepted"), "ResolvedRefs": ("True", "ResolvedRefs")}


def status(text: str, kind: str = "HTTPRoute", edit: Callable[[Stored], Stored] = lambda x: x) -> Json:
    """Of route shop/r in a world with these objects."""
    plan = compiled(text)
    (own,) = (one for one in stored(text) if one.key.kind == kind and one.key.name == "r")
    return route_status(edit(own), plan.outcomes[ref("r", kind)], START)


def conditions(found: Json, parent: int = 0) -> dict[str, tuple[str, str]]:
    entries: list[dict[str, Any]] = found["parents"][parent]["conditions"]
    return {one["type"]: (one["status"], one["reason"]) for one in entries}


API = service("api")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (API + route("r", TO_API), OK),
        (API + route("r", TO_API, kind="GRPCRoute"), OK),
        (API + route("r", TO_API, "{name: api, port: 80}"), OK),
        (API + route("r", TO_API, "{name: api, port: 80, sectionName: http}"), OK),
        (route("r", "[]"), {**OK, "Accepted": ("False", "NoMatchingParent")}),
        (API + route("r", TO_API, "{name: api, port: 81}"), {**OK, "Accepted": ("False", "NoMatchingParent")}),
        (API + route("r", TO_API, "{name: api, sectionName: x}"), {**OK, "Accepted": ("False", "NoMatchingParent")}),
        (
            API + route("r", TO_API, "{name: api, port: 80, sectionName: metrics}"),
            {**OK, "Accepted": ("False", "NoMatchingParent")},
        ),
        (
            API + route("r", TO_API) + route("g", TO_API, kind="GRPCRoute"),
            {**OK, "Accepted": ("False", "Conflicted")},
        ),
        (
            API + route("r", "[{backendRefs: [{name: gone, port: 80}]}]"),
            {**OK, "ResolvedRefs": ("False", "BackendNotFound")},
        ),
        (
            API + route("r", f"[{{{EXTENSION}}}]"),
            {"Accepted": ("False", "UnsupportedValue"), "ResolvedRefs": ("False", "InvalidKind")},
        ),
        (
            API + route("r", f"[{{{EXTENSION}}}, {{backendRefs: [{{name: api, port: 80}}]}}]"),
            {
                "Accepted": ("True", "Accepted"),
                "PartiallyInvalid": ("True", "UnsupportedValue"),
                "ResolvedRefs": ("False", "InvalidKind"),
            },
        ),
    ],
)
def test_conditions(text: str, expected: dict[str, tuple[str, str]]) -> None:
    kind = "GRPCRoute" if "kind: HTTPRoute" not in text else "HTTPRoute"
    assert conditions(status(text, kind)) == expected


def test_a_partly_invalid_route_says_which_rule_was_dropped() -> None:
    found = status(API + route("r", f"[{{backendRefs: [{{name: api, port: 80}}]}}, {{{EXTENSION}}}]"))
    (said,) = (one["message"] for one in found["parents"][0]["conditions"] if one["type"] == "PartiallyInvalid")
    assert said.startswith("Dropped Rule")
    assert "spec.rules[1]" in said
    assert "Auth.a.example shop/x" in said


def test_every_parent_has_its_own_conditions_and_those_of_others_are_left_alone() -> None:
    text = API + route("r", TO_API, "{name: api}; {name: gone}").replace(
        "parentRefs: [", "parentRefs: [{name: edge, kind: Gateway}, "
    )
    found = status(text)
    assert [one["parentRef"]["name"] for one in found["parents"]] == ["api", "gone"]
    assert [conditions(found, at)["Accepted"] for at in (0, 1)] == [("True", "Accepted"), ("False", "NoMatchingParent")]
    assert {one["controllerName"] for one in found["parents"]} == {CONTROLLER}
    assert found["parents"][0]["parentRef"] == {"group": "", "kind": "Service", "name": "api"}


def test_generation_and_time() -> None:
    text = API + route("r", TO_API)

    def later(own: Stored) -> Stored:
        first = route_status(own, compiled(text).outcomes[ref("r")], START - timedelta(hours=1))
        return replace(own, generation=5, status=first)

    kept = {one["type"]: one for one in status(text, edit=later)["parents"][0]["conditions"]}
    assert {one["observedGeneration"] for one in kept.values()} == {5}
    assert {one["lastTransitionTime"] for one in kept.values()} == {"2026-01-01T11:00:00Z"}
    broken = {
        one["type"]: one["lastTransitionTime"]
        for one in status(text.replace("name: api, port: 80", "name: api, port: 8"), edit=later)["parents"][0][
            "conditions"
        ]
    }
    assert broken == {"Accepted": "2026-01-01T11:00:00Z", "ResolvedRefs": "2026-01-01T12:00:00Z"}


def test_a_route_without_services_as_parents_has_no_status_of_ours() -> None:
    text = route("r", TO_API).replace('group: "", kind: Service', "kind: Gateway")
    assert status(text) == {"parents": []}


def test_a_route_whose_status_alone_changes_makes_no_other_world() -> None:
    """Else every status that is written would lead to another plan, and that to another status."""
    text = API + route("r", TO_API)
    (own,) = (one for one in stored(text) if one.key.kind == "HTTPRoute")
    before = world(text)
    assert updated(before, [Change(own.key, own, replace(own, status={"parents": []}))], {}) is before
    edited = replace(own, resource=replace(own.resource))
    assert updated(before, [Change(own.key, own, edited)], {}) is not before
