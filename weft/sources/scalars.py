"""What a YAML scalar means to kubectl: the rules of ``sigs.k8s.io/yaml`` (its goyaml.v2 ``resolve`` and YAMLToJSON).

That is YAML 1.1 with its traps (``on``, ``yes`` and ``n`` are booleans, ``0777`` is octal) but without base 60 and
without dates: those stay strings.
"""

from __future__ import annotations

import math
import re

Scalar = str | int | float | bool | None

PLAIN = "!plain"
"""The tag that ``yaml.Loader`` gives to an unquoted scalar without a tag."""
_STANDARD = "tag:yaml.org,2002:"

_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"], True),
    **dict.fromkeys(["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"], False),
    **dict.fromkeys(["", "~", "null", "Null", "NULL"], None),
}
_INTEGER = re.compile(r"[-+]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NOT_JSON = re.compile(r"[-+]?\.(inf|Inf|INF|nan|NaN|NAN)")


def resolve(tag: str, text: str) -> Scalar:
    """The JSON value of a scalar. Raises ValueError if ``text`` does not fit ``tag`` or JSON cannot hold it."""
    if tag == PLAIN:
        return _plain(text)
    name = tag.removeprefix(_STANDARD)
    if tag == name:
        raise ValueError(f"unknown tag {tag!r}")
    if name == "str":
        return text
    types = {"int": (int,), "float": (float, int), "bool": (bool,), "null": (type(None),)}.get(name)
    if types is None:
        raise ValueError(f"tag !!{name} is not supported")
    value = _plain(text)
    if type(value) not in types:
        raise ValueError(f"{text!r} is not of tag !!{name}")
    return value


def key(value: Scalar) -> str:
    """A mapping's key as YAMLToJSON spells it: JSON knows only strings."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    raise ValueError("a key must be a string")


def _plain(text: str) -> Scalar:
    if text in _WORDS:
        return _WORDS[text]
    digits = text.replace("_", "")
    if text[0] in "+-.0123456789":
        if _INTEGER.fullmatch(digits):
            return _integer(digits)
        if _FLOAT.fullmatch(digits):
            return _number(float(digits))
        if _NOT_JSON.fullmatch(text):
            raise ValueError(f"{text} is not a number that JSON can hold")
    return text


def _integer(digits: str) -> int:
    if len(digits) > 100:
        raise ValueError("a number of more than 100 digits")
    body = digits.lstrip("+-")
    octal = len(body) > 1 and body[0] == "0" and body[1] in "01234567"
    return int(digits, 8 if octal else 0)


def _number(value: float) -> float | int:
    """JSON does not tell 8.0 from 8, and Go prints it as 8."""
    if not math.isfinite(value):
        raise ValueError("a number too large")
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
