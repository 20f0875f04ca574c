"""``weft logs POD``: what a pod has written to its standard output and error."""

from __future__ import annotations

import sys

from weft.cli.arguments import Options, Parser, add_namespace, no_command, whole
from weft.cli.common import client, split_name

USAGE = "POD [-f] [--tail N]"


def arguments(parser: Parser) -> None:
    parser.add_argument("pod", metavar="POD", help="pod, or namespace/pod")
    add_namespace(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on as it writes; Ctrl-C ends it")
    parser.add_argument("--tail", type=whole, metavar="N", help="only the last N lines")


def main(options: Options) -> None:
    no_command(options)
    namespace, name = split_name(options.pod, options.namespace)
    query = {"follow": int(options.follow), "tail": options.tail}
    for line in client().stream("GET", f"/v1/pods/{namespace}/{name}/logs", **query):
        sys.stdout.buffer.write(line + b"\n")
        sys.stdout.buffer.flush()
