"""Connecting through services: does it matter how many there are?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from bench.arms import SERVICE_PORT, Arm
from bench.limits import CONNECT_100K_SERVICES, Row
from bench.tools import median_ratio, on_cpus, run, tool

FEW, MANY = 10, 100_000
CONNECTS = 2000


def measure(
    arms: Mapping[tuple[str, int], Arm], rounds: int, quick: bool, say: Callable[[str], None]
) -> dict[tuple[str, int], list[float]]:
    """(arm, number of services) → median connect + 1 byte in µs for each round, on one core, services at random."""
    samples: dict[tuple[str, int], list[float]] = defaultdict(list)
    order: Sequence[tuple[str, int]] = list(arms)
    for arm in arms.values():
        arm.pin_servers(True)
    for number in range(rounds):
        for key in [*order[number % len(order) :], *order[: number % len(order)]]:
            arm, (_, count) = arms[key], key
            connects = str(CONNECTS // 10 if quick else CONNECTS)
            command = arm.client(tool("trip"), "connect", arm.services, str(SERVICE_PORT), connects, str(count))
            samples[key].append(float(run(on_cpus(command, True)).split()[0]) / 1000)
        say(f"services: round {number + 1} of {rounds}")
    return samples


def rows(samples: Mapping[tuple[str, int], Sequence[float]], many: int = MANY) -> list[Row]:
    result = []
    for name in dict.fromkeys(arm for arm, _ in samples):
        few = samples[name, FEW]
        result.append(Row(name, f"connect through one of {FEW} services, 1 core", sorted(few)[len(few) // 2], "µs"))
        limit = CONNECT_100K_SERVICES if name == "weft" else None
        label = f"connect, {many:,} services against {FEW}"
        result.append(Row(name, label, median_ratio(samples[name, many], few), "×", limit))
        if name != "weft" and ("weft", many) in samples:
            ratio = median_ratio(samples["weft", many], samples[name, many])
            result.append(Row("weft", f"connect against {name}, {many:,} services", ratio, "×"))
    return result
