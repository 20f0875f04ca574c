"""``weft delete``: delete objects by name, or what files name. Pods get their grace period first."""

from __future__ import annotations

from typing import Any

from weft.cli.arguments import Options, Parser, UsageError, add_files, add_namespace, no_command
from weft.cli.common import client, kinds_and_names, read_sources

USAGE = "KIND NAME... | KIND/NAME... | -f FILE [--grace-period SECONDS] [--now] [--force]"


def arguments(parser: Parser) -> None:
    parser.add_argument("words", nargs="*", metavar="KIND NAME")
    add_files(parser, required=False)
    add_namespace(parser)
    parser.add_argument("--ignore-not-found", action="store_true", help="what is not there counts as deleted")
    parser.add_argument(
        "--grace-period", type=int, default=-1, metavar="SECONDS",
        help="how long the pods that are named have to end after SIGTERM; negative (the default): their own; 0 counts "
        "as 1 without --force",
    )  # fmt: skip
    parser.add_argument("--now", action="store_true", help="the same as --grace-period=1")
    parser.add_argument("--force", action="store_true", help="with --grace-period=0 (or alone): SIGKILL at once")


def grace_period(options: Options) -> int:
    """As kubectl understands the three options together (its cmd/delete). Seconds; -1: the pods' own."""
    grace: int = options.grace_period
    if options.now and grace != -1:
        raise UsageError("--now and --grace-period cannot be specified together")
    if options.force and grace > 0:
        raise UsageError("--force and --grace-period greater than 0 cannot be specified together")
    if options.now:
        return 1
    if options.force and grace < 0:
        return 0
    return 1 if grace == 0 and not options.force else max(grace, -1)


def main(options: Options) -> None:
    no_command(options)
    wanted = kinds_and_names(options.words) if options.words else {}
    if bool(options.filename) == bool(wanted) or not all(wanted.values()):
        raise UsageError(f"name what to delete: weft delete {USAGE}")
    grace = grace_period(options)
    common = {"namespace": options.namespace, "ignoreNotFound": options.ignore_not_found, "gracePeriodSeconds": grace}
    bodies: list[dict[str, Any]] = [{"kind": kind, "names": names, "sources": []} for kind, names in wanted.items()]
    if options.filename:
        bodies = [{"kind": "", "names": [], "sources": read_sources(options.filename, options.recursive)}]
    for body in bodies:
        for deleted in client(timeout=120 + max(grace, 0)).post("/v1/delete", body | common)["deleted"]:
            print(f"{deleted} deleted")
