"""How the demos tell what they do: titles, commands, what they printed, and a step that fails loudly."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

COLOUR = sys.stdout.isatty()


class StepFailed(Exception):
    """A step did not go as the narration says."""


def paint(code: str, text: str) -> str:
    return f"\033[{code}m{text}\033[0m" if COLOUR else text


def title(text: str) -> None:
    print(f"\n{paint('1;36', text)}", flush=True)


def say(text: str) -> None:
    print(paint("32", f"  ✓ {text}"), flush=True)


def command(text: str) -> None:
    print(paint("33", f"  $ {text}"), flush=True)


def show(text: str, limit: int = 40) -> None:
    for line in text.rstrip().splitlines()[:limit]:
        print(paint("2", f"    {line}"), flush=True)


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise StepFailed(otherwise)


def until(holds: Callable[[], bool], what: str, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise StepFailed(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)
