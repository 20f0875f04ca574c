"""Documents → Resources: the kind's shape, Kubernetes' rules for it, names and namespaces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec

from weft.model.origin import ManifestError
from weft.sources.check import Check, nearest
from weft.sources.errors import ManifestErrors, Notice
from weft.sources.objects import Document, Json, Key, Resource
from weft.sources.registry import KINDS, UNSUPPORTED, KindInfo
from weft.sources.rules import names
from weft.sources.yaml import describe

DEFAULT_NAMESPACE = "default"
SERVER_FIELDS = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
)
"""Of metadata: written by the store, so what a manifest says about them means nothing."""


def decode(document: Document, namespace: str = "") -> tuple[Resource, list[Notice]]:
    """One valid object, and warnings about fields without effect.

    ``namespace``: where a namespaced object goes that names none (empty = ``default``); one that names another is
    refused, as kubectl does with ``-n``. Raises ManifestError; ManifestErrors if more than one
    thing is wrong.
    """
    found = Check(document.origin)
    info = _kind(document, found)
    raw = _without_null(document.data) if info.null_is_absent else dict(document.data)
    raw.pop("status", None)
    found.visit(_shape(info.kind), raw, ())
    found.finish()
    try:
        obj: Any = msgspec.convert(raw, info.shape)
    except msgspec.ValidationError as error:
        raise ManifestError(document.origin, (), str(error)) from None
    home = _check_metadata(info, obj.metadata, namespace, found)
    info.rules(obj, found)
    found.finish()
    raw = {**raw, "apiVersion": info.api_version, "metadata": _metadata(raw["metadata"], home)}
    resource = Resource(
        info.api_version,
        info.kind,
        home,
        obj.metadata.name,
        msgspec.convert(raw, info.shape),
        raw,
        document.origin,
        document.excerpt,
    )
    return resource, found.notices


def decode_all(documents: Iterable[Document], namespace: str = "") -> tuple[list[Resource], list[Notice]]:
    """All of them, in order. Of an object in two files the later one counts, as kubectl has it, with a notice.

    Raises ManifestErrors with what is wrong in any, or if one file has an object twice.
    """
    resources: dict[Key, Resource] = {}
    notices: list[Notice] = []
    errors: list[ManifestError] = []
    for document in documents:
        try:
            resource, warnings = decode(document, namespace)
        except ManifestError as refused:
            errors += refused.errors if isinstance(refused, ManifestErrors) else (refused,)
            continue
        if twin := resources.get(resource.key):
            name = ("metadata", "name")
            if twin.origin.file == resource.origin.file:
                problem = f"{resource.key} is there twice (first in {twin.origin.at(())})"
                errors.append(ManifestError(resource.origin, name, problem))
            else:
                notices.append(Notice(resource.origin, name, f"takes the place of the one in {twin.origin.at(())}"))
        resources[resource.key] = resource
        notices += warnings
    if errors:
        raise ManifestErrors(errors)
    return list(resources.values()), notices


def with_raw(resource: Resource, raw: Json) -> Resource:
    """The same resource with other content, which must be valid (defaults filled in by admission)."""
    return replace(resource, raw=raw, obj=msgspec.convert(raw, KINDS[resource.kind].shape))


@cache
def _shape(kind: str) -> msgspec.inspect.Type:
    return msgspec.inspect.type_info(KINDS[kind].shape)


def _kind(document: Document, found: Check) -> KindInfo:
    """The kind that a document says it is. Raises ManifestErrors."""
    data = document.data
    for name in ("apiVersion", "kind"):
        if name not in data:
            found.error((), f'field "{name}" is missing')
        elif not isinstance(data[name], str):
            found.error((name,), f"expected a string, got {describe(data[name])}")
    found.finish()
    kind, version = data["kind"], data["apiVersion"]
    info = KINDS.get(kind)
    if info is None and kind in UNSUPPORTED:
        raise ManifestError(document.origin, ("kind",), f"{kind} is not supported", UNSUPPORTED[kind])
    if info is None:
        raise ManifestError(document.origin, ("kind",), f"unknown kind {kind!r}", nearest(kind, KINDS))
    known = (info.api_version, *info.older)
    if version not in known:
        remedy = f"expected {' or '.join(known)}"
        raise ManifestError(document.origin, ("apiVersion",), f"unknown apiVersion {version!r} of {kind}", remedy)
    return info


def _without_null(value: Any) -> Any:
    """A null field is a field left out; a null in a list stays, to be refused."""
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    return [_without_null(item) for item in value] if isinstance(value, list) else value


def _check_metadata(info: KindInfo, meta: Any, namespace: str, found: Check) -> str:
    """The object's namespace; empty for a cluster-scoped kind."""
    if meta.generate_name:
        found.error(("metadata", "generateName"), "not supported", "write metadata.name")
    if not meta.name:
        found.error(("metadata",), 'field "name" is missing')
    elif problem := info.name_rule(meta.name):
        found.error(("metadata", "name"), f"invalid name {meta.name!r}", problem)
    names.check_template_metadata(found, meta)
    if not info.namespaced:
        if meta.namespace:
            found.error(("metadata", "namespace"), f"{info.kind} belongs to no namespace", "leave it out")
        return ""
    if meta.namespace and (problem := names.dns_label(meta.namespace)):
        found.error(("metadata", "namespace"), f"invalid name {meta.namespace!r}", problem)
    if namespace and meta.namespace and meta.namespace != namespace:
        problem = f"{meta.namespace!r} is not the namespace {namespace!r} of the command"
        found.error(("metadata", "namespace"), problem, "leave one of them out")
    return meta.namespace or namespace or DEFAULT_NAMESPACE


def _metadata(raw: Json, namespace: str) -> Json:
    kept = {name: value for name, value in raw.items() if name not in SERVER_FIELDS}
    return {**kept, "namespace": namespace} if namespace else kept
