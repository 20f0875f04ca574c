"""``weft doctor``: try every kernel feature that weft uses. Exit 1 when a needed one is missing. Needs no agent."""

from __future__ import annotations

import dataclasses

from weft.cli.arguments import Options, Parser, add_output, no_command
from weft.cli.common import emit_json

USAGE = "[-o json]"


def arguments(parser: Parser) -> None:
    add_output(parser)


def main(options: Options) -> int:
    from weft.datapath.features import probe

    no_command(options)
    found = probe()
    if options.output:
        emit_json([dataclasses.asdict(feature) for feature in found])
    else:
        for feature in found:
            mark = "ok     " if feature.ok else ("MISSING" if feature.needed else "absent ")
            print(f"{mark}  {feature.name:<28} {feature.detail}")
            if not feature.ok:
                print(f"         {'':<28} {feature.remedy}")
    return int(any(feature.needed and not feature.ok for feature in found))
