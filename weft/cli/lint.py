"""``weft lint -f``: warn of what is valid and probably not meant. Exit 1 when there is something."""

from __future__ import annotations

from weft.cli.arguments import Options, Parser, add_files, add_output, no_command
from weft.cli.common import client, emit_json, read_sources

USAGE = "-f FILE [-R] [-o json]"


def arguments(parser: Parser) -> None:
    add_files(parser)
    add_output(parser)


def main(options: Options) -> int:
    no_command(options)
    warnings = client().post("/v1/lint", {"sources": read_sources(options.filename, options.recursive)})["warnings"]
    if options.output:
        emit_json(warnings)
    else:
        for warning in warnings:
            print(warning["text"])
    return int(bool(warnings))
