"""``weft wait``: wait until pods or deployments are ready, or gone. Exit 1 when that does not come true in time."""

from __future__ import annotations

from weft.cli.arguments import Options, Parser, add_namespace, no_command, seconds
from weft.cli.common import client, split_name

USAGE = "[POD | deployment/NAME]... [--for Ready|Running|delete] [--timeout TIME]"


def arguments(parser: Parser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="pod or deployment/NAME; all pods if left out")
    parser.add_argument(
        "--for", dest="condition", default="Ready", metavar="CONDITION", help="Ready, Running or delete"
    )
    add_namespace(parser)
    parser.add_argument("--timeout", type=seconds, default=30.0, metavar="TIME", help="default 30s")


def main(options: Options) -> None:
    no_command(options)
    wanted = [
        dict(zip(("namespace", "name"), split_name(name, options.namespace), strict=True)) for name in options.names
    ]
    condition = options.condition.removeprefix("condition=")
    body = {"pods": wanted, "namespace": options.namespace, "condition": condition, "timeout": options.timeout}
    client(options.timeout + 10).post("/v1/wait", body)
