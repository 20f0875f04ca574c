"""The table: on the terminal as it grows, and docs/BENCHMARKS.md at the end."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from bench.limits import Row

HEAD = ("arm", "what", "value", "limit", "", "note")

TEXT = """# Benchmarks

Written by `make bench`; do not edit. {rounds} rounds; the arms alternate within each round, and their order turns from
round to round. A ratio (×) is the median over the rounds of weft divided by the plain routed veth pair ("no mesh")
that was measured beside it; A/A is a second "no mesh" divided by the first, so it shows how far two equal things differ
here. "1 core": client and server pinned to one core, because a wake-up across cores costs more than any datapath and
hides it; the limits on latency are for that. Absolute times belong to this machine; ratios mostly carry over. /run is
a tmpfs, as systemd has it; on a machine without one, the benchmarks mount their own, seen by nobody else.

Layer 7: every arm serves the same page with the same servers and allows `GET /`. "bare Envoy" is one Envoy on the node
with weft's own listener, dialled directly, with static routes and a receiver in C that throws its access log away: no
redirection, no client addresses kept, no policy of layers 3 and 4; it is there twice, because two equal Envoys differ
by 1-2 % for as long as they run, and the limit asks for their mean; "TPROXY Envoy" has the listener whole, transparent,
behind nftables' tproxy. "two sidecars" is an Envoy in each pod behind
nftables' redirect, as Istio lays them out, but without mTLS, telemetry and access logs, which make Istio's slower. The
lines' values are requests/s; the notes have the latencies. Pinned to one core are client, server and Envoys (weft's
agent, which reads the access log, is not).

Machine: {machine}, {cpus} CPUs ({model}), Linux {kernel}. {held} limits held, {missed} missed.

{table}
"""


def table(rows: Sequence[Row]) -> str:
    """Markdown, aligned so that it also reads as plain text."""
    cells = [HEAD, *(row.cells() for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEAD))]
    lines = ["| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def document(rows: Sequence[Row], rounds: int) -> str:
    return TEXT.format(
        rounds=rounds,
        machine=platform.machine(),
        cpus=os.cpu_count(),
        model=_model(),
        kernel=platform.release(),
        held=sum(row.held is True for row in rows),
        missed=sum(row.held is False for row in rows),
        table=table(rows),
    )


def _model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")
