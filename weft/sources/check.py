"""Plain data against a shape of ``weft.model.kinds``: every wrong field, by its path, not only the first.

msgspec decodes; this says in people's words why it will not, and acts on the marks of fields that weft does not honour.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from msgspec import inspect

from weft.model.kinds.marks import IGNORED, REFUSED
from weft.model.origin import FieldPath, ManifestError, Origin
from weft.sources.errors import ManifestErrors, Notice
from weft.sources.yaml import describe

_SHOWN = 12
"""So many expected names are listed at most."""


def nearest(name: str, known: Iterable[str]) -> str:
    """``did you mean "containers"?``, or what is expected, or nothing if that would be too long."""
    names = sorted(known)
    folded = {known.lower(): known for known in names}
    if close := difflib.get_close_matches(name.lower(), folded, 1, 0.6):
        return f'did you mean "{folded[close[0]]}"?'
    return f"expected one of: {', '.join(names)}" if len(names) <= _SHOWN else ""


@dataclass(slots=True)
class Check:
    """Collects what is wrong (``errors``) and what has no effect (``notices``) in one document."""

    origin: Origin
    errors: list[ManifestError] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def error(self, path: FieldPath, problem: str, remedy: str = "") -> None:
        self.errors.append(ManifestError(self.origin, path, problem, remedy))

    def notice(self, path: FieldPath, text: str) -> None:
        self.notices.append(Notice(self.origin, path, text))

    def finish(self) -> None:
        """Raises ManifestErrors with the errors so far, in the order of their lines, if there are any."""
        if self.errors:
            raise ManifestErrors(sorted(self.errors, key=lambda error: error.origin.line(error.path)))

    def visit(self, type_: inspect.Type, value: Any, path: FieldPath) -> None:
        """Compare ``value`` with ``type_`` (of ``msgspec.inspect.type_info``) and go down."""
        match type_:
            case inspect.Metadata():
                self._marked(type_, value, path)
            case inspect.UnionType():
                self._union(type_, value, path)
            case inspect.StructType() if isinstance(value, dict):
                self._struct(type_, value, path)
            case inspect.DictType() if isinstance(value, dict):
                for key, item in value.items():
                    self.visit(type_.value_type, item, (*path, key))
            case inspect.ListType() | inspect.VarTupleType() if isinstance(value, list):
                self._list(type_, value, path)
            case _ if not _fits(type_, value):
                self.error(path, f"expected {_name(type_)}, got {describe(value)}", _quote(type_, value))
            case inspect.IntType():
                self._range(type_.ge, type_.le, value, "", path)
            case inspect.StrType() if len(value) < (type_.min_length or 0):
                self.error(path, "must not be empty")
            case inspect.StrType() if type_.max_length is not None and len(value) > type_.max_length:
                self.error(path, f"longer than {type_.max_length} characters")
            case inspect.LiteralType() if value not in type_.values:
                names = [str(known) for known in type_.values if known != ""]
                self.error(path, f"unknown value {value!r}", nearest(str(value), names))

    def _marked(self, type_: inspect.Metadata, value: Any, path: FieldPath) -> None:
        extra = type_.extra or {}
        if REFUSED in extra and value not in (None, False, "", []):
            self.error(path, "not supported", extra[REFUSED])
        elif IGNORED in extra and value is not None:
            self.notice(path, f"has no effect: {extra[IGNORED]}")
        self.visit(type_.type, value, path)

    def _union(self, type_: inspect.UnionType, value: Any, path: FieldPath) -> None:
        fitting = [one for one in type_.types if _fits(one, value)]
        if fitting:
            self.visit(fitting[0], value, path)
        else:
            names = [_name(one) for one in type_.types if not isinstance(one, inspect.NoneType)]
            self.error(path, f"expected {' or '.join(names)}, got {describe(value)}")

    def _struct(self, type_: inspect.StructType, value: dict[str, Any], path: FieldPath) -> None:
        fields = {one.encode_name: one for one in type_.fields}
        for key, item in value.items():
            if key in fields:
                self.visit(fields[key].type, item, (*path, key))
            else:
                self.error((*path, key), "unknown field", nearest(key, fields))
        for key, one in fields.items():
            if one.required and key not in value:
                self.error(path, f'field "{key}" is missing')

    def _list(self, type_: inspect.ListType | inspect.VarTupleType, value: list[Any], path: FieldPath) -> None:
        self._range(type_.min_length, type_.max_length, len(value), " elements", path)
        for index, item in enumerate(value):
            self.visit(type_.item_type, item, (*path, index))

    def _range(self, low: int | None, high: int | None, value: int, unit: str, path: FieldPath) -> None:
        if (low is None or low <= value) and (high is None or value <= high):
            return
        wanted = f"{low} to {high}" if low is not None and high is not None else f"at least {low}"
        self.error(path, f"expected {wanted if low is not None else f'at most {high}'}{unit}, got {value}")


def _fits(type_: inspect.Type, value: Any) -> bool:
    """Whether the JSON type is right; the content is for ``visit``."""
    match type_:
        case inspect.AnyType() | inspect.Metadata():
            return True
        case inspect.UnionType():
            return any(_fits(one, value) for one in type_.types)
        case inspect.StructType() | inspect.DictType():
            return isinstance(value, dict)
        case inspect.ListType() | inspect.VarTupleType():
            return isinstance(value, list)
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool)
        case inspect.FloatType():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case inspect.StrType() | inspect.LiteralType():
            return isinstance(value, str)
        case inspect.NoneType():
            return value is None
    raise TypeError(f"shapes do not use {type(type_).__name__}")


def _name(type_: inspect.Type) -> str:
    match type_:
        case inspect.StructType() | inspect.DictType():
            return "an object"
        case inspect.ListType() | inspect.VarTupleType():
            return "a list"
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "a whole number"
        case inspect.FloatType():
            return "a number"
        case inspect.LiteralType() if len(type_.values) <= _SHOWN:
            return " or ".join(f'"{value}"' for value in type_.values)
    return "a string"


def _quote(type_: inspect.Type, value: Any) -> str:
    """What to do about the most frequent mistake: YAML made a number or a boolean of an unquoted text."""
    if isinstance(type_, inspect.StrType) and isinstance(value, bool):
        return "put the text in quotes (unquoted yes, no, on, off, y, n, true and false are booleans)"
    return "put it in quotes" if isinstance(type_, inspect.StrType) and isinstance(value, int | float) else ""
