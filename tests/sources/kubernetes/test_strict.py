"""Policies and routes as objects of an API server: tables without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from weft.model.policy import PolicyRef
from weft.model.route import RouteRef
from weft.sources.kubernetes import resources
from weft.sources.kubernetes.complaints import Complaints
from weft.sources.kubernetes.lastgood import LastGood
from weft.sources.kubernetes.strict import StrictTable
from weft.sources.objects import Key

Json = dict[str, Any]
BY_KIND = {one.kind: one for one in resources.STRICT}
GOOD = {"endpointSelector": {"matchLabels": {"app": "web"}}, "ingress": [{}]}
REF = PolicyRef("CiliumNetworkPolicy", "shop", "web")
KEY = Key("CiliumNetworkPolicy", "shop", "web")


class Made:
    def __init__(self, kind: str = "CiliumNetworkPolicy", path: Path | None = None) -> None:
        self.complaints, self.said, self.gone = Complaints(), [], []
        self.table = StrictTable(
            BY_KIND[kind],
            self.complaints,
            "default",
            LastGood(path),
            lambda key, status: self.said.append((key, status)),
            self.gone.append,
        )
        self._version = 0

    def put(self, spec: Any, uid: str = "u1", generation: int = 1, **more: Any) -> bool:
        self._version += 1
        metadata = {
            "name": "web",
            "namespace": "shop",
            "uid": uid,
            "generation": generation,
            "generateName": "we",
            "resourceVersion": str(self._version),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [{"manager": "kubectl"}],
        }
        raw = json.dumps({"metadata": metadata, "spec": spec, **more}).encode()
        return self.table.take(msgspec.Raw(raw), BY_KIND[self.table.resource.kind].versions[0])[1]


def test_a_status_alone_is_no_change_and_costs_no_translation() -> None:
    made = Made()
    assert made.put(GOOD)
    before = made.table.stored[KEY]
    assert not made.put(GOOD, status={"conditions": []})
    after = made.table.stored[KEY]
    assert after.resource is before.resource
    assert (after.status, after.revision) == ({"conditions": []}, 2)


def test_a_route_of_a_new_generation_is_planned_anew() -> None:
    """Its status must name the generation that was looked at."""
    made = Made("HTTPRoute")
    spec = {"parentRefs": [{"group": "", "kind": "Service", "name": "web"}]}
    assert made.put(spec)
    first = made.table.value(RouteRef("HTTPRoute", "shop", "web"))
    assert not made.put(spec, status={"parents": []})
    assert made.put({**spec, "hostnames": ["example.org"]}, generation=2)
    second = made.table.value(RouteRef("HTTPRoute", "shop", "web"))
    assert first == second and first is not second
    assert made.table.stored[Key("HTTPRoute", "shop", "web")].generation == 2


def test_a_version_that_is_refused_leaves_the_last_good_one(tmp_path: Path) -> None:
    path = tmp_path / "last-good.json"
    made = Made(path=path)
    made.put(GOOD)
    value = made.table.value(REF)
    assert value and not path.exists()
    assert not made.put({**GOOD, "ingres": []})
    assert made.table.value(REF) is value
    assert "stays in force" in made.said[-1][1]["conditions"][0]["message"]

    after = Made(path=path)
    assert after.put({**GOOD, "ingres": []}), "the next agent has it too"
    assert after.table.value(REF) == value
    assert "stays in force" in after.said[-1][1]["conditions"][0]["message"]

    other = Made(path=path)
    assert not other.put({**GOOD, "ingres": []}, uid="u2")
    assert other.table.value(REF) is None, "another object of the name has no earlier version"

    assert not after.put(GOOD)
    assert not path.exists(), "nothing is refused any more"
    assert after.table.value(REF) == value


def test_a_file_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    path = tmp_path / "last-good.json"
    path.write_text("{")
    assert Made(path=path).put(GOOD)
    made = Made(path=tmp_path / "no folder" / "last-good.json")
    assert made.put(GOOD)
    assert not made.put({})
    assert made.table.value(REF) is not None


def test_a_deleted_policy_leaves_nothing(tmp_path: Path) -> None:
    made = Made(path=tmp_path / "last-good.json")
    made.put(GOOD)
    made.put({})
    assert made.complaints.all()
    assert made.table.remove(REF)
    assert (made.table.known(), made.table.stored, made.complaints.all(), made.gone) == ([], {}, [], [KEY])
    assert not (tmp_path / "last-good.json").exists()


def test_a_defect_of_weft_hurts_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Made()

    def broken(*_: object) -> None:
        raise ZeroDivisionError("oh")

    monkeypatch.setattr("weft.sources.kubernetes.strict.policy", broken)
    assert not made.put(GOOD)
    (complaint,) = made.complaints.all()
    assert complaint.message == "weft failed: ZeroDivisionError: oh"
