"""What the stages of this package hand to each other: Document → Resource → Stored, and Change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple

from weft.model.objects import NamespacedName
from weft.model.origin import Origin

Json = dict[str, Any]
"""A JSON object: str, int, float, bool, None, list and dict only. Never edited once handed on."""


class Key(NamedTuple):
    """Names an object in the store. ``namespace`` is empty for a cluster-scoped kind."""

    kind: str
    namespace: str
    name: str

    @property
    def namespaced(self) -> NamespacedName:
        return NamespacedName(self.namespace, self.name)

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace + '/' if self.namespace else ''}{self.name}"


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The text of a document as it stood in its file, for explanations. Long lines are cut."""

    first_line: int
    lines: tuple[str, ...]

    def text(self, number: int) -> str:
        """Line ``number`` of the file; empty if it is outside."""
        index = number - self.first_line
        return self.lines[index] if 0 <= index < len(self.lines) else ""


NO_TEXT = Excerpt(1, ())


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document (or item of a List): plain data, and where each field of it was written."""

    origin: Origin
    data: Json = field(hash=False)
    excerpt: Excerpt = NO_TEXT


@dataclass(frozen=True, slots=True)
class Resource:
    """A valid object. ``obj`` is the Struct of ``weft.model.kinds`` that ``raw`` decodes to."""

    api_version: str
    kind: str
    namespace: str
    name: str
    obj: Any = field(hash=False)
    raw: Json = field(hash=False)
    origin: Origin
    excerpt: Excerpt = NO_TEXT

    @property
    def key(self) -> Key:
        return Key(self.kind, self.namespace, self.name)

    @property
    def labels(self) -> Mapping[str, str]:
        return self.obj.metadata.labels or {}


@dataclass(frozen=True, slots=True)
class Stored:
    """A resource with what the store knows of it."""

    resource: Resource
    uid: str
    generation: int
    """Counts changes of what is asked: content, labels and annotations included, and the wish to delete it."""
    revision: int
    """Store revision of the last write, status included: Kubernetes' resourceVersion."""
    created: datetime
    """UTC, whole seconds."""
    deleting: datetime | None = None
    """Since when it is being deleted (Kubernetes' deletionTimestamp); it goes when ``Store.delete`` says so."""
    status: Json = field(default_factory=dict, hash=False)

    @property
    def key(self) -> Key:
        return self.resource.key

    @property
    def obj(self) -> Any:
        return self.resource.obj


class Action(Enum):
    CREATED = "created"
    CONFIGURED = "configured"
    UNCHANGED = "unchanged"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Change:
    """One object before and after a committed transaction. ``old`` None: new; ``new`` None: gone."""

    key: Key
    old: Stored | None
    new: Stored | None

    @property
    def action(self) -> Action:
        """UNCHANGED: asked for is the same as before; the status, or the lines of the manifest, may differ."""
        if self.old is None:
            return Action.CREATED
        if self.new is None:
            return Action.DELETED
        return Action.UNCHANGED if self.old.generation == self.new.generation else Action.CONFIGURED
