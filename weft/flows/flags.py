"""``weft observe``'s flags, which are ``hubble observe``'s (hubble/cmd/observe of cilium/cilium), as far as layers 3,
4 and HTTP reach. Their order matters (``--not`` negates the next filter), so they are parsed here, not by the CLI's
library.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from weft.flows.moments import moment_or_ago
from weft.flows.observe import COLORS, OUTPUTS, TIME_FORMATS, Style
from weft.flows.query import FlowFilter, FlowsRequest
from weft.flows.tracker import FILTER_FLAGS, FilterBuilder

DEFAULT_LAST = 20
"""How many flows a plain ``observe`` shows (Hubble's defaults.FlowPrintCount)."""


class FlagError(ValueError):
    """A flag that is unknown, lacks its value, has a wrong one, or does not go with another."""


class Flag(NamedTuple):
    """``value``: what help calls the flag's value; empty for a switch."""

    name: str
    short: str
    value: str
    help: str


SELECTORS = (
    Flag("follow", "f", "", "Follow flows as they come"),
    Flag("last", "", "N", "Show the last N flows that match"),
    Flag("first", "", "N", "Show the first N flows that match"),
    Flag("all", "", "", "Show all flows in the ring"),
    Flag("since", "", "TIME", "Show flows since a duration ago (3s, 4m, 5h) or a moment (RFC 3339)"),
    Flag("until", "", "TIME", "Show flows until a duration ago or a moment"),
    Flag("allowlist", "", "JSON", "FlowFilter as JSON; flows that match are shown. May be given again"),
    Flag("denylist", "", "JSON", "FlowFilter as JSON; flows that match are left out. May be given again"),
)
FORMATTING = (
    Flag("output", "o", "FORMAT", f"One of {', '.join(OUTPUTS)} (default compact)"),
    Flag("print-node-name", "", "", "Print the node's name"),
    Flag("print-policy-names", "", "", "Print the names of the policies that decided"),
    Flag("numeric", "", "", "Print addresses instead of names"),
    Flag("ip-translation", "", "BOOL", "Print names instead of addresses (default true)"),
    Flag("time-format", "", "NAME", f"One of {', '.join(TIME_FORMATS)} (default StampMilli)"),
    Flag("color", "", "WHEN", f"One of {', '.join(COLORS)} (default auto)"),
)
_NOT = Flag("not", "", "", "Negate the next filter")
FLAGS: tuple[Flag, ...] = (*SELECTORS, _NOT, *(Flag(*row) for row in FILTER_FLAGS), *FORMATTING)
"""All of them, in the order in which help should list them."""

_BY_NAME = {flag.name: flag for flag in FLAGS}
_BY_SHORT = {flag.short: flag.name for flag in FLAGS if flag.short}


@dataclass(slots=True)
class Observe:
    """What the flags came to."""

    request: FlowsRequest = field(default_factory=FlowsRequest)
    style: Style = field(default_factory=Style)
    color: str = "auto"


def parse_observe(arguments: Sequence[str], now_ns: int) -> Observe:
    """``arguments``: what stands behind ``observe``. ``now_ns``: the wall clock, for durations.

    Errors: FlagError that names the flag and what was expected.
    """
    values: dict[str, list[str]] = {}
    builder = FilterBuilder()
    for name, value in _pairs(list(arguments)):
        if name in builder.names:
            try:
                builder.add(name, value)
            except ValueError as error:
                raise FlagError(str(error)) from None
        else:
            values.setdefault(name, []).append(value)
    try:
        allow, deny = builder.finish()
        request = _request(values, allow, deny, now_ns)
        return Observe(request, _style(values, request.follow), _choice(values, "color", "auto", COLORS))
    except ValueError as error:
        raise FlagError(str(error)) from None


def _pairs(arguments: list[str]) -> list[tuple[str, str]]:
    """(flag, value), in order; a switch's value is ``true``."""
    pairs = []
    while arguments:
        argument = arguments.pop(0)
        name, equals, value = argument.partition("=")
        if argument.startswith("--"):
            name = name[2:]
        elif argument.startswith("-") and len(argument) > 1:
            short, rest = argument[1], argument[2:]
            name = _BY_SHORT.get(short, short)
            if rest and name in _BY_NAME and not _BY_NAME[name].value and not rest.startswith("="):
                arguments.insert(0, "-" + rest)
                rest = ""
            equals, value = ("=", rest.removeprefix("=")) if rest else ("", "")
        else:
            raise FlagError(f"{argument!r}: observe takes flags only")
        flag = _BY_NAME.get(name)
        if flag is None:
            raise FlagError(f"unknown flag {argument.partition('=')[0]}{_nearest(name)}")
        if not equals:
            if flag.value and not arguments:
                raise FlagError(f"--{name} needs a value ({flag.value})")
            value = arguments.pop(0) if flag.value else "true"
        pairs.append((name, value))
    return pairs


def _nearest(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, _BY_NAME, 1)
    return f"; did you mean --{close[0]}?" if close else ""


def _request(
    values: dict[str, list[str]], allow: tuple[FlowFilter, ...], deny: tuple[FlowFilter, ...], now_ns: int
) -> FlowsRequest:
    last, first = _count(values, "last"), _count(values, "first")
    follow, every = _switch(values, "follow"), _switch(values, "all")
    for one, other, clash in (
        ("first", "last", first and last),
        ("first", "all", first and every),
        ("first", "follow", first and follow),
        ("last", "all", last and every),
    ):
        if clash:
            raise ValueError(f"cannot set both --{one} and --{other}")
    since = _moment(values, "since", now_ns)
    until = "" if follow else _moment(values, "until", now_ns)
    if not (since or until or first or last or follow or every):
        last = DEFAULT_LAST
    return FlowsRequest(
        number=first or last,
        first=first > 0,
        follow=follow,
        whitelist=allow + _raw(values, "allowlist"),
        blacklist=deny + _raw(values, "denylist"),
        since=since,
        until=until,
    )


def _raw(values: dict[str, list[str]], name: str) -> tuple[FlowFilter, ...]:
    try:
        return tuple(msgspec.convert(json.loads(text), FlowFilter) for text in values.get(name, ()))
    except (json.JSONDecodeError, msgspec.ValidationError) as error:
        raise ValueError(f"invalid --{name}: {error}") from None


def _count(values: dict[str, list[str]], name: str) -> int:
    text = values.get(name, ["0"])[-1]
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"--{name} {text}: expected a number")
    return int(text)


def _switch(values: dict[str, list[str]], name: str, default: str = "false") -> bool:
    text = values.get(name, [default])[-1].lower()
    if text not in ("true", "false"):
        raise ValueError(f"--{name}={text}: expected true or false")
    return text == "true"


def _moment(values: dict[str, list[str]], name: str, now_ns: int) -> str:
    from weft.flows.hubble import timestamp

    if name not in values:
        return ""
    try:
        return timestamp(moment_or_ago(values[name][-1], now_ns))
    except ValueError as error:
        raise ValueError(f"--{name}: {error}") from None


def _choice(values: dict[str, list[str]], name: str, default: str, known: Sequence[str]) -> str:
    text = values.get(name, [default])[-1]
    if text not in known:
        raise ValueError(f"--{name} {text}: expected one of {', '.join(known)}")
    return text


def _style(values: dict[str, list[str]], follow: bool) -> Style:
    output = _choice({"output": [values.get("output", ["compact"])[-1].lower()]}, "output", "compact", OUTPUTS)
    if output == "table" and follow:
        raise ValueError("table output is not possible with --follow: its columns are aligned over all flows")
    names = {name.lower(): name for name in TIME_FORMATS}
    time_format = values.get("time-format", ["StampMilli"])[-1]
    if time_format.lower() not in names:
        raise ValueError(f"--time-format {time_format}: expected one of {', '.join(TIME_FORMATS)}")
    return Style(
        output=output,
        time_format=names[time_format.lower()],
        node_name=_switch(values, "print-node-name"),
        policy_names=_switch(values, "print-policy-names"),
        ip_translation=_switch(values, "ip-translation", "true") and not _switch(values, "numeric"),
    )
