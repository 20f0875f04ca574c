"""Policies, routes and grants: decoded as manifests are, so that what is misspelt is refused and not passed over.

A refused object gets a condition or an Event that names the field. The last good version stays in force.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from weft.model.origin import ManifestError, Origin, spell
from weft.routes.translate import grant
from weft.sources import registry
from weft.sources.decode import SERVER_FIELDS, decode
from weft.sources.errors import ManifestErrors
from weft.sources.kubernetes import shapes
from weft.sources.kubernetes.complaints import Complaints
from weft.sources.kubernetes.lastgood import LastGood
from weft.sources.kubernetes.resources import Reference, Resource, Seen
from weft.sources.kubernetes.statuses import refused_route, validity
from weft.sources.kubernetes.tables import Table
from weft.sources.objects import Document, Json, Key, Stored
from weft.sources.world import policy, route, world_key

log = logging.getLogger("weft.kubernetes")
_FIELDS = {registry.REFERENCE_GRANT: "grants", **dict.fromkeys(registry.ROUTES, "routes")}
_WITH_CONDITIONS = (registry.CNP, registry.CCNP)
_NOT_ASKED = (*SERVER_FIELDS, "generateName")
"""Of metadata: what the API server writes, and what it made the name of."""


class StrictTable(Table):
    """``on_checked(key, status)``: an object was read; what its status should say, None if that is not for us to say.
    ``on_removed``: it is gone."""

    def __init__(
        self,
        resource: Resource,
        complaints: Complaints,
        cluster: str,
        last_good: LastGood,
        on_checked: Callable[[Key, Json | None], None],
        on_removed: Callable[[Key], None],
    ) -> None:
        super().__init__(resource, _FIELDS.get(resource.kind, "policies"), complaints)
        self._cluster, self._last_good = cluster, last_good
        self._on_checked, self._on_removed = on_checked, on_removed
        self._values: dict[Any, Any] = {}
        self.stored: dict[Key, Stored] = {}
        """What is in force of each object."""
        self.seen: dict[Key, Seen] = {}

    def key(self, meta: shapes.Meta) -> Any:
        return world_key(self._name(meta))

    def known(self) -> list[Any]:
        return [world_key(key) for key in self.seen]

    def value(self, key: Any) -> Any:
        return self._values.get(key)

    def put(self, raw: msgspec.Raw, version: str) -> tuple[Any, bool]:
        meta = msgspec.json.decode(raw, type=shapes.Headed).metadata
        key, data = self._name(meta), msgspec.json.decode(raw)
        status = data.pop("status", None) or {}
        self.seen[key] = Seen(Reference(key, version, meta.uid), meta.resource_version, status)
        metadata = {name: value for name, value in data["metadata"].items() if name not in _NOT_ASKED}
        data |= {"apiVersion": version, "kind": self.resource.kind, "metadata": metadata}
        try:
            changed = self._accept(key, data, meta, status)
        except ManifestError as error:
            return world_key(key), self._refuse(key, data, meta, _message(error))
        except Exception as error:  # whatever one object makes weft do wrong, the others must not suffer
            log.exception("%s", key)
            return world_key(key), self._refuse(key, data, meta, f"weft failed: {type(error).__name__}: {error}")
        self._last_good.drop(key)
        self._complaints.settle(key)
        self._on_checked(key, validity("") if self.resource.kind in _WITH_CONDITIONS else None)
        return world_key(key), changed

    def remove(self, key: Any) -> bool:
        name = _unworldly(self.resource.kind, key)
        self.seen.pop(name, None)
        self.stored.pop(name, None)
        self._last_good.drop(name)
        self._complaints.settle(name)
        self._on_removed(name)
        return self._values.pop(key, None) is not None

    def _accept(self, key: Key, data: Json, meta: shapes.Meta, status: Json) -> bool:
        """Put it in force; whether its value is another one. Raises ManifestError."""
        old, changed = self.stored.get(key), False
        if old is None or old.resource.raw != {**data, "apiVersion": old.resource.api_version}:
            new = self._decode(key, data)
            value = self._translate(_with(new, meta, status))
            changed = self._values.get(world_key(key)) != value or self._is_asked_anew(key, meta)
            self._values[world_key(key)] = value
            old = new
        self.stored[key] = _with(old, meta, status)
        return changed

    def _is_asked_anew(self, key: Key, meta: shapes.Meta) -> bool:
        """A route's status names the generation that it speaks of, so the plan must speak of each."""
        old = self.stored.get(key)
        return self.field == "routes" and old is not None and old.generation != meta.generation

    def _refuse(self, key: Key, data: Json, meta: shapes.Meta, message: str) -> bool:
        """Leave the last good version in force, or the one of the agent before; whether the value is another one."""
        changed = False
        if key in self.stored:
            self._last_good.keep(key, meta.uid, self.stored[key].resource.raw)
        elif (kept := self._last_good.get(key, meta.uid)) is not None:
            with suppress(ManifestError):
                changed = self._accept(key, kept, meta, {})
        if key in self.stored:
            message += " (the last valid version stays in force)"
        self.complain(meta, data["apiVersion"], message)
        status = None
        if self.resource.kind in _WITH_CONDITIONS:
            status = validity(message)
        elif self.field == "routes":
            status = refused_route(data.get("spec"), meta.generation, message)
        self._on_checked(key, status)
        return changed

    def _decode(self, key: Key, data: Json) -> Stored:
        origin = Origin.of_object(key.kind, str(key.namespaced))
        resource, _ = decode(Document(origin, data))
        return Stored(resource, "", 0, 0, datetime.fromtimestamp(0, UTC))

    def _translate(self, stored: Stored) -> Any:
        match stored.key.kind:
            case registry.HTTP_ROUTE | registry.GRPC_ROUTE:
                return route(stored)
            case registry.REFERENCE_GRANT:
                return grant(stored.obj)
            case _:
                return policy(stored.resource, self._cluster)


def _with(stored: Stored, meta: shapes.Meta, status: Json) -> Stored:
    revision = int(meta.resource_version) if meta.resource_version.isdigit() else 0
    return replace(
        stored,
        uid=meta.uid,
        generation=meta.generation,
        revision=revision,
        created=_moment(meta.creation_timestamp) or datetime.fromtimestamp(0, UTC),
        deleting=_moment(meta.deletion_timestamp),
        status=status,
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def _unworldly(kind: str, key: Any) -> Key:
    return Key(kind, key.namespace, key.name)


def _message(error: ManifestError) -> str:
    """Every problem with its field."""
    found = error.errors if isinstance(error, ManifestErrors) else (error,)
    texts = [f"{spell(one.path)}: {one.problem}" if one.path else one.problem for one in found]
    return "; ".join(f"{text} ({one.remedy})" if one.remedy else text for text, one in zip(texts, found, strict=True))
