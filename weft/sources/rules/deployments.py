"""Deployments (Kubernetes' ValidateDeployment), and label selectors as Deployments use them."""

from __future__ import annotations

import re
from collections.abc import Mapping

from weft.model.kinds.apps import Deployment
from weft.model.kinds.meta import LabelSelectorRequirement, LabelSelectorShape
from weft.model.origin import FieldPath
from weft.sources.check import Check, nearest
from weft.sources.rules import names, pods

_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_WITH_VALUES = ("In", "NotIn")


def check(deployment: Deployment, found: Check) -> None:
    spec = deployment.spec
    names.check_template_metadata(found, spec.template.metadata, ("spec", "template", "metadata"))
    pods.check_spec(spec.template.spec, found, ("spec", "template", "spec"))
    if (policy := spec.template.spec.restart_policy) != "Always":
        found.error(("spec", "template", "spec", "restartPolicy"), f"{policy} is not for a Deployment", "use Always")
    before = len(found.errors)
    check_selector(spec.selector, found, ("spec", "selector"))
    if len(found.errors) == before and not matches(spec.selector, spec.template.metadata.labels or {}):
        path = ("spec", "template", "metadata", "labels")
        found.error(path, "spec.selector does not match these labels", "make them equal to selector.matchLabels")
    rolling = spec.strategy.rolling_update
    for name, value in (("maxSurge", rolling.max_surge), ("maxUnavailable", rolling.max_unavailable)):
        if (isinstance(value, int) and value < 0) or (isinstance(value, str) and not re.fullmatch("[0-9]+%", value)):
            path = ("spec", "strategy", "rollingUpdate", name)
            found.error(path, f"expected a number of pods or a percentage, got {value!r}")
    if {str(rolling.max_surge).rstrip("%"), str(rolling.max_unavailable).rstrip("%")} == {"0"}:
        found.error(("spec", "strategy", "rollingUpdate"), "maxSurge and maxUnavailable cannot both be 0")


def check_selector(selector: LabelSelectorShape, found: Check, path: FieldPath) -> None:
    """Spelling of a label selector that must select something."""
    if not selector.match_labels and not selector.match_expressions:
        found.error(path, "is empty", "select the template's labels with matchLabels")
    names.check_labels(found, selector.match_labels or {}, (*path, "matchLabels"))
    for index, requirement in enumerate(selector.match_expressions or ()):
        at = (*path, "matchExpressions", index)
        if requirement.operator not in _OPERATORS:
            problem = f"unknown operator {requirement.operator!r}"
            found.error((*at, "operator"), problem, nearest(requirement.operator, _OPERATORS))
        elif (requirement.operator in _WITH_VALUES) != bool(requirement.values):
            needs = "takes no values" if requirement.values else "needs values"
            found.error((*at, "values"), f"operator {requirement.operator} {needs}")


def matches(selector: LabelSelectorShape, labels: Mapping[str, str]) -> bool:
    """Kubernetes' label selector on plain labels: all parts hold (NotIn holds for a missing key)."""
    equal = all(labels.get(key) == value for key, value in (selector.match_labels or {}).items())
    return equal and all(_holds(requirement, labels) for requirement in selector.match_expressions or ())


def _holds(requirement: LabelSelectorRequirement, labels: Mapping[str, str]) -> bool:
    value = labels.get(requirement.key)
    match requirement.operator:
        case "In":
            return value is not None and value in (requirement.values or ())
        case "NotIn":
            return value is None or value not in (requirement.values or ())
        case "Exists":
            return value is not None
        case _:
            return value is None
