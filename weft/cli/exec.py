"""``weft exec POD -- CMD``: run a command inside a pod: its namespaces, cgroup, capabilities, environment.

The exit code is the command's own.
"""

from __future__ import annotations

import os
import sys

from weft.cli.arguments import Options, Parser, UsageError, add_namespace
from weft.cli.common import client, split_name

USAGE = "POD [-i] [-t] -- COMMAND [ARG...]"


def arguments(parser: Parser) -> None:
    parser.add_argument("pod", metavar="POD", help="pod, or namespace/pod")
    add_namespace(parser)
    parser.add_argument("-i", "--stdin", action="store_true", help="pass standard input")
    parser.add_argument("-t", "--tty", action="store_true", help="with a terminal")


def main(options: Options) -> None:
    if not options.command:
        raise UsageError(f"the command is missing: weft exec {USAGE}")
    namespace, name = split_name(options.pod, options.namespace)
    prefix = client().get(f"/v1/pods/{namespace}/{name}/exec")["argv"]
    flags = (["-i"] if options.stdin else []) + (["-t"] if options.tty else [])
    sys.stdout.flush()
    os.execv(prefix[0], [*prefix, *flags, "--", *options.command])
