"""``weft doctor``: try every kernel feature that weft uses. Exit 1 when a needed one is missing. Needs no agent."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from weft.cli.arguments import Options, Parser, add_output, no_command
from weft.cli.common import emit_json

USAGE = "[--kubernetes [--cni-conf-dir DIR]] [-o json]"
PORTS = (9879, 9962)
"""Of the chart's healthPort and prometheus.port."""


def arguments(parser: Parser) -> None:
    add_output(parser)
    parser.add_argument(
        "--kubernetes", action="store_true", help="also what would be in weft's way on a node; before it is installed"
    )
    parser.add_argument("--cni-conf-dir", default="/etc/cni/net.d", metavar="DIR", help="default: %(default)s")


def main(options: Options) -> int:
    from weft.datapath import preflight
    from weft.datapath.features import probe

    no_command(options)
    found = probe()
    if options.kubernetes:
        found += probe(preflight.probes(Path(options.cni_conf_dir), PORTS))
    if options.output:
        emit_json([dataclasses.asdict(feature) for feature in found])
    else:
        for feature in found:
            mark = "ok     " if feature.ok else ("MISSING" if feature.needed else "absent ")
            print(f"{mark}  {feature.name:<28} {feature.detail}")
            if not feature.ok:
                print(f"         {'':<28} {feature.remedy}")
    return int(any(feature.needed and not feature.ok for feature in found))
