"""Traffic between two pods of one node: round trips, connects, HTTP, bulk; one core and all cores."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.arms import BULK_PORT, PORT, Arm, in_rounds
from bench.limits import CONNECT, ROUND_TRIP, Row
from bench.tools import median_ratio, on_cpus, run, tool

Samples = dict[str, dict[str, list[float]]]
"""measure → arm → one value for each round"""


@dataclass(frozen=True, slots=True)
class Measure:
    name: str
    unit: str
    take: Callable[[Arm, bool, int], dict[str, float]]
    """(arm, pinned, size) → part ("p50", "p99" or "") → value"""
    quick: int
    full: int
    limit: float | None = None


def _trip(kind: str) -> Callable[[Arm, bool, int], dict[str, float]]:
    def take(arm: Arm, pinned: bool, size: int) -> dict[str, float]:
        words = run(on_cpus(arm.client(tool("trip"), kind, arm.address, str(PORT), str(size)), pinned)).split()
        return {"p50": float(words[0]) / 1000, "p99": float(words[1]) / 1000}

    return take


def _http(arm: Arm, pinned: bool, size: int) -> dict[str, float]:
    command = ("wrk", "-t1", "-c16", f"-d{size}s", f"http://{arm.address}:{PORT}/")
    text = run(on_cpus(arm.client(*command), pinned))
    return {"": next(float(line.split()[1]) for line in text.splitlines() if line.startswith("Requests/sec"))}


def _bulk(arm: Arm, pinned: bool, size: int) -> dict[str, float]:
    command = ("iperf3", "-c", arm.address, "-p", str(BULK_PORT), "-t", str(size), "-J")
    report = json.loads(run(on_cpus(arm.client(*command), pinned)))
    return {"": report["end"]["sum_received"]["bits_per_second"] / 1e9}


MEASURES = (
    Measure("TCP round trip", "µs", _trip("rr"), 1000, 10_000, ROUND_TRIP),
    Measure("connect + 1 byte", "µs", _trip("connect"), 200, 2000, CONNECT),
    Measure("HTTP, 16 connections", "requests/s", _http, 1, 1),
    Measure("bulk TCP", "Gbit/s", _bulk, 1, 1),
)


def measure(arms: Sequence[Arm], rounds: int, quick: bool, say: Callable[[str], None]) -> Samples:
    """All measures in all arms, round by round; the order of the arms turns by one each round."""
    samples: Samples = defaultdict(lambda: defaultdict(list))
    for pinned, turned in in_rounds(arms, rounds, "traffic", say):
        for one in MEASURES:
            for arm in turned:
                for part, value in one.take(arm, pinned, one.quick if quick else one.full).items():
                    samples[_label(one, part, pinned)][arm.name].append(value)
    return samples


def _label(one: Measure, part: str, pinned: bool) -> str:
    return f"{one.name}{' ' + part if part else ''}, {'1 core' if pinned else 'all cores'}"


def rows(samples: Samples, base: str, again: str, weft: str | None) -> list[Row]:
    """The table's lines: the baseline's value, A/A, and weft's ratio. The limits are for the medians on one core."""
    result = []
    for one in MEASURES:
        for pinned in (True, False):
            for part in [part for part in ("p50", "p99", "") if _label(one, part, pinned) in samples]:
                label = _label(one, part, pinned)
                by_arm = samples[label]
                result.append(Row("no mesh", label, sorted(by_arm[base])[len(by_arm[base]) // 2], one.unit))
                result.append(Row("A/A", label, median_ratio(by_arm[again], by_arm[base]), "×"))
                if weft is not None:
                    limit = one.limit if pinned and part == "p50" else None
                    result.append(Row("weft", label, median_ratio(by_arm[weft], by_arm[base]), "×", limit))
    return result
