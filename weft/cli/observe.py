"""``weft observe``: flows and their verdicts, with hubble observe's flags and output."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from weft.cli.arguments import Options, Parser, UsageError
from weft.cli.common import client
from weft.flows.flags import FLAGS, FlagError, parse_observe
from weft.flows.observe import render

USAGE = "[FLAGS]"


def arguments(parser: Parser) -> None:
    """The order of the flags matters (--not), so weft.flows reads them."""
    parser.take_rest(flag_help())


def flag_help() -> str:
    names = [(f"-{flag.short}, " if flag.short else "    ") + f"--{flag.name} {flag.value}".rstrip() for flag in FLAGS]
    width = max(map(len, names))
    return "\n".join(f"  {name:<{width}}  {flag.help}" for name, flag in zip(names, FLAGS, strict=True))


def show(arguments: Sequence[str]) -> None:
    """Asks the agent and prints as it answers. Errors: UsageError for a flag that is wrong."""
    try:
        asked = parse_observe(arguments, time.time_ns())
    except FlagError as error:
        raise UsageError(str(error)) from None
    colored = asked.color == "always" or (asked.color == "auto" and sys.stdout.isatty())
    lines = client().stream("POST", "/v1/flows", asked.request.to_json())
    responses: Iterator[dict[str, Any]] = (json.loads(line) for line in lines)
    for text in render(responses, replace(asked.style, color=colored)):
        sys.stdout.write(text)
        sys.stdout.flush()


def main(options: Options) -> None:
    show(options.rest)
