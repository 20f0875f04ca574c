"""The datapath's counters and the flow store's own, as named samples (names as Cilium's, with weft's prefix)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from weft.model.policy import Direction
from weft.model.verdicts import Verdict


class Sample(NamedTuple):
    name: str
    labels: tuple[tuple[str, str], ...]
    value: int


def datapath_samples(counters: Mapping[tuple[Verdict, Direction], tuple[int, int]]) -> list[Sample]:
    """``counters``: verdict × direction → (packets, bytes), summed over CPUs. What never happened is left out."""
    samples = []
    for (verdict, direction), amounts in sorted(counters.items()):
        labels: tuple[tuple[str, str], ...] = (("direction", direction.name),)
        kind = "forward"
        if verdict is not Verdict.FORWARDED:
            kind, labels = "drop", (("reason", verdict.name), *labels)
        for unit, value in zip(("count", "bytes"), amounts, strict=True):
            if value:
                samples.append(Sample(f"weft_{kind}_{unit}_total", labels, value))
    return samples


def store_samples(statistics: Mapping[str, int]) -> list[Sample]:
    """``statistics``: ``FlowStore.statistics()``."""
    lost = (("kernel_lost", "PERF_EVENT_RING_BUFFER"), ("overwritten", "HUBBLE_RING_BUFFER"))
    return [
        Sample("weft_flows_seen_total", (), statistics["seen_flows"]),
        Sample("weft_flows_stored", (), statistics["num_flows"]),
        *(Sample("weft_lost_events_total", (("source", source),), statistics[key]) for key, source in lost),
    ]


def exposition(samples: list[Sample]) -> str:
    """Prometheus' text format. Label values here are names of enums, so nothing needs escaping."""
    lines = []
    for name, labels, value in samples:
        pairs = ",".join(f'{key}="{text}"' for key, text in labels)
        lines.append(f"{name}{{{pairs}}} {value}\n" if pairs else f"{name} {value}\n")
    return "".join(lines)
