"""``weft delete``: delete objects by name, or what files name. Pods get their grace period first."""

from __future__ import annotations

from typing import Any

from weft.cli.arguments import Options, Parser, UsageError, add_files, add_namespace, no_command
from weft.cli.common import client, kinds_and_names, read_sources

USAGE = "KIND NAME... | KIND/NAME... | -f FILE"


def arguments(parser: Parser) -> None:
    parser.add_argument("words", nargs="*", metavar="KIND NAME")
    add_files(parser, required=False)
    add_namespace(parser)
    parser.add_argument("--ignore-not-found", action="store_true", help="what is not there counts as deleted")


def main(options: Options) -> None:
    no_command(options)
    wanted = kinds_and_names(options.words) if options.words else {}
    if bool(options.filename) == bool(wanted) or not all(wanted.values()):
        raise UsageError(f"name what to delete: weft delete {USAGE}")
    common = {"namespace": options.namespace, "ignoreNotFound": options.ignore_not_found}
    bodies: list[dict[str, Any]] = [{"kind": kind, "names": names, "sources": []} for kind, names in wanted.items()]
    if options.filename:
        bodies = [{"kind": "", "names": [], "sources": read_sources(options.filename, options.recursive)}]
    for body in bodies:
        for deleted in client(timeout=120).post("/v1/delete", body | common)["deleted"]:
            print(f"{deleted} deleted")
