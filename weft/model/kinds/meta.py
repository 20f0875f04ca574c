"""The metadata that every Kubernetes object carries (``k8s.io/apimachinery`` meta/v1), as far as weft reads it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Base of every manifest shape: Kubernetes' own camelCase names, and an unknown field is an error."""


class ObjectMeta(Strict, frozen=True):
    """Of an object or of a pod template. ``labels`` and ``annotations`` may be null, as Kubernetes accepts.

    The fields from ``uid`` on are written by an API server: they are accepted, so that ``kubectl get -o yaml`` can be
    applied as it is, and mean nothing here.
    """

    name: str = ""
    namespace: str = ""
    """Empty = not given: ``default`` for a namespaced kind."""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None

    uid: Any = None
    resource_version: Any = None
    generation: Any = None
    generate_name: Any = None
    creation_timestamp: Any = None
    deletion_timestamp: Any = None
    deletion_grace_period_seconds: Any = None
    managed_fields: Any = None
    owner_references: Any = None
    finalizers: Any = None
    self_link: Any = None


class LabelSelectorRequirement(Strict, frozen=True):
    """An element of ``matchExpressions``."""

    key: str
    operator: str
    values: tuple[str, ...] = ()


class LabelSelectorShape(Strict, frozen=True):
    """meta/v1 LabelSelector as written: all parts must hold. null is an error, for it would select everything."""

    match_labels: dict[str, str] | UnsetType = UNSET
    match_expressions: tuple[LabelSelectorRequirement, ...] | UnsetType = UNSET
