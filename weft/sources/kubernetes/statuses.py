"""What weft says in ``status`` beside what others say there. Pure; ``now`` is given as text.

A policy has Cilium's condition Valid (its CRD's ``status.conditions``). A route has one entry of ``status.parents`` for
each Service that it names; entries of other controllers (Gateways) are theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from weft.sources import registry
from weft.sources.objects import Json
from weft.sources.routestatus import CONTROLLER

VALID = "Valid"
Condition = dict[str, Any]


def validity(message: str) -> Json:
    """Of a CNP or CCNP; no message: it is valid. The words are Cilium's."""
    if message:
        return {"conditions": [{"type": VALID, "status": "False", "reason": "Refused", "message": message}]}
    return {"conditions": [{"type": VALID, "status": "True", "message": "Policy validation succeeded"}]}


def refused_route(raw_spec: Any, generation: int, message: str) -> Json:
    """Of a route that weft cannot read: for its parents that are Services, as far as they can be read."""
    listed = raw_spec.get("parentRefs") if isinstance(raw_spec, dict) else None
    parts = listed if isinstance(listed, list) else []
    services = [one for one in parts if isinstance(one, dict) and one.get("kind") == "Service"]
    said = {"status": "False", "reason": "UnsupportedValue", "message": message, "observedGeneration": generation}
    parents = [
        {"parentRef": one, "controllerName": CONTROLLER, "conditions": [{"type": "Accepted", **said}]}
        for one in services
    ]
    return {"parents": parents}


def merged(kind: str, status: Json, wanted: Json, now: str) -> Json:
    """The fields of ``status`` that ``wanted`` has, as they should be. Equal to what is there if nothing is to do."""
    if kind in registry.ROUTES:
        return {"parents": _parents(status.get("parents") or (), wanted["parents"], now)}
    return {"conditions": _conditions(status.get("conditions") or (), wanted["conditions"], now, keep=True)}


def _parents(there: Iterable[Json], wanted: Iterable[Json], now: str) -> list[Json]:
    """In the order that is there, new ones last."""
    mine = [(one["parentRef"], one) for one in wanted]
    result: list[Json] = []
    for entry in there:
        if entry.get("controllerName") != CONTROLLER:
            result.append(entry)
            continue
        for position, (reference, one) in enumerate(mine):
            if reference == entry.get("parentRef"):
                conditions = _conditions(entry.get("conditions") or (), one["conditions"], now)
                result.append({**one, "conditions": conditions})
                del mine[position]
                break
    return result + [{**one, "conditions": _conditions((), one["conditions"], now)} for _, one in mine]


def _conditions(
    there: Iterable[Condition], wanted: Iterable[Condition], now: str, keep: bool = False
) -> list[Condition]:
    """``keep``: conditions of other types stay. A condition keeps its time while its status is the same."""
    mine = {one["type"]: one for one in wanted}
    known = {one.get("type"): one for one in there}
    result = [
        _timed(mine.pop(kind), one, now) if kind in mine else one for kind, one in known.items() if keep or kind in mine
    ]
    return result + [_timed(one, {}, now) for one in mine.values()]


def _timed(wanted: Condition, there: Condition, now: str) -> Condition:
    same = there.get("status") == wanted["status"] and there.get("lastTransitionTime")
    return {
        **wanted,
        "lastTransitionTime": there["lastTransitionTime"] if same else wanted.get("lastTransitionTime", now),
    }
