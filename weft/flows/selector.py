"""Label selectors as they are typed (``--label``): Kubernetes' string syntax, with Cilium's label sources in the keys.

``app=web``, ``app==web``, ``app!=web``, ``app in (web, api)``, ``app notin (db)``, ``app``, ``!app``, joined by commas
(all must hold). ``k8s:app=web`` and ``reserved:world`` name the source; a bare key means any.
"""

from __future__ import annotations

import re

from weft.model.labels import ANY, LabelSet
from weft.model.policy import Operator, Requirement
from weft.policy.select import holds

_KEY = r"(?P<key>[A-Za-z0-9](?:[\w./:-]*[A-Za-z0-9])?)"
_VALUE = r"[\w.-]*"
_FORMS: tuple[tuple[re.Pattern[str], Operator], ...] = (
    (re.compile(rf"{_KEY}\s*==?\s*(?P<values>{_VALUE})"), Operator.IN),
    (re.compile(rf"{_KEY}\s*!=\s*(?P<values>{_VALUE})"), Operator.NOT_IN),
    (re.compile(rf"{_KEY}\s+in\s*\((?P<values>[\w.,\s-]*)\)"), Operator.IN),
    (re.compile(rf"{_KEY}\s+notin\s*\((?P<values>[\w.,\s-]*)\)"), Operator.NOT_IN),
    (re.compile(rf"!\s*{_KEY}"), Operator.DOES_NOT_EXIST),
    (re.compile(_KEY), Operator.EXISTS),
)
_COMMA = re.compile(r",(?![^(]*\))")
"""A comma outside of parentheses."""


def parse_selector(text: str) -> tuple[Requirement, ...]:
    """Errors: ValueError that shows the part that is no requirement."""
    return tuple(_requirement(part.strip(), text) for part in _COMMA.split(text))


def selector_matches(selector: tuple[Requirement, ...], labels: LabelSet) -> bool:
    return all(holds(requirement, labels) for requirement in selector)


def _requirement(part: str, text: str) -> Requirement:
    for pattern, operator in _FORMS:
        if found := pattern.fullmatch(part):
            key = found["key"] if ":" in found["key"] else f"{ANY}:{found['key']}"
            values = found.groupdict().get("values")
            split = () if values is None else tuple(sorted(value.strip() for value in values.split(",")))
            return Requirement(key, operator, split)
    raise ValueError(
        f"label selector {text!r}: {part!r} is no requirement; expected key=value, key!=value, key in (a, b), "
        "key notin (a, b), key or !key"
    )
