"""``weft bpf MAP``: what is in one of the node's BPF maps, decoded."""

from __future__ import annotations

from weft.cli.arguments import Options, Parser, add_output, no_command
from weft.cli.common import client, emit_json

MAPS = ("policy", "flows", "ipcache", "endpoints", "services", "metrics")
USAGE = "MAP [-o json]"


def arguments(parser: Parser) -> None:
    parser.add_argument("name", metavar="MAP", choices=MAPS, help=" | ".join(MAPS))
    add_output(parser)


def main(options: Options) -> None:
    no_command(options)
    answer = client().get(f"/v1/bpf/{options.name}")
    if options.output:
        emit_json(answer["rows"])
        return
    columns = answer["columns"]
    table = [columns, *[[str(row.get(column, "")) for column in columns] for row in answer["rows"]]]
    widths = [max(len(row[i]) for row in table) for i in range(len(columns))]
    for row in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
