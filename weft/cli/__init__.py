"""``weft``: nouns read, verbs write; every reader has ``-o json``; exit 0 only when what was asked holds.

Exit codes: 1 what was asked does not hold or was refused, 2 the command line was wrong.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from weft import __version__
from weft.api.errors import AgentError
from weft.cli.arguments import Parser, UsageError, add_node
from weft.model.origin import ManifestError

COMMANDS = {
    "agent": "be the node of this network namespace, in the foreground",
    "status": "what this node enforces, and at what cost",
    "apply": "make the objects in files so: all of them, or none",
    "get": "show objects",
    "delete": "delete objects",
    "wait": "wait until pods are ready, or gone",
    "run": "run a command as a pod",
    "exec": "run a command inside a pod",
    "logs": "what a pod has written",
    "observe": "flows and their verdicts, with hubble observe's flags",
    "monitor": "events of the datapath as they come",
    "explain": "what policy says about a connection, and why",
    "lint": "warn of what is valid and probably wrong",
    "bpf": "dump a BPF map of the node",
    "lab": "several nodes on this machine, which share one store",
    "doctor": "what this kernel can do, and what to do where it can't",
}
"""One module of this package each, with ``arguments(parser)`` and ``main(options)``; only the one that is asked for is
imported."""


def run(words: Sequence[str]) -> int:
    """``weft WORDS``; the exit code. Errors: UsageError, AgentError, ManifestError."""
    before = Parser("weft [--node-name NODE] COMMAND ...", description=_overview())
    add_node(before)
    before.add_argument("--version", action="version", version=f"weft {__version__}")
    before.add_argument("command", nargs="?", metavar="COMMAND")
    first = next((i for i, word in enumerate(words) if word in COMMANDS), len(words))
    options = before.parse_args([*words[: first + 1]])
    if not options.command:
        before.print_help()
        return 0
    if options.command not in COMMANDS:
        near = get_close_matches(options.command, COMMANDS, 1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(COMMANDS)}"
        raise UsageError(f"{options.command}: unknown command; {hint}")
    if options.node_name:
        os.environ["WEFT_NODE"] = options.node_name
    module = import_module(f"weft.cli.{options.command}")
    parser = Parser(f"weft {options.command} {module.USAGE}", description=(module.__doc__ or "").partition(": ")[2])
    code: int | None = module.main(parser.parse_words(module.arguments, words[first + 1 :]))
    return code or 0


def _overview() -> str:
    return "Commands:\n" + "\n".join(f"  {name:<8}  {text}" for name, text in COMMANDS.items())


def main() -> None:
    """Entry point of ``weft``."""
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except UsageError as error:
        code = _say(error.lines, 2)
    except AgentError as error:
        code = _say(error.lines, 1)
    except ManifestError as error:
        code = _say([str(error)], 1)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # `weft observe | head`: nothing more to say
        code = 0
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


def _say(lines: Sequence[str], code: int) -> int:
    for line in lines:
        print(f"error: {line}", file=sys.stderr)
    return code
