"""Header modifiers, as fields of a route or of a weighted cluster."""

from __future__ import annotations

from typing import Any

from weft.model.route import HeaderChange
from weft.proxy.rules import literal

Json = dict[str, Any]


def header_change(request: HeaderChange, response: HeaderChange) -> Json:
    """The fields of a route, or of a weighted cluster, that change headers."""
    changes: Json = {}
    for side, change in (("request", request), ("response", response)):
        added = [_header_value(*pair, "OVERWRITE_IF_EXISTS_OR_ADD") for pair in change.set]
        added += [_header_value(*pair, "APPEND_IF_EXISTS_OR_ADD") for pair in change.add]
        if added:
            changes[f"{side}_headers_to_add"] = added
        if change.remove:
            changes[f"{side}_headers_to_remove"] = list(change.remove)
    return changes


def _header_value(name: str, value: str, action: str) -> Json:
    return {"header": {"key": name, "value": literal(value)}, "append_action": action, "keep_empty_value": not value}
