"""``weft get KIND [NAME]``: show objects, with kubectl's columns and outputs."""

from __future__ import annotations

import sys

from weft.cli.arguments import Options, Parser, UsageError, add_namespace, add_output, no_command
from weft.cli.common import client, kinds_and_names

USAGE = "KIND [NAME] [-n NAMESPACE | -A] [-o json|yaml|wide|name]"


def arguments(parser: Parser) -> None:
    parser.add_argument(
        "words", nargs="+", metavar="KIND [NAME]",
        help="pods, services, deployments, cnp, ccnp, netpol, httproutes, grpcroutes, referencegrants, ns, "
        "endpointslices or identities",
    )  # fmt: skip
    add_namespace(parser)
    parser.add_argument("-A", "--all-namespaces", action="store_true")
    add_output(parser, "json", "yaml", "wide", "name")


def main(options: Options) -> None:
    no_command(options)
    ((kind, names), *more) = kinds_and_names(options.words).items()
    if more or len(names) > 1:
        raise UsageError(f"one kind and one name at a time: weft get {USAGE}")
    if names and options.all_namespaces:
        raise UsageError("a name and -A do not go together; say the namespace with -n")
    answer = client().get(
        "/v1/get",
        kind=kind,
        name=names[0] if names else None,
        namespace=None if options.all_namespaces else options.namespace,
        output=options.output or None,
    )
    if answer["text"]:
        print(answer["text"].rstrip("\n"))
    elif options.output != "name":
        where = "" if options.all_namespaces else f" in {options.namespace} namespace"
        print(f"No resources found{where}.", file=sys.stderr)
