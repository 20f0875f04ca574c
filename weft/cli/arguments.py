"""Reading the command line. The standard library's parser: it is imported in a few milliseconds."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

Options = argparse.Namespace
_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


class UsageError(Exception):
    """A word of the command line that cannot be meant. ``lines``: what a person should read."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class Parser(argparse.ArgumentParser):
    """Says what is wrong by UsageError; takes no abbreviations (a script that uses one breaks with the next option)."""

    def __init__(self, usage: str, description: str) -> None:
        super().__init__(
            prog=" ".join(usage.split()[:2]),
            usage=usage,
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"`{self.prog} --help` shows how it is used".replace("[--node-name ", ""))

    def take_rest(self, help_text: str) -> None:
        """Somebody else reads the words (``options.rest``); ``help_text`` says what they may be."""
        self.epilog = help_text

    def parse_words(self, arguments: Callable[[Parser], Any], words: Sequence[str]) -> Options:
        """Options of a command; ``options.command`` are the words after ``--``, None without ``--``."""
        add_node(self)
        arguments(self)
        if self.epilog:
            options, rest = self.parse_known_args([*words])
            options.rest = rest
        else:
            end = words.index("--") if "--" in words else len(words)
            options = self.parse_intermixed_args([*words[:end]])
            options.command = [*words[end + 1 :]] if end < len(words) else None
        if options.node_name:
            os.environ["WEFT_NODE"] = options.node_name
        return options


def add_node(parser: Parser) -> None:
    parser.add_argument("--node-name", metavar="NODE", help="which node, if several run here; or WEFT_NODE")


def add_namespace(parser: Parser) -> None:
    parser.add_argument("-n", "--namespace", default="default", help="default: %(default)s")


def add_output(parser: Parser, *choices: str) -> None:
    known = choices or ("json",)
    parser.add_argument("-o", "--output", default="", choices=known, metavar=" | ".join(known))


def add_files(parser: Parser, required: bool = True) -> None:
    parser.add_argument(
        "-f", "--filename", action="append", default=[], required=required, metavar="FILE",
        help="file, folder or - for standard input; may be given again",
    )  # fmt: skip
    parser.add_argument("-R", "--recursive", action="store_true", help="folders within folders too")


def seconds(text: str) -> float:
    """``30``, ``30s``, ``2m``, ``500ms``."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h|)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text}: expected a time, for example 30s or 2m")
    return float(found[1]) * _UNITS[found[2]]


def whole(text: str) -> int:
    """A number from 0."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number from 0")
    return int(text)


def no_command(options: Options) -> None:
    """For commands that take none. Errors: UsageError."""
    if options.command is not None:
        raise UsageError("nothing may follow -- here")
