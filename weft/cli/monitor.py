"""``weft monitor``: every event of the datapath as it comes, addresses instead of names; Ctrl-C ends it."""

from __future__ import annotations

from weft.cli.arguments import Options, Parser, no_command
from weft.cli.observe import show

TYPES = ("drop", "l7", "policy-verdict", "trace")
USAGE = "[--type drop|l7|policy-verdict|trace]"


def arguments(parser: Parser) -> None:
    parser.add_argument(
        "-t",
        "--type",
        action="append",
        default=[],
        choices=TYPES,
        metavar="TYPE",
        help=f"only these: {', '.join(TYPES)}",
    )
    parser.add_argument(
        "-o", "--output", default="compact", choices=("compact", "dict", "json"), metavar="compact | dict | json"
    )


def main(options: Options) -> None:
    no_command(options)
    chosen = [word for wanted in options.type for word in ("--type", wanted)]
    show(["--follow", "--numeric", "--output", options.output, *chosen])
