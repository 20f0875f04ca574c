"""Label selectors as written → requirements. Syntax of keys and values: Kubernetes, "Labels and Selectors"."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from weft.model.kinds.meta import LabelSelectorRequirement, LabelSelectorShape
from weft.model.labels import ANY, CIDR, K8S, RESERVED
from weft.model.policy import LabelSelector, Operator, Requirement
from weft.policy.spot import Spot

RESERVED_NAMES = (
    "host",
    "remote-node",
    "kube-apiserver",
    "world",
    "world-ipv4",
    "world-ipv6",
    "ingress",
    "init",
    "health",
    "unmanaged",
)
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_WITH_VALUES = (Operator.IN, Operator.NOT_IN)

KeyReader = Callable[[str, Spot], str]
"""A key as written → the full key with its source."""


def selector_of(requirements: Iterable[Requirement]) -> LabelSelector:
    """In the one order that makes equal selectors equal values."""
    unique = dict.fromkeys(requirements)
    return LabelSelector(tuple(sorted(unique, key=lambda one: (one.key, one.operator.value, one.values))))


def read_selector(shape: LabelSelectorShape, spot: Spot, read_key: KeyReader) -> list[Requirement]:
    """All requirements of matchLabels and matchExpressions. Raises ManifestError."""
    requirements = []
    for key, value in (shape.match_labels or {}).items():
        here = spot.at("matchLabels", key)
        full = read_key(key, here)
        _check_value(full, value, here)
        requirements.append(Requirement(full, Operator.IN, (value,), here.path))
    for index, expression in enumerate(shape.match_expressions or ()):
        requirements.append(_read_expression(expression, spot.at("matchExpressions", index), read_key))
    return requirements


def _read_expression(expression: LabelSelectorRequirement, spot: Spot, read_key: KeyReader) -> Requirement:
    names = {operator.value: operator for operator in Operator}
    if expression.operator not in names:
        raise spot.at("operator").unknown("operator", expression.operator, names)
    operator = names[expression.operator]
    key = read_key(expression.key, spot.at("key"))
    if operator in _WITH_VALUES and not expression.values:
        raise spot.at("values").error(f"{operator.value} needs at least one value", "or use Exists or DoesNotExist")
    if operator not in _WITH_VALUES and expression.values:
        raise spot.at("values").error(f"{operator.value} takes no values", "leave them out, or use In or NotIn")
    for index, value in enumerate(expression.values):
        _check_value(key, value, spot.at("values", index))
    return Requirement(key, operator, tuple(sorted(set(expression.values))), spot.path)


def cilium_key(key: str, spot: Spot) -> str:
    """Cilium's keys: ``k8s:app``, ``any:app``, ``reserved:host``; without a source, ``any:``."""
    source, colon, bare = key.partition(":")
    if not colon:
        source, bare = ANY, key
    if source == CIDR:
        raise spot.error(f'"{key}" selects by address', "write it in fromCIDR, fromCIDRSet, toCIDR or toCIDRSet")
    if source not in (K8S, ANY, RESERVED):
        raise spot.unknown("label source", source, (K8S, ANY, RESERVED))
    if source == RESERVED and bare == "all":
        raise spot.error("reserved:all would select everything", "write it as fromEntities or toEntities: [all]")
    if source == RESERVED and bare not in RESERVED_NAMES:
        raise spot.unknown("reserved label", bare, RESERVED_NAMES)
    _check_key(bare, spot)
    return f"{source}:{bare}"


def kubernetes_key(prefix: str) -> KeyReader:
    """Plain Kubernetes keys, put behind ``prefix`` (``k8s:``, or that of namespace labels)."""

    def read(key: str, spot: Spot) -> str:
        if ":" in key:
            raise spot.error(
                f'"{key}" is not a label key', "a source such as k8s: belongs to CiliumNetworkPolicy; leave it out"
            )
        _check_key(key, spot)
        return prefix + key

    return read


def _check_key(key: str, spot: Spot) -> None:
    prefix, slash, name = key.rpartition("/")
    if not _NAME.fullmatch(name):
        raise spot.error(
            f'"{key}" is not a label key', "expected up to 63 letters, digits, -, _ and ., beginning and ending alike"
        )
    if slash and (len(prefix) > 253 or not _PREFIX.fullmatch(prefix)):
        raise spot.error(f'"{key}" is not a label key', "expected a lower-case DNS name before the /")


def _check_value(key: str, value: str, spot: Spot) -> None:
    if key.startswith(RESERVED + ":") and value:
        raise spot.error(f'{key} has no value, so "{value}" matches nothing', 'write ""')
    if value and not _NAME.fullmatch(value):
        raise spot.error(
            f'"{value}" is not a label value',
            "expected up to 63 letters, digits, -, _ and ., beginning and ending with a letter or digit, or nothing",
        )
