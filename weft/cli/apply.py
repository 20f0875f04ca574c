"""``weft apply -f``: make the objects in these files so: all of them, or none if one is refused."""

from __future__ import annotations

import sys

from weft.cli.arguments import Options, Parser, add_files, add_output, no_command
from weft.cli.common import client, emit_json, read_sources

USAGE = "-f FILE [-R] [--dry-run]"


def arguments(parser: Parser) -> None:
    add_files(parser)
    add_output(parser)
    parser.add_argument(
        "--dry-run", nargs="?", const="server", choices=("server", "none"), default="none",
        help="check everything, change nothing",
    )  # fmt: skip


def main(options: Options) -> None:
    no_command(options)
    dry = options.dry_run == "server"
    body = {"sources": read_sources(options.filename, options.recursive), "dryRun": dry}
    answer = client().post("/v1/apply", body)
    for warning in answer["warnings"]:
        print(f"warning: {warning}", file=sys.stderr)
    if options.output:
        emit_json(answer)
        return
    for result in answer["results"]:
        print(f"{result['object']} {result['outcome']}{' (server dry run)' if dry else ''}")
