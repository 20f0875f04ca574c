"""How names, labels and addresses may be spelled (``k8s.io/apimachinery`` util/validation)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping

from weft.model.kinds.meta import ObjectMeta
from weft.model.net import IPAddress
from weft.model.origin import FieldPath
from weft.sources.check import Check

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?", re.ASCII)
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", re.ASCII)
_PORT_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*", re.ASCII)


def dns_label(name: str) -> str:
    """What is wrong with ``name`` as an RFC 1123 label (Namespace, container, hostname); empty if nothing."""
    if len(name) > 63:
        return "longer than 63 characters"
    return "" if _LABEL.fullmatch(name) else "only a-z, 0-9 and '-', and first and last a letter or digit"


def dns_1035(name: str) -> str:
    """The same as an RFC 1035 label (Service): it must begin with a letter."""
    if len(name) > 63:
        return "longer than 63 characters"
    return "" if _LABEL_1035.fullmatch(name) else "only a-z, 0-9 and '-', first a letter, last a letter or digit"


def subdomain(name: str) -> str:
    """The same as an RFC 1123 subdomain (most objects): labels with dots between."""
    if len(name) > 253:
        return "longer than 253 characters"
    fits = all(_LABEL.fullmatch(part) for part in name.split("."))
    return "" if fits else "only a-z, 0-9, '-' and '.', and first and last a letter or digit"


def port_name(name: str) -> str:
    """The same as a named port (RFC 6335): at most 15 characters, at least one letter, no '--'."""
    fits = len(name) <= 15 and _PORT_NAME.fullmatch(name) and re.search("[a-z]", name)
    return "" if fits else "at most 15 of a-z, 0-9 and '-', with a letter, no '--', no '-' at the ends"


def label_key(key: str) -> str:
    prefix, slash, name = key.rpartition("/")
    if slash and (problem := subdomain(prefix)):
        return f"its prefix: {problem}"
    if len(name) > 63:
        return "its name is longer than 63 characters"
    return "" if _QUALIFIED.fullmatch(name) else "only letters, digits, '-', '_', '.', first and last a letter or digit"


def label_value(value: str) -> str:
    if len(value) > 63:
        return "longer than 63 characters"
    fits = not value or _QUALIFIED.fullmatch(value)
    return "" if fits else "only letters, digits, '-', '_', '.', and first and last a letter or digit"


def address(text: str) -> IPAddress | None:
    """An address without zone, or None."""
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return None if found.version == 6 and found.scope_id else found


def check_labels(check: Check, labels: Mapping[str, str], path: FieldPath) -> None:
    for key, value in labels.items():
        if problem := label_key(key):
            check.error((*path, key), f"invalid label key {key!r}", problem)
        if problem := label_value(value):
            check.error((*path, key), f"invalid label value {value!r}", problem)


def check_template_metadata(check: Check, meta: ObjectMeta, path: FieldPath = ("metadata",)) -> None:
    """Labels, and the fields that mean something only to an API server."""
    check_labels(check, meta.labels or {}, (*path, "labels"))
    for key in meta.annotations or {}:
        if problem := label_key(key.lower()):
            check.error((*path, "annotations", key), f"invalid annotation key {key!r}", problem)
    if meta.finalizers:
        check.notice((*path, "finalizers"), "has no effect: weft has no controllers to wait for")
