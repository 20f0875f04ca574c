"""The bench's C programs, compiled into build/bench/, and small things around processes."""

from __future__ import annotations

import os
import statistics
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINNED_CPU = max(os.sched_getaffinity(0))
"""Where the "1cpu" arms run: client and server on one core, so that no wake-up crosses cores and hides the datapath."""


@cache
def tool(name: str) -> str:
    """Path of bench/c/NAME.c, compiled."""
    source, program = ROOT / "bench" / "c" / f"{name}.c", ROOT / "build" / "bench" / name
    program.parent.mkdir(parents=True, exist_ok=True)
    include = f"-I{ROOT / 'tests' / 'lab' / 'c'}"
    subprocess.run(["gcc", "-static", "-O2", "-Wall", "-Werror", include, "-o", program, source], check=True)
    return str(program)


def run(argv: Sequence[str], timeout: float = 60) -> str:
    """What ``argv`` printed. Raises RuntimeError with its own words when it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def cpus(pinned: bool) -> set[int]:
    return {PINNED_CPU} if pinned else os.sched_getaffinity(0)


def on_cpus(argv: Sequence[str], pinned: bool) -> list[str]:
    """``argv``, kept on one core if ``pinned``."""
    return ["taskset", "-c", ",".join(map(str, sorted(cpus(pinned)))), *argv]


def median_ratio(values: Iterable[float], baseline: Iterable[float]) -> float:
    """Median over the rounds of value/baseline: both were measured in the same round, next to each other."""
    return statistics.median(value / base for value, base in zip(values, baseline, strict=True))


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest-rank percentile: ``share`` 0.99 of 200 values is the 198th."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
