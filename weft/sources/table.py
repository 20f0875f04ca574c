"""``weft get``: rows in, text out, with kubectl's columns and outputs. Pure; ``now`` is given."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime

import yaml

from weft.sources import columns
from weft.sources.objects import Json, Stored
from weft.sources.registry import KINDS
from weft.sources.status import timestamp

OUTPUTS = ("", "wide", "yaml", "json", "name")
_GAP = "   "


def render(
    objects: Sequence[Stored],
    output: str,
    now: datetime,
    *,
    all_namespaces: bool = False,
    one: bool = False,
) -> str:
    """The text of ``get`` for objects of one or several kinds, in their order.

    ``output``: one of OUTPUTS; ``one``: the user named a single object, so yaml and json show it without a List.
    Raises ValueError for an unknown output.
    """
    if output not in OUTPUTS:
        raise ValueError(f"unknown output {output!r}; expected one of: {', '.join(name for name in OUTPUTS if name)}")
    if output in ("yaml", "json"):
        documents = [document(stored) for stored in objects]
        whole = documents[0] if one and len(documents) == 1 else _list(documents)
        return json.dumps(whole, indent=4) if output == "json" else _yaml(whole)
    if not objects:
        return "" if output == "name" else "No resources found"
    if output == "name":
        return "\n".join(reference(stored) for stored in objects)
    kinds = list(dict.fromkeys(stored.key.kind for stored in objects))
    parts = []
    for kind in kinds:
        rows = [stored for stored in objects if stored.key.kind == kind]
        parts.append(_kind(rows, output == "wide", now, all_namespaces, prefix=len(kinds) > 1))
    return "\n\n".join(parts)


def reference(stored: Stored) -> str:
    """``deployment.apps/web``: as kubectl names an object in what it prints."""
    return f"{KINDS[stored.key.kind].resource}/{stored.key.name}"


def document(stored: Stored) -> Json:
    """The whole object as an API server shows it; applying it again changes nothing."""
    raw = stored.resource.raw
    metadata = {
        **raw["metadata"],
        "uid": stored.uid,
        "resourceVersion": str(stored.revision),
        "generation": stored.generation,
        "creationTimestamp": timestamp(stored.created),
    }
    if stored.deleting:
        metadata["deletionTimestamp"] = timestamp(stored.deleting)
    status = {"status": stored.status} if stored.status else {}
    return {**raw, "metadata": dict(sorted(metadata.items())), **status}


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, three spaces between, none at the end of a line."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    return "\n".join(
        _GAP.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def identities(rows: Iterable[tuple[int, Sequence[str], int]], output: str = "") -> str:
    """``weft get identities``: (number, labels as ``LabelSet.spelled``, endpoints that have it) per row."""
    ordered = sorted(rows)
    if output in ("json", "yaml"):
        whole = [{"id": number, "labels": list(labels), "endpoints": count} for number, labels, count in ordered]
        return json.dumps(whole, indent=4) if output == "json" else _yaml(whole)
    if output == "name":
        return "\n".join(f"identity/{number}" for number, _, _ in ordered)
    cells = []
    for number, labels, count in ordered:
        first, *rest = labels or ("",)
        cells.append((str(number), str(count), first))
        cells += [("", "", label) for label in rest]
    return table(("ID", "ENDPOINTS", "LABELS"), cells)


def _kind(rows: Sequence[Stored], wide: bool, now: datetime, all_namespaces: bool, prefix: bool) -> str:
    info = KINDS[rows[0].key.kind]
    chosen = [column for column in columns.COLUMNS[info.kind] if wide or not column.wide]
    header = [column.name for column in chosen]
    cells = [[column.cell(stored, now) for column in chosen] for stored in rows]
    if prefix:
        for stored, line in zip(rows, cells, strict=True):
            line[0] = reference(stored)
    if all_namespaces and info.namespaced:
        header = ["NAMESPACE", *header]
        cells = [[stored.key.namespace, *line] for stored, line in zip(rows, cells, strict=True)]
    return table(header, cells)


def _list(items: list[Json]) -> Json:
    return {"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}}


class _Dumper(yaml.SafeDumper):
    """Without anchors and aliases, as kubectl prints."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _yaml(whole: object) -> str:
    return yaml.dump(whole, Dumper=_Dumper, sort_keys=True, default_flow_style=False, allow_unicode=True).rstrip("\n")
