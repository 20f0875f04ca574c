"""The fields of a ``FlowFilter`` that are about HTTP, with the meaning of Hubble's server (pkg/hubble/filters/http.go,
tracing.go of cilium/cilium). Expressions are RE2's, as Go's are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import unquote

from weft.flows.query import HeaderFilter
from weft.model.l7 import L7Record

RecordPredicate = Callable[[L7Record], bool]

_STATUS = re.compile(r"[1-5][0-9]{2}|[1-5][0-9]?\+")


def status_code(text: str) -> str:
    """``404``, ``40+`` or ``4+``. Errors: ValueError."""
    if not _STATUS.fullmatch(text):
        raise ValueError(f"{text!r} is no HTTP status; expected one (404) or the beginning of one (4+, 40+)")
    return text


def header(text: str) -> HeaderFilter:
    """``name:value``. Errors: ValueError."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise ValueError(f"{text!r} is no header; expected name:value")
    return HeaderFilter(key=name.strip(), value=value.strip())


def expression(text: str) -> Any:
    """Compiled. Errors: ValueError with what RE2 says."""
    import re2  # only who asks for one needs it

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error as error:
        said = error.args[0]
        said = said.decode(errors="replace") if isinstance(said, bytes) else said
        raise ValueError(f"{text!r} is no regular expression: {said}") from None


def is_http(record: L7Record) -> bool:
    """Envoy read it as HTTP, even if it was none that could be answered: such a record may lack method and path."""
    return record.protocol.startswith("HTTP")


def url_of(record: L7Record) -> str:
    """Empty if not even the beginning of the request could be read."""
    return f"{record.scheme or 'http'}://{record.host}{record.path}" if record.host or record.path else ""


def path_of(record: L7Record) -> str:
    """Without query and percent-encoding, as Go's url.Path."""
    path = record.path.partition("?")[0].partition("#")[0]
    return unquote(path, errors="backslashreplace") if "%" in path else path


def _by_status(values: Iterable[str]) -> RecordPredicate:
    wanted = tuple(status_code(value) for value in values)
    beginnings = tuple(value.removesuffix("+") for value in wanted)
    return lambda record: is_http(record) and record.status != 0 and f"{record.status:03}".startswith(beginnings)


def _by_method(values: Iterable[str]) -> RecordPredicate:
    wanted = frozenset(value.upper() for value in values)
    return lambda record: is_http(record) and record.method.upper() in wanted


def _by_path(values: Iterable[str]) -> RecordPredicate:
    found = [expression(value).search for value in values]
    return lambda record: is_http(record) and bool(url_of(record)) and any(search(path_of(record)) for search in found)


def _by_url(values: Iterable[str]) -> RecordPredicate:
    found = [expression(value).search for value in values]
    return lambda record: is_http(record) and bool(url := url_of(record)) and any(search(url) for search in found)


def _by_header(values: Iterable[HeaderFilter]) -> RecordPredicate:
    wanted = frozenset((value.key.lower(), value.value) for value in values)
    return lambda record: is_http(record) and not wanted.isdisjoint(record.request_headers)


def _by_trace(values: Iterable[str]) -> RecordPredicate:
    wanted = frozenset(value.lower() for value in values)
    return lambda record: bool(record.trace_id) and record.trace_id.lower() in wanted


HTTP_FIELDS: dict[str, Callable[[Any], RecordPredicate]] = {
    "http_status_code": _by_status,
    "http_method": _by_method,
    "http_path": _by_path,
    "http_url": _by_url,
    "http_header": _by_header,
    "trace_id": _by_trace,
}
"""Each is for layer-7 flows alone. Errors of each: ValueError."""
