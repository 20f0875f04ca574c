"""An Explanation as text for people and as JSON for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from weft.model.net import from_wide
from weft.model.origin import FieldPath, Origin, spell
from weft.model.policy import Direction, PolicySpec, Rule
from weft.model.verdicts import Verdict
from weft.policy.decide import is_its_node
from weft.policy.explain import Explanation, SideExplanation
from weft.policy.nearmiss import Failure, NearMiss
from weft.policy.parties import Party, Place
from weft.policy.renderhttp import (
    alternative_json,
    alternatives_lines,
    asked_json,
    http_verdict,
    request_json,
    request_lines,
)
from weft.policy.spelling import spell_labels, spell_port, spell_rule

_BEFORE_POLICY = {
    Verdict.IS_A_CLUSTERIP: "a service's address is translated when a socket connects; a packet to it is dropped",
    Verdict.UNKNOWN_TARGET: "the address is in the pod range, but no pod has it",
    Verdict.MULTICAST: "pods have no multicast and no broadcast",
    Verdict.INVALID_PACKET: "a loopback or unspecified address is never on a wire; a pod's own is inside it",
    Verdict.UNKNOWN_SENDER: "the source is in another node's pod range, but no pod that is known here has it",
    Verdict.FORGED_HOST_SOURCE: "nobody has the source address; such a packet from outside is a forgery",
}


Quote = Callable[[Origin, FieldPath], Sequence[tuple[int, str]]]
"""Lines of a manifest, with their numbers, that write what stands at a field; empty if the text is not known."""


def _nothing(origin: Origin, path: FieldPath) -> Sequence[tuple[int, str]]:
    return ()


def render(explanation: Explanation, quote: Quote = _nothing) -> str:
    """Plain text, no trailing newline. ``quote``: where the manifest's own lines come from."""
    return "\n".join(_lines(explanation, quote))


def _lines(found: Explanation, quote: Quote) -> Iterator[str]:
    decision = found.decision
    yield f"{_party(found.source)} -> {_party(found.destination)} {spell_port(found.protocol, found.port)}"
    if decision.forwarded and _looks(found):
        yield "FORWARDED  through Envoy, which lets only the HTTP requests pass that the rules allow"
    elif decision.forwarded:
        yield "FORWARDED"
    elif decision.refused_by is None:
        yield f"DROPPED  {decision.reason.text}"
        yield f"  {_BEFORE_POLICY[decision.reason]}"
    else:
        refusing = found.source if decision.refused_by is Direction.EGRESS else found.destination
        yield f"DROPPED  {decision.reason.text} ({decision.refused_by.name.lower()} of {refusing.name})"
    if found.asked is not None and decision.forwarded:
        yield http_verdict(found.asked, _refusing(found), looks=_looks(found))
    if decision.forwarded and not found.sides:
        yield _no_policy(found)
    for side in found.sides:
        yield ""
        yield from _side(side, quote)


def _looks(found: Explanation) -> bool:
    """Whether Envoy sees the requests of the connection."""
    return any(side.side.http is not None for side in found.sides)


def _refusing(found: Explanation) -> str:
    side = found.refusing
    return f"{side.direction.name.lower()} of {side.subject.name}" if side else ""


def _no_policy(found: Explanation) -> str:
    if found.source.key is not None and found.source.key == found.destination.key:
        return "  a pod may always speak to itself"
    if found.destination.place is Place.POD and is_its_node(found.source, found.destination):
        return "  the node may always reach its own pods"
    return "  policy applies to pods only"


def _side(side: SideExplanation, quote: Quote) -> Iterator[str]:
    name, direction = side.subject.name, side.direction.name.lower()
    if side.rule is not None:
        word = "allowed" if side.side.allowed else "denied"
        requests = ", request by request" if side.side.http else ""
        yield f"{direction} of {name}: {word} by {spell_rule(side.rule)}{requests}"
        if where := _at(side.rule):
            yield f"    {where}"
        yield from _quoted(quote(side.rule.origin, side.rule.path), "    ")
        if side.http is not None:
            yield from request_lines(side.http)
        elif side.side.http is not None:
            yield "  HTTP requests that fit one of"
            yield from alternatives_lines(side.side.http)
    elif side.side.allowed:
        yield f"{direction} of {name}: allowed, no policy isolates it"
    else:
        yield f"{direction} of {name}: refused, no rule allows it; isolated by"
        for spec in side.isolating:
            yield f"    {spec.policy}  {_line(spec.origin, spec.path)}".rstrip()
        yield from _nearest(side.near_misses, quote)


def _quoted(lines: Sequence[tuple[int, str]], margin: str) -> Iterator[str]:
    """As compilers show the line that they speak of."""
    for number, text in lines:
        yield f"{margin}{number or '':>5} | {text}".rstrip()


def _nearest(misses: tuple[NearMiss, ...], quote: Quote) -> Iterator[str]:
    if not misses:
        yield "  no rule speaks of anything like it"
        return
    yield "  closest rules:"
    for number, miss in enumerate(misses, 1):
        count = len(miss.failures)
        yield f"  {number}. {spell_rule(miss.rule)}  {_at(miss.rule)}".rstrip()
        yield f"       {count} field{'s keep' if count > 1 else ' keeps'} it from matching:"
        for failure in miss.failures:
            whose = f" ({failure.whose})" if failure.whose else ""
            yield f"       {failure.origin.place(failure.path)}"
            yield from _quoted(quote(failure.origin, failure.path)[:1], "       ")
            yield f"         expected {failure.expected}, found {failure.actual}{whose}"


def _party(party: Party) -> str:
    if party.place is Place.POD:
        return f"{party.name} ({from_wide(party.address)}, {spell_labels(party.labels) or 'no labels'})"
    return party.name


def _at(rule: Rule) -> str:
    return _line(rule.origin, rule.path)


def _line(origin: Origin, path: FieldPath) -> str:
    """File and line; nothing for an object that was never a file here: its name and field are said beside it."""
    return origin.at(path) if origin.line(path) else ""


def to_json(found: Explanation, quote: Quote = _nothing) -> dict[str, Any]:
    """Plain data: strings, numbers, lists and dicts only. ``quote`` as in ``render``."""
    decision = found.decision
    return {
        "verdict": "FORWARDED" if decision.forwarded else "DROPPED",
        "reason": decision.reason.name,
        "reason_text": decision.reason.text,
        "refused_by": decision.refused_by.name.lower() if decision.refused_by is not None else None,
        "source": _party_json(found.source),
        "destination": _party_json(found.destination),
        "protocol": found.protocol,
        "port": found.port,
        "sides": [_side_json(side, quote) for side in found.sides],
        "request": asked_json(found.asked, _refusing(found), looks=_looks(found))
        if found.asked is not None and decision.forwarded
        else None,
    }


def _side_json(side: SideExplanation, quote: Quote) -> dict[str, Any]:
    return {
        "direction": side.direction.name.lower(),
        "subject": side.subject.name,
        "allowed": side.side.allowed,
        "isolated": side.side.isolated,
        "rule": _rule_json(side.rule) | _lines_json(side.rule, quote) if side.rule is not None else None,
        "http": [alternative_json(one) for one in side.side.http] if side.side.http is not None else None,
        "request": request_json(side.http) if side.http is not None else None,
        "isolated_by": [_spec_json(spec) for spec in side.isolating],
        "near_misses": [
            {
                "rule": _rule_json(miss.rule),
                "selects_subject": miss.selects_subject,
                "failures": [_failure_json(failure) for failure in miss.failures],
            }
            for miss in side.near_misses
        ],
    }


def _party_json(party: Party) -> dict[str, Any]:
    return {
        "name": party.name,
        "place": party.place.value,
        "address": str(from_wide(party.address)),
        "labels": party.labels.spelled(),
    }


def _rule_json(rule: Rule) -> dict[str, Any]:
    return {
        "policy": str(rule.policy),
        "kind": rule.policy.kind,
        "namespace": rule.policy.namespace,
        "name": rule.policy.name,
        "direction": rule.direction.name.lower(),
        "action": rule.action.value,
        "index": rule.index,
        "field": spell(rule.path),
        "file": rule.origin.file,
        "line": rule.origin.line(rule.path),
    }


def _lines_json(rule: Rule, quote: Quote) -> dict[str, Any]:
    lines = [{"line": number, "text": text} for number, text in quote(rule.origin, rule.path)]
    return {"lines": lines} if lines else {}


def _spec_json(spec: PolicySpec) -> dict[str, Any]:
    return {"policy": str(spec.policy), "file": spec.origin.file, "line": spec.origin.line(spec.path)}


def _failure_json(failure: Failure) -> dict[str, Any]:
    return {
        "kind": failure.kind,
        "whose": failure.whose,
        "field": spell(failure.path),
        "expected": failure.expected,
        "actual": failure.actual,
        "file": failure.origin.file,
        "line": failure.origin.line(failure.path),
    }
