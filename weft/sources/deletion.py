"""What goes with an object that is deleted. Pure: objects in, changes out.

A namespace takes all that is in it, a Deployment its pods (metadata.ownerReferences). Pods are marked and stay until
they have stopped. A namespace with pods stays until its last pod has gone, and its policies and services with it: a pod
that is shutting down must not be without policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from weft.sources.objects import Change, Key, Stored
from weft.sources.registry import DEPLOYMENT, NAMESPACE, POD


def delete(objects: Mapping[Key, Stored], keys: Iterable[Key], now: datetime, revision: int) -> list[Change]:
    """The changes that deleting ``keys`` means."""
    changes: dict[Key, Change] = {}
    for key in keys:
        if key.kind == NAMESPACE:
            inside = [stored for stored in objects.values() if stored.key.namespace == key.name]
            pods = [stored for stored in inside if stored.key.kind == POD]
            marked = [objects[key], *pods] if pods else []
            gone = [] if pods else [*inside, objects[key]]
        else:
            owned = _owned(objects, objects[key]) if key.kind == DEPLOYMENT else []
            marked = [stored for stored in (objects[key], *owned) if stored.key.kind == POD]
            gone = [stored for stored in (objects[key], *owned) if stored.key.kind != POD]
        changes |= {stored.key: Change(stored.key, stored, None) for stored in gone}
        for stored in marked:
            if stored.deleting is None and stored.key not in changes:
                new = replace(stored, deleting=now, generation=stored.generation + 1, revision=revision)
                changes[stored.key] = Change(stored.key, stored, new)
    return list(changes.values())


def remove(objects: Mapping[Key, Stored], pod: Stored) -> list[Change]:
    """The changes when ``pod`` has stopped: it goes, and a namespace that waited only for it goes with all in it."""
    gone = [pod]
    home = objects.get(Key(NAMESPACE, "", pod.key.namespace))
    if home is not None and home.deleting is not None:
        inside = [one for one in objects.values() if one.key.namespace == home.key.name and one.key != pod.key]
        if not any(one.key.kind == POD for one in inside):
            gone += [*inside, home]
    return [Change(stored.key, stored, None) for stored in gone]


def _owned(objects: Mapping[Key, Stored], owner: Stored) -> list[Stored]:
    return [stored for stored in objects.values() if owns(owner, stored)]


def owns(owner: Stored, stored: Stored) -> bool:
    """Whether ``owner`` made ``stored``: its uid is among metadata.ownerReferences."""
    references = stored.resource.raw["metadata"].get("ownerReferences") or ()
    return any(reference.get("uid") == owner.uid for reference in references)
