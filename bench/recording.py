"""What it costs traffic that flow records are taken in: the agent at work, against the agent stopped in its tracks."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from bench.arms import PORT
from bench.limits import RECORDING_COST, Row
from bench.tools import median_ratio, on_cpus, run, tool
from bench.weft_arm import Weft


def measure(arm: Weft, rounds: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Round trips and connects on one core, in turn with the agent running and halted (SIGSTOP: the kernel writes its
    records all the same, nobody takes them in)."""
    arm.pin_servers(True)
    samples: dict[tuple[str, bool], list[float]] = {}
    for _ in range(3 * rounds):
        for halted in (False, True):
            os.kill(arm.lab.agent_pid, signal.SIGSTOP if halted else signal.SIGCONT)
            try:
                for kind, count in (("rr", 10_000), ("connect", 2000)):
                    size = str(count // 10 if quick else count)
                    words = run(on_cpus(arm.client(tool("trip"), kind, arm.address, str(PORT), size), True)).split()
                    samples.setdefault((kind, halted), []).append(float(words[0]))
            finally:
                os.kill(arm.lab.agent_pid, signal.SIGCONT)
    say("recording: done")
    ratios = {kind: median_ratio(samples[kind, False], samples[kind, True]) for kind in ("rr", "connect")}
    return [
        Row("weft", "round trip, records taken in against nobody taking them", ratios["rr"], "×", RECORDING_COST),
        Row("weft", "connect, records taken in against nobody taking them", ratios["connect"], "×"),
    ]
