"""GetFlowsResponses for people, spelled as Hubble's printer spells them (hubble/pkg/printer of cilium/cilium): compact,
dict, table, and JSON as it is. Pure: JSON values in, text out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from weft.flows import spelling
from weft.flows.moments import parse_moment

Json = dict[str, Any]

OUTPUTS = ("compact", "dict", "json", "jsonpb", "table")
"""``json`` and ``jsonpb`` are the same, as in Hubble's CLI."""
COLORS = ("auto", "always", "never")
SEPARATOR = "------------"


def _fraction(nanos: int, digits: int) -> str:
    return f"{nanos:09}"[:digits]


def _trimmed(nanos: int, digits: int) -> str:
    text = _fraction(nanos, digits).rstrip("0")
    return "." + text if text else ""


TIME_FORMATS: dict[str, Callable[[datetime, int], str]] = {
    "StampMilli": lambda t, ns: f"{t:%b} {t.day:2} {t:%H:%M:%S}.{_fraction(ns, 3)}",
    "YearMonthDay": lambda t, ns: f"{t:%Y-%m-%d}",
    "YearMonthDayHour": lambda t, ns: f"{t:%Y-%m-%dT%H}Z",
    "YearMonthDayHourMinute": lambda t, ns: f"{t:%Y-%m-%dT%H:%M}Z",
    "RFC3339": lambda t, ns: f"{t:%Y-%m-%dT%H:%M:%S}Z",
    "RFC3339Milli": lambda t, ns: f"{t:%Y-%m-%dT%H:%M:%S}{_trimmed(ns, 3)}Z",
    "RFC3339Micro": lambda t, ns: f"{t:%Y-%m-%dT%H:%M:%S}{_trimmed(ns, 6)}Z",
    "RFC3339Nano": lambda t, ns: f"{t:%Y-%m-%dT%H:%M:%S}{_trimmed(ns, 9)}Z",
    "RFC1123Z": lambda t, ns: f"{t:%a, %d %b %Y %H:%M:%S} +0000",
}
"""Hubble's ``--time-format`` names → how Go would write that layout, in UTC: (moment, nanoseconds of its second)."""

_VERDICT_COLORS = {"FORWARDED": "green", "REDIRECTED": "green", "DROPPED": "red", "ERROR": "red"}
_CODES = {"red": 31, "green": 32, "yellow": 33, "blue": 34, "magenta": 35, "cyan": 36}


@dataclass(frozen=True, slots=True)
class Style:
    """How to print. ``color`` counts for compact and dict only."""

    output: str = "compact"
    time_format: str = "StampMilli"
    node_name: bool = False
    policy_names: bool = False
    ip_translation: bool = True
    """Names instead of addresses."""
    color: bool = False


def render(responses: Iterable[Json], style: Style) -> Iterable[str]:
    """Text for each response as it comes, with its newline; a table comes whole, at the end."""
    if style.output == "table":
        yield from _table(list(responses), style)
        return
    for number, response in enumerate(responses):
        if style.output == "dict":
            yield ("" if number == 0 else SEPARATOR + "\n") + _dict(response, style)
        elif style.output == "compact":
            yield compact(response, style)
        else:
            yield json.dumps(response, separators=(",", ":"), ensure_ascii=False) + "\n"


def compact(response: Json, style: Style) -> str:
    """``Jan  2 15:04:05.000: default/a:45678 (ID:70000) -> default/b:8080 (ID:70001) policy-verdict:L3-L4 INGRESS
    ALLOWED (TCP Flags: SYN)``, one line."""
    if "lost_events" in response:
        lost = response["lost_events"]
        return f"EVENTS LOST: {lost['source']} CPU(0) {lost['num_events_lost']}\n"
    flow = response["flow"]
    left, right = ((_host(flow, side, style), _identity(flow, side, style)) for side in ("source", "destination"))
    arrow = {None: "<>", False: "->", True: "<-"}[flow.get("is_reply")]
    if arrow == "<-":
        left, right = right, left
    node = f" [{flow.get('node_name', '')}]" if style.node_name else ""
    return (
        f"{_time(flow, style)}{node}: {' '.join(left)} {arrow} {' '.join(right)} {flow_type(flow)} "
        f"{_verdict(flow, style)} ({_summary(flow)})\n"
    )


def _dict(response: Json, style: Style) -> str:
    rows = zip(("TIMESTAMP", *_headers(style)), _cells(response, style), strict=True)
    lost = "lost_events" in response
    return "".join(f"{title:>11}: {cell}\n" for title, cell in rows if not (lost and title == "DESTINATION"))


def _table(responses: list[Json], style: Style) -> list[str]:
    plain = Style(style.output, style.time_format, style.node_name, style.policy_names, style.ip_translation)
    rows = [("TIMESTAMP", *_headers(plain)), *(_cells(response, plain) for response in responses)]
    if len(rows) == 1:
        return []
    widths = [max(len(row[column]) for row in rows) + 3 for column in range(len(rows[0]) - 1)]
    return ["".join(cell.ljust(width) for cell, width in zip(row, (*widths, 0), strict=True)) + "\n" for row in rows]


def _headers(style: Style) -> tuple[str, ...]:
    node = ("NODE",) if style.node_name else ()
    return (*node, "SOURCE", "DESTINATION", "TYPE", "VERDICT", "SUMMARY")


def _cells(response: Json, style: Style) -> tuple[str, ...]:
    if "lost_events" in response:
        lost = response["lost_events"]
        node = ("",) if style.node_name else ()
        return ("", *node, lost["source"], "", "EVENTS LOST", "", f"CPU(0) - {lost['num_events_lost']}")
    flow = response["flow"]
    node = (flow.get("node_name", ""),) if style.node_name else ()
    hosts = (_host(flow, "source", style), _host(flow, "destination", style))
    return (_time(flow, style), *node, *hosts, flow_type(flow), _verdict(flow, style), _summary(flow))


# ---- parts -----------------------------------------------------------------------------------------------------------


def _paint(text: str, color: str, style: Style) -> str:
    return f"\x1b[{_CODES[color]}m{text}\x1b[0m" if style.color and text else text


def _time(flow: Json, style: Style) -> str:
    if "time" not in flow:
        return "N/A"
    seconds, nanos = divmod(parse_moment(flow["time"]), 10**9)
    return TIME_FORMATS[style.time_format](datetime.fromtimestamp(seconds, UTC), nanos)


def _host(flow: Json, side: str, style: Style) -> str:
    """``namespace/pod:port``, ``namespace/service:port`` or ``address:port``; for a frame that is not IP its MAC."""
    if "IP" not in flow:
        mac: str = flow.get("ethernet", {}).get(side, "")
        return _paint(mac, "cyan", style)
    host: str = flow["IP"].get(side, "")
    end, service = flow.get(side, {}), flow.get(f"{side}_service", {})
    if style.ip_translation and end.get("pod_name"):
        host = "/".join(part for part in (end.get("namespace"), end["pod_name"]) if part)
    elif style.ip_translation and service.get("name"):
        host = "/".join(part for part in (service.get("namespace"), service["name"]) if part)
    port = next((layer.get(f"{side}_port") for layer in flow.get("l4", {}).values()), None)
    if port:
        host = f"[{host}]" if ":" in host else host
        return _paint(f"{host}:", "cyan", style) + _paint(str(port), "yellow", style)
    return _paint(host, "cyan", style)


def _identity(flow: Json, side: str, style: Style) -> str:
    number = flow.get(side, {}).get("identity", 0)
    name = spelling.RESERVED_NAMES.get(number)
    return _paint(f"({name})" if name else f"(ID:{number})", "magenta", style)


def flow_type(flow: Json) -> str:
    """``http-response``, ``policy-verdict:none INGRESS``, the text of a drop's reason, a trace's observation point."""
    if l7 := flow.get("l7"):
        return f"{'http' if 'http' in l7 else 'l7'}-{l7.get('type', 'unknown_l7_type').lower()}"
    event = flow.get("event_type", {})
    sub_type = event.get("sub_type", 0)
    match event.get("type"):
        case spelling.POLICY_VERDICT:
            match_type = spelling.MATCH_TYPES[flow.get("policy_match_type", 0)]
            return f"policy-verdict:{match_type} {flow.get('traffic_direction', 'TRAFFIC_DIRECTION_UNKNOWN')}"
        case spelling.DROP:
            return str(_own(flow).get("reason_text") or flow.get("drop_reason_desc") or sub_type)
        case spelling.TRACE:
            return spelling.TRACE_POINT_NAMES.get(sub_type, str(sub_type))
        case _:
            return "UNKNOWN"


def _verdict(flow: Json, style: Style) -> str:
    verdict: str = flow.get("verdict", "VERDICT_UNKNOWN")
    text = verdict
    if flow.get("event_type", {}).get("type") == spelling.POLICY_VERDICT:
        text = {"FORWARDED": "ALLOWED", "REDIRECTED": "ALLOWED", "DROPPED": "DENIED"}.get(verdict, verdict)
        if style.policy_names and (names := _policy_names(flow)):
            text = f"{text} BY {names}"
    return _paint(text, _VERDICT_COLORS.get(verdict, "yellow"), style)


def _policy_names(flow: Json) -> str:
    """Of the side that decided: ``name (kind), name (kind)``."""
    side = flow.get("traffic_direction", "").lower()
    policies = [policy for verb in ("allowed", "denied") for policy in flow.get(f"{side}_{verb}_by", ())]
    return ", ".join(f"{policy['name']} ({policy['kind']})" for policy in policies)


def _summary(flow: Json) -> str:
    """Hubble's, and behind it what weft adds: why policy refused it if not for want of a rule,
    whose edit that was, how many were alike."""
    parts = [flow.get("Summary", "")]
    own = _own(flow)
    by_policy = flow.get("event_type", {}).get("type") == spelling.POLICY_VERDICT
    if by_policy and own.get("reason") not in (None, "POLICY_DENIED"):
        parts.append(own["reason_text"])
    if own.get("changed_by"):
        parts.append(f"by {', '.join(own['changed_by'])}, revision {own['changed_in_revision']}")
    if own.get("folded"):
        parts.append(f"{own['folded']} more like it")
    text = "; ".join(parts)
    # Paths and hosts are what a client wrote: nothing of them may reach the terminal as a control sequence.
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def _own(flow: Json) -> Json:
    """What weft knows beyond Hubble's fields."""
    own: Json = flow.get("extensions", {}).get("value", {})
    return own
