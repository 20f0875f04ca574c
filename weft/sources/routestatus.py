"""``status.parents`` of HTTPRoute and GRPCRoute (Gateway API's RouteParentStatus). Pure; ``now`` is given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime

from weft.routes.bind import Problem
from weft.routes.book import RouteOutcome
from weft.routes.translate import is_service
from weft.sources.objects import Json, Stored
from weft.sources.status import timestamp

CONTROLLER = "weft.io/mesh-controller"


def route_status(route: Stored, outcome: RouteOutcome, now: datetime) -> Json:
    """Parents that are not Services are not ours to judge. A condition keeps its lastTransitionTime while its status is
    the same."""
    before = {
        _identity(entry["parentRef"]): entry["conditions"]
        for entry in route.status.get("parents", ())
        if entry["controllerName"] == CONTROLLER
    }
    written = route.resource.raw["spec"].get("parentRefs") or ()
    shapes = route.obj.spec.parent_refs
    parents: list[Json] = []
    for position, problem in outcome.parents:
        assert is_service(shapes[position])
        reference = dict(written[position])
        since = {one["type"]: one for one in before.get(_identity(reference), ())}
        conditions = [
            _condition(route.generation, kind, said, now, since) for kind, said in _conditions(outcome, problem)
        ]
        parents.append({"parentRef": reference, "controllerName": CONTROLLER, "conditions": conditions})
    return {"parents": parents}


def _identity(reference: Json) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, str(value)) for key, value in reference.items()))


def _conditions(outcome: RouteOutcome, problem: Problem | None) -> Iterator[tuple[str, Json]]:
    """Type; status, reason and message. PartiallyInvalid is there only when it is true."""
    bad = outcome.unsupported
    if problem is not None:
        yield "Accepted", _said(False, *problem)
    elif len(bad) == outcome.rules:
        yield "Accepted", _said(False, "UnsupportedValue", _spell(bad))
    else:
        yield "Accepted", _said(True, "Accepted", "Route is accepted")
        if bad:
            yield "PartiallyInvalid", _said(True, "UnsupportedValue", f"Dropped Rule: {_spell(bad)}")
    if outcome.problems:
        message = "; ".join(one.message for one in outcome.problems)
        yield "ResolvedRefs", _said(False, outcome.problems[0].reason, message)
    else:
        yield "ResolvedRefs", _said(True, "ResolvedRefs", "All references are resolved")


def _said(holds: bool, reason: str, message: str) -> Json:
    return {"status": "True" if holds else "False", "reason": reason, "message": message}


def _spell(unsupported: Mapping[int, str]) -> str:
    rules = "; ".join(f"spec.rules[{index}]: {why}" for index, why in sorted(unsupported.items()))
    return f"{rules}; requests that match are answered with an error"


def _condition(generation: int, kind: str, said: Json, now: datetime, since: Mapping[str, Json]) -> Json:
    known = since.get(kind)
    kept = known is not None and known["status"] == said["status"]
    return {
        "type": kind,
        **said,
        "observedGeneration": generation,
        "lastTransitionTime": known["lastTransitionTime"] if known is not None and kept else timestamp(now),
    }
