"""The limits that weft holds itself to (ratios within one run; times are this machine's)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was measured, and whether it is within its limit."""

    group: str
    name: str
    value: float
    unit: str
    limit: float | None = None
    """Upper bound (lower bound with ``at_least``) in the same unit; None = only for information."""
    at_least: bool = False
    note: str = ""

    @property
    def held(self) -> bool | None:
        if self.limit is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    def cells(self) -> tuple[str, ...]:
        bound = "" if self.limit is None else f"{'≥' if self.at_least else '≤'} {spell(self.limit, self.unit)}"
        verdict = {None: "", True: "held", False: "MISSED"}[self.held]
        return self.group, self.name, spell(self.value, self.unit), bound, verdict, self.note


def spell(value: float, unit: str) -> str:
    """``0.88×``, ``14.6 µs``, ``1,234 entries``: three significant digits, thousands grouped."""
    if unit == "×":
        return f"{value:.3f}×"
    number = f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
    return f"{number} {unit}".rstrip()


ROUND_TRIP = 0.90
CONNECT = 0.95
CONNECT_100K_SERVICES = 1.02
POLICY_ENTRIES_PER_POD = 0
PACKET_NS = 60
PACKET_64K_ENTRIES = 1.2
POLICY_CHANGE_MS = 50
ADD_WORKLOAD_MS = 30
RECORDS_PER_SECOND = 1_000_000
RECORDING_COST = 1.01
AGENT_MB = 64
REMOTE_ENDPOINT_BYTES = 1024
L7_LATENCY = 1.05
"""Of the same listener in an Envoy without weft."""
L7_THROUGHPUT = 1.8
"""Of two sidecars."""
