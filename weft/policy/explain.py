"""Why a connection is allowed or refused: the rule, its file and line; and for a default deny, what came closest."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from weft.model.net import TCP
from weft.model.policy import Direction, PolicySpec, Rule
from weft.policy.decide import Decision, Side, decide
from weft.policy.explainhttp import Asked, HttpExplanation, explain_request
from weft.policy.http import Request
from weft.policy.nearmiss import Attempt, NearMiss, near_misses
from weft.policy.parties import Party
from weft.policy.select import selects


@dataclass(frozen=True, slots=True)
class SideExplanation:
    """One end's policies and what they said."""

    direction: Direction
    subject: Party
    peer: Party
    side: Side
    isolating: tuple[PolicySpec, ...]
    """Policies that make the pod default-deny in this direction."""
    near_misses: tuple[NearMiss, ...]
    """Only where no rule decided and the connection is refused."""
    http: HttpExplanation | None = None
    """Of the request that was asked about, if this end looks into requests."""

    @property
    def rule(self) -> Rule | None:
        return self.side.rule


@dataclass(frozen=True, slots=True)
class Explanation:
    source: Party
    destination: Party
    protocol: int
    port: int
    decision: Decision
    sides: tuple[SideExplanation, ...]
    """Egress of the source, ingress of the destination; an end that policy does not apply to is missing."""
    asked: Asked | None = None

    @property
    def refusing(self) -> SideExplanation | None:
        """Whose http rules refuse the request; the client's come first."""
        return next((side for side in self.sides if side.http and side.http.allowed_by is None), None)


def explain(
    specs: Iterable[PolicySpec],
    source: Party,
    destination: Party,
    protocol: int = TCP,
    port: int = 0,
    request: Request | None = None,
) -> Explanation:
    """What ``decide`` says of the same arguments, and why; and what http rules say of ``request`` over it."""
    specs = tuple(specs)
    decision = decide(specs, source, destination, protocol, port)
    attempts = (
        (decision.egress, Attempt(Direction.EGRESS, source, destination, protocol, port)),
        (decision.ingress, Attempt(Direction.INGRESS, destination, source, protocol, port)),
    )
    asked = Asked.of(request) if request is not None else None
    sides = tuple(_side(specs, side, attempt, asked) for side, attempt in attempts if side is not None)
    return Explanation(source, destination, protocol, port, decision, sides, asked)


def _side(specs: tuple[PolicySpec, ...], side: Side, attempt: Attempt, asked: Asked | None) -> SideExplanation:
    isolating = tuple(
        spec
        for spec in specs
        if attempt.direction in spec.default_deny and selects(spec.subject, attempt.subject.labels)
    )
    refused_by_default = not side.allowed and side.rule is None
    misses = near_misses(specs, attempt) if refused_by_default else ()
    http = explain_request(side, asked) if asked is not None else None
    return SideExplanation(attempt.direction, attempt.subject, attempt.peer, side, isolating, misses, http)
