"""Taking flow records in: from the kernel's ring into the agent's byte ring, on one core."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from contextlib import closing

from bench.limits import RECORDS_PER_SECOND, Row
from bench.node import datapath_node, measuring_programs
from bench.tools import cpus
from weft.datapath import bpf
from weft.datapath.events import RECORD, EventReader
from weft.flows.hubble import NodeInfo
from weft.flows.names import NameBook
from weft.flows.ring import ByteRing
from weft.flows.store import FlowStore

SHARE = 4
"""The ring is filled to a quarter before each reading: a flood's usual stretch, not the best case."""


def measure(rounds: int, quick: bool, say: Callable[[str], None]) -> list[Row]:
    """Records per second of the reader's own CPU time, as weft.agent.events does it; none may be lost."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cpus(True))
    try:
        with datapath_node() as (datapath, _), measuring_programs(datapath) as programs:
            store = FlowStore(ByteRing(), NameBook(), NodeInfo("bench", "default", 1))
            count = datapath.maps["events"].max_entries // RECORD // SHARE
            rates = []
            with closing(EventReader(datapath.maps["events"])) as reader:
                for _ in range(rounds * (3 if quick else 30)):
                    bpf.prog_test_run(programs.program("produce"), bytes(64), repeat=count)
                    started = time.thread_time()
                    taken = reader.read()
                    store.append(taken)
                    rates.append(count / (time.thread_time() - started))
                    if len(taken) != count * RECORD:
                        raise RuntimeError(f"bench: {count} records were written, {len(taken) // RECORD} taken in")
            say(f"records: {len(rates)} stretches of {count:,}")
    finally:
        os.sched_setaffinity(0, before)
    name = "flow records taken in per core"
    return [Row("weft", name, statistics.median(rates), "records/s", RECORDS_PER_SECOND, at_least=True)]
