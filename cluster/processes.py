"""Running programs in namespaces and cgroups."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from cluster import cgroups

T = TypeVar("T")

SLOWNESS = float(os.environ.get("WEFT_TEST_SLOWNESS", "1"))
"""How much slower than a plain machine this one is: every bound is multiplied by it, as tests' are."""

# The shell joins the groups before it becomes the program: nothing of the program ever runs outside.
_JOIN = 'for file in $0; do echo 0 >"$file" || exit; done; exec "$@"'


def command(*argv: str, stdin: str | bytes | None = None, seconds: float = 60) -> str:
    """Run a command of the machine; its standard output. Raises RuntimeError with what it said."""
    data = stdin.encode() if isinstance(stdin, str) else stdin
    done = subprocess.run(argv, input=data, capture_output=True, timeout=seconds * SLOWNESS, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise RuntimeError(f"{' '.join(argv)}: {said or f'exit status {done.returncode}'}")
    return done.stdout.decode(errors="replace")


def start(
    node: str,
    program: str,
    argv: Sequence[str],
    log: Path,
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
    cwd: Path | None = None,
) -> subprocess.Popen[bytes]:
    """Start a program in the cgroup ``/NODE/PROGRAM``; it outlives this process. Its output is appended to ``log``."""
    with log.open("ab") as out:
        return subprocess.Popen(
            ["sh", "-c", _JOIN, " ".join(cgroups.join_files(node, program)), *argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            env={**os.environ, **(env or {})},
            pass_fds=pass_fds,
            cwd=cwd,
        )


def until(
    holds: Callable[[], T],
    what: str,
    seconds: float = 120,
    pause: float = 0.05,
    errors: tuple[type[Exception], ...] = (),
) -> T:
    """The first true value of ``holds()``; of the ``errors`` it may raise, each means "not yet".

    Raises TimeoutError, naming ``what`` and the last error, after ``seconds``.
    """
    deadline, last = time.monotonic() + seconds * SLOWNESS, ""
    while True:
        try:
            if value := holds():
                return value
        except errors as error:
            last = f" ({error})"
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds * SLOWNESS:.0f} s: {what}{last}")
        time.sleep(pause)
