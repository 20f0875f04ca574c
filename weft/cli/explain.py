"""``weft explain FROM TO:PORT [METHOD PATH]``: what policy says about a connection, or an HTTP request over it: the
rule, its file and line; for a refusal what came closest. Exit 0 whatever the verdict is."""

from __future__ import annotations

import sys

from weft.cli.arguments import Options, Parser, UsageError, add_namespace, add_output, no_command
from weft.cli.common import client, emit_json

USAGE = "FROM TO:PORT[/PROTO] [METHOD PATH [-H 'name: value']] | --flow FLOW"


def arguments(parser: Parser) -> None:
    parser.add_argument(
        "source", nargs="?", default="", metavar="FROM", help="pod, namespace/pod, k=v labels, address, host or world"
    )
    parser.add_argument(
        "destination", nargs="?", default="", metavar="TO:PORT[/PROTO]",
        help="likewise, or a service; for ICMP the port is the type, as in 8/ICMP",
    )  # fmt: skip
    parser.add_argument("method", nargs="?", default="", metavar="METHOD", help="of an HTTP request, as in GET")
    parser.add_argument("path", nargs="?", default="", metavar="PATH", help="as the client sends it, with its query")
    parser.add_argument(
        "-H", "--header", action="append", default=[], metavar="'NAME: VALUE'",
        help="of the request; Host is TO's name if none is given",
    )  # fmt: skip
    add_namespace(parser)
    parser.add_argument("--kernel", action="store_true", help="ask the loaded program too; exit 1 if it disagrees")
    parser.add_argument("--flow", help="a flow as `weft observe -o json` prints it, its uuid, or -")
    add_output(parser)


def main(options: Options) -> int:
    no_command(options)
    if (options.flow is None) != bool(options.source and options.destination):
        raise UsageError(f"name a connection: weft explain {USAGE}")
    if bool(options.method) != bool(options.path) or (options.header and not options.path):
        raise UsageError("a request is METHOD PATH, as in GET /cart?id=7, with headers if it has some")
    flow = sys.stdin.readline() if options.flow == "-" else options.flow
    if options.flow is not None and not flow.strip():
        raise UsageError("--flow: nothing there; expected a line of `weft observe -o json`, or its uuid")
    body = {"source": options.source, "destination": options.destination, "namespace": options.namespace}
    if options.path:
        body["request"] = {"method": options.method, "path": options.path, "headers": options.header}
    answer = client().post("/v1/explain", body | {"kernel": options.kernel, "flow": flow or ""})
    if options.output:
        emit_json(answer["json"])
    else:
        print(answer["text"].rstrip("\n"))
    return int(answer["disagrees"])
