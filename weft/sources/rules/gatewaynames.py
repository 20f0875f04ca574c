"""How the fields of Gateway API kinds may be spelled: the patterns of its CRDs, in people's words."""

from __future__ import annotations

import ipaddress
import re

from weft.model.kinds import gateway
from weft.model.origin import FieldPath, ManifestError
from weft.policy.regex import check as check_regex
from weft.policy.spot import Spot
from weft.routes.durations import milliseconds
from weft.sources.check import Check
from weft.sources.rules import names

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+")
_VALUE = re.compile(r"[!-~]+([\t ]?[!-~]+)*")
_KIND = re.compile(r"[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?")
_PATH = re.compile(r"(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|[%][0-9a-fA-F]{2})+")
_BAD_PARTS = ("//", "/./", "/../", "%2f", "%2F", "#")
_BAD_ENDS = ("/..", "/.")
_SERVICE = re.compile(r"\.?[a-zA-Z_][a-zA-Z_0-9]*(\.[a-zA-Z_][a-zA-Z_0-9]*)*")
_METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


def group(found: Check, value: str, path: FieldPath) -> None:
    if value and (problem := names.subdomain(value)):
        found.error(path, f"invalid API group {value!r}", problem)


def kind(found: Check, value: str, path: FieldPath) -> None:
    if len(value) > 63 or not _KIND.fullmatch(value):
        found.error(path, f"invalid kind {value!r}", "letters, digits and '-', at most 63, first a letter")


def namespace(found: Check, value: str, path: FieldPath) -> None:
    if problem := names.dns_label(value):
        found.error(path, f"invalid name {value!r}", problem)


def section(found: Check, value: str, path: FieldPath) -> None:
    if problem := names.subdomain(value):
        found.error(path, f"invalid name {value!r}", problem)


def hostname(found: Check, value: str, path: FieldPath, wildcard: bool = False) -> None:
    name = value.removeprefix("*.") if wildcard else value
    try:
        ipaddress.ip_address(name)
    except ValueError:
        if problem := names.subdomain(name):
            found.error(path, f"invalid host name {value!r}", problem)
    else:
        found.error(path, f"{value} is an address", "expected a DNS name")


def header(found: Check, value: str, path: FieldPath) -> None:
    if not _HEADER.fullmatch(value):
        found.error(path, f"invalid name {value!r}", "only letters, digits and !#$%&'*+-.^_`|~ (RFC 9110 token)")


def header_value(found: Check, value: str, path: FieldPath) -> None:
    if not _VALUE.fullmatch(value):
        problem = "printable ASCII, with single spaces or tabs between"
        found.error(path, f"invalid header value {value!r}", problem)


def url_path(found: Check, value: str, path: FieldPath) -> None:
    """Of a match of type Exact or PathPrefix."""
    if not value.startswith("/"):
        found.error(path, f"{value!r} does not begin with '/'", "expected an absolute path")
        return
    bad = next((part for part in _BAD_PARTS if part in value), None)
    bad = bad or next((end for end in _BAD_ENDS if value.endswith(end)), None)
    if bad:
        found.error(path, f"contains {bad!r}", "requests are compared after normalisation; write the plain path")
    elif not _PATH.fullmatch(value):
        found.error(path, f"{value!r} has characters that a path cannot have", "write them as %XX")


def regex(found: Check, value: str, path: FieldPath) -> None:
    try:
        check_regex(value, Spot(found.origin, path))
    except ManifestError as error:
        found.errors.append(error)


def grpc(found: Check, match: gateway.GRPCMethodMatch, path: FieldPath) -> None:
    if match.service and not _SERVICE.fullmatch(match.service):
        found.error((*path, "service"), f"not a gRPC service: {match.service!r}", "expected package.Service")
    if match.method and not _METHOD.fullmatch(match.method):
        found.error((*path, "method"), f"not a gRPC method: {match.method!r}", "only letters, digits and '_'")


def backend(found: Check, ref: gateway.BackendObjectReference, path: FieldPath) -> None:
    group(found, ref.group, (*path, "group"))
    kind(found, ref.kind, (*path, "kind"))
    if ref.namespace:
        namespace(found, ref.namespace, (*path, "namespace"))
    if ref.port is None and (ref.group, ref.kind) in (("", "Service"), ("core", "Service")):
        found.error(path, 'field "port" is missing', "a Service as backend needs it")


def duration(found: Check, value: str | None, path: FieldPath) -> int | None:
    """Milliseconds."""
    if value is None:
        return None
    number = milliseconds(value)
    if number is None:
        found.error(path, f"not a duration: {value!r}", "for example 500ms, 10s, 1m30s")
    return number
