"""Rules about HTTP requests: what a CiliumNetworkPolicy may ask of one, and the sets in which Envoy enforces them.

Regular expressions are RE2's and match the whole value, as Cilium's PortRuleHTTP has it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from weft.model.net import RuleId
from weft.model.origin import FieldPath

DOTS_WITH_PARAMETERS = r"[^?]*/\.\.?;.*"
"""Paths that no rule set lets pass: servlet containers take ``/..;x`` for ``/..``, which Envoy leaves when its dots
came escaped, so the server would see another path than the rules did."""


class Mismatch(Enum):
    """What becomes of a request whose header is another one (Cilium's HeaderMatch); never a refusal."""

    LOG = "LOG"
    ADD = "ADD"
    DELETE = "DELETE"
    REPLACE = "REPLACE"


MAX_MISMATCH_ACTIONS = 4
"""Of one HttpMatch: Envoy is told each combination of those that fit and those that do not."""


class HeaderMatch(NamedTuple):
    name: str
    """Lower case."""
    value: str | None
    """None: the header is there, whatever it says."""
    mismatch: Mismatch | None = None
    """None: a request without it does not match the rule."""


@dataclass(frozen=True, slots=True)
class HttpMatch:
    """One element of ``rules.http``: all that is written must hold. All empty: every HTTP request."""

    method: str = ""
    path: str = ""
    """Over the normalised ``:path``, query included, as Cilium matches it."""
    host: str = ""
    headers: tuple[HeaderMatch, ...] = ()
    field_path: FieldPath = field(default=(), compare=False)
    """Where it was written, below the policy document; not part of its value."""


class HttpPermission(NamedTuple):
    """One alternative of a rule set: this rule allows the requests that match."""

    rule: RuleId
    match: HttpMatch


@dataclass(frozen=True, slots=True)
class HttpRuleSet:
    """Requests that fit one of ``permissions`` pass, all others are refused (403).

    The pods whose policies come to equal sets share one listener. Envoy forwards to where the client was going.
    """

    egress: bool
    """Of the client's egress policies, else of the server's ingress policies."""
    permissions: tuple[HttpPermission, ...]
    """In the order of precedence (``weft.policy.decide.rule_order``, then as written), without duplicates: the first
    that fits is credited."""
