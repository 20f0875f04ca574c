"""Regular expressions of http rules: RE2, over the whole value, as Envoy applies Cilium's."""

from __future__ import annotations

from functools import lru_cache

import re2

from weft.policy.spot import Spot

_OPTIONS = re2.Options()
_OPTIONS.log_errors = False  # the library would write to standard error
MAX_LENGTH = 4096
"""Bytes of one expression: what no person writes, and Envoy would compile for every rule set that has it."""


@lru_cache(maxsize=4096)
def _compiled(expression: str) -> re2._Regexp:
    return re2.compile(expression, _OPTIONS)


def fits(expression: str, value: str) -> bool:
    """Whether the whole ``value`` matches. An empty expression fits everything."""
    return not expression or _compiled(expression).fullmatch(value) is not None


def check(expression: str, spot: Spot) -> str:
    """``expression``. Raises ManifestError with the position of what RE2 does not understand."""
    if len(expression.encode()) > MAX_LENGTH:
        raise spot.error(f"an expression of {len(expression)} characters", f"at most {MAX_LENGTH} bytes")
    if problem := _problem(expression):
        what, _, piece = problem.partition(": ")
        at = _position(expression, problem, piece)
        raise spot.error(
            f"not a regular expression: {what} at character {at + 1}: {expression[:at]}⟪{expression[at:]}⟫",
            _remedy(what, piece),
        )
    return expression


def _problem(expression: str) -> str:
    """RE2's words, with the piece they are about; empty if there is none."""
    try:
        _compiled(expression)
    except re2.error as error:
        said = error.args[0]
        return said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return ""


def _position(expression: str, problem: str, piece: str) -> int:
    """Where the piece stands that RE2 complains about: the first place up to which it complains in the same words."""
    if piece == expression:
        return _unclosed(expression)
    at = expression.find(piece)
    while at >= 0:
        if _problem(expression[: at + len(piece)]) == problem:
            return at
        at = expression.find(piece, at + 1)
    return max(expression.rfind(piece), 0)


def _unclosed(expression: str) -> int:
    """The last parenthesis that, with all before it, still wants a closing one; or the closing one too many."""
    for end in range(1, len(expression) + 1):
        if _problem(expression[:end]).startswith("unexpected )"):
            return end - 1
    opened = [at for at, char in enumerate(expression) if char == "("]
    return next((at for at in reversed(opened) if not _problem(expression[:at])), 0)


def _remedy(what: str, piece: str) -> str:
    if what == "invalid perl operator":
        return "RE2 has no lookahead and no lookbehind (github.com/google/re2/wiki/Syntax)"
    if what == "invalid escape sequence" and piece[1:].isdigit():
        return "RE2 has no backreferences (github.com/google/re2/wiki/Syntax)"
    return "the syntax is RE2's (github.com/google/re2/wiki/Syntax)"
