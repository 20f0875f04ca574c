"""Layer 7: requests through weft's Envoy against no mesh, an Envoy on the node without weft, and two sidecars."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import l7_control
from bench.arms import PORT, Arm, in_rounds
from bench.l7_arms import H2_PORT, BareEnvoy, PlainHttp, Sidecars, TproxyEnvoy
from bench.l7_weft import WeftRoute, WeftRule
from bench.limits import L7_LATENCY, L7_THROUGHPUT, Row
from bench.tools import median_ratio, on_cpus, percentile, run, tool

NO_MESH, AGAIN, TPROXY, SIDECARS = "no mesh", "A/A", "TPROXY Envoy", "two sidecars"
BARE, BARE_AGAIN = "bare Envoy", "bare Envoy, A/A"
RULE, ROUTE = "weft, http rule", "weft, route"
ARMS: dict[str, Callable[[str], Arm]] = {
    NO_MESH: PlainHttp,
    AGAIN: PlainHttp,
    BARE: BareEnvoy,
    BARE_AGAIN: BareEnvoy,
    TPROXY: TproxyEnvoy,
    SIDECARS: Sidecars,
    RULE: WeftRule,
    ROUTE: WeftRoute,
}
RATE, P50, P99 = "requests/s", "p50", "p99"
Taken = dict[str, float]
"""requests/s, and p50 and p99 of a request in µs"""
Samples = dict[str, dict[str, list[Taken]]]
"""label of a measure → arm → one for each round"""


@dataclass(frozen=True, slots=True)
class Measure:
    name: str
    take: Callable[[Arm, bool, int], Taken]
    """(arm, pinned, size)"""
    quick: int
    full: int
    takes: int = 1
    """In each round, pinned: more where a limit asks for more than one take tells."""


def _http1(connections: int, most: int = 0) -> Callable[[Arm, bool, int], Taken]:
    """For so many milliseconds; with ``most``, at most so many requests, each over a connection of its own (a client
    has 28,000 ports, and each is kept for a minute)."""

    def take(arm: Arm, pinned: bool, size: int) -> Taken:
        words = (str(connections), str(size), str(most), *(["close"] if most else []))
        rate, p50, p99 = run(on_cpus(arm.client(tool("ask"), arm.address, str(PORT), *words), pinned)).split()
        return {RATE: float(rate), P50: float(p50) / 1000, P99: float(p99) / 1000}

    return take


def _http2(arm: Arm, pinned: bool, size: int) -> Taken:
    """``size`` requests over 8 connections with 8 requests at a time on each."""
    with tempfile.NamedTemporaryFile() as log:
        words = ("-n", str(size), "-c", "8", "-m", "8", f"--log-file={log.name}", f"http://{arm.address}:{H2_PORT}/")
        text = run(on_cpus(arm.client("h2load", *words), pinned))
        requests = [line.split() for line in Path(log.name).read_text().splitlines()]
    if [status for _, status, _ in requests] != ["200"] * size:
        raise RuntimeError(f"{arm.name}: not every answer was 200:\n{text}")
    times = [float(micros) for *_, micros in requests]
    rate = next(line.split()[3] for line in text.splitlines() if line.startswith("finished in"))
    return {RATE: float(rate), P50: percentile(times, 0.5), P99: percentile(times, 0.99)}


MEASURES = (
    Measure("HTTP, 1 connection", _http1(1), 100, 200, takes=5),
    Measure("HTTP, 8 connections", _http1(8), 100, 200),
    Measure("HTTP, 64 connections", _http1(64), 100, 200),
    Measure("HTTP, connection per request", _http1(1, 1500), 100, 200),
    Measure("HTTP/2, 8 connections, 8 streams", _http2, 2000, 4000),
)


def measure(rounds: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Rows of requests, of Envoy's memory, and of the time until a rule is in force."""
    with contextlib.ExitStack() as stack:
        arms = []
        for name, make in ARMS.items():
            arms.append(make(name))
            stack.callback(arms[-1].close)
            say(f"l7: {name} is up")
        samples = requests(arms, rounds, quick, say)
        kept = [_agent_time(arm, 2000 if quick else 20_000) for arm in arms if isinstance(arm, WeftRule)]
    return [*rows(samples), *kept, *l7_control.measure(rounds, quick, say)]


def _agent_time(arm: WeftRule, count: int) -> Row:
    """What the agent's threads have been on a core for while it took in the access log of so many requests."""
    before = _on_cpu_ns(arm.lab.agent_pid)
    run(arm.client(tool("ask"), arm.address, str(PORT), "8", "60000", str(count)))
    time.sleep(0.5)  # Envoy sends the last of them after a tenth of a second
    spent = _on_cpu_ns(arm.lab.agent_pid) - before
    return Row("weft", "agent's time to keep the record of a request", spent / count / 1000, "µs")


def _on_cpu_ns(pid: int) -> int:
    return sum(int((task / "schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


def requests(arms: Sequence[Arm], rounds: int, quick: bool, say: Callable[[str], None]) -> Samples:
    """All measures in all arms, round by round; the order of the arms turns by one each round."""
    samples: Samples = defaultdict(lambda: defaultdict(list))
    for pinned, turned in in_rounds(arms, rounds, "l7", say):
        for one in MEASURES:
            for arm in [*turned] * (one.takes if pinned else 1):
                taken = one.take(arm, pinned, one.quick if quick else one.full)
                samples[_label(one, pinned)][arm.name].append(taken)
    return samples


def rows(samples: Samples) -> list[Row]:
    """The limits, then each measure: the baseline's values and each arm's ratio to it."""
    found = [*_limits(samples)]
    for label, by_arm in samples.items():
        base = {part: _middle([taken[part] for taken in by_arm[NO_MESH]]) for part in (RATE, P50, P99)}
        note = f"p50 {base[P50]:.0f} µs, p99 {base[P99]:.0f} µs"
        found.append(Row(NO_MESH, label, base[RATE], RATE, note=note))
        for arm in [arm for arm in by_arm if arm != NO_MESH]:
            note = "p50 {:.2f}×, p99 {:.2f}×".format(*(_ratio(by_arm, arm, NO_MESH, part) for part in (P50, P99)))
            for other in (BARE, SIDECARS) if arm in (RULE, ROUTE) else ():
                rate, p50 = (_ratio(by_arm, arm, other, part) for part in (RATE, P50))
                note += f"; to {other}: {rate:.2f}×, p50 {p50:.2f}×"
            found.append(Row(arm, label, _ratio(by_arm, arm, NO_MESH, RATE), "×", note=note))
    return found


def _limits(samples: Samples) -> list[Row]:
    """On one core, as all limits of traffic."""
    one, many = _label(MEASURES[0], True), _label(MEASURES[2], True)
    # Two equal Envoys differ by 1-2 % for as long as they run: what is asked is their mean.
    bare = [
        (taken[P50] + again[P50]) / 2 for taken, again in zip(samples[one][BARE], samples[one][BARE_AGAIN], strict=True)
    ]
    latency = median_ratio([taken[P50] for taken in samples[one][RULE]], bare)
    again = _ratio(samples[one], BARE_AGAIN, BARE, P50)
    rate = _ratio(samples[many], RULE, SIDECARS, RATE)
    return [
        Row(RULE, f"{one}: p50 to {BARE}'s", latency, "×", L7_LATENCY, note=f"to the mean of both; A/A {again:.3f}×"),
        Row(RULE, f"{many}: {RATE} to {SIDECARS}'", rate, "×", L7_THROUGHPUT, at_least=True),
    ]


def _ratio(by_arm: dict[str, list[Taken]], arm: str, base: str, part: str) -> float:
    return median_ratio([taken[part] for taken in by_arm[arm]], [taken[part] for taken in by_arm[base]])


def _middle(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2]


def _label(one: Measure, pinned: bool) -> str:
    return f"{one.name}, {'1 core' if pinned else 'all cores'}"
