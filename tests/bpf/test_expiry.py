"""The ageing timer with more flows than it looks at in one go."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import NamedTuple

import pytest

from tests.lab import until
from tests.lab.turns import add_flow
from tests.lab.waiting import volume
from weft.built import built
from weft.datapath import bpf, layouts
from weft.datapath.layouts import Flow, FlowCount, FlowKey
from weft.datapath.libbpf import Object
from weft.datapath.maps import Map
from weft.model.net import TCP

FLOWS = max(volume(16_384), 4096)
"""Four slices at least (EXPIRY_SLICE of bpf/expiry.bpf.c)."""
IDLE_NS = 11 * 10**9
"""Too long for a connection that closes, nothing for an open one."""
FIRST, SECOND = 7, 8
"""Pods."""


class Table(NamedTuple):
    flows: Map
    turns: Map
    counts: Map

    def add(self, number: int, owner: int, state: int) -> set[bytes]:
        """Flows that have been idle; returns their keys."""
        self.counts.update(owner.to_bytes(4, "little"), FlowCount(number, FLOWS).pack())
        seen = time.clock_gettime_ns(time.CLOCK_MONOTONIC) - IDLE_NS
        flow = Flow.unpack(bytes(layouts.FLOW_SIZE))._replace(last_seen_ns=seen, state=state, owner=owner).pack()
        keys = {FlowKey(os.urandom(16), os.urandom(16), 0, 0, TCP).pack() for _ in range(number)}
        for key in keys:
            add_flow(self.flows, self.turns, key, flow)
        return keys

    def close(self, keys: set[bytes]) -> None:
        """They are open no longer."""
        flows = [(key, Flow.unpack(value)) for key, value in self.flows.items() if key in keys]
        self.flows.update_batch([(key, flow._replace(state=layouts.FLOW_CLOSING).pack()) for key, flow in flows])

    def live(self, owner: int) -> int:
        return FlowCount.unpack(self.counts.lookup(owner.to_bytes(4, "little")) or b"").live


@pytest.fixture
def loaded() -> Iterator[Object]:
    with Object(built("bpf/weft.bpf.o")) as loaded:
        for name in ("flows", "flow_turns"):
            loaded.resize(name, FLOWS)
        loaded.load()
        yield loaded


def test_a_full_table_ages_slice_by_slice(loaded: Object) -> None:
    """Who lives on keeps its turn, and goes when its time has come; who goes leaves room."""
    with ExitStack() as stack:
        names = ("flows", "flow_turns", "flow_count")
        table = Table(*(stack.enter_context(closing(loaded.map(name))) for name in names))
        gone = table.add(FLOWS // 2, FIRST, layouts.FLOW_CLOSING)
        stay = table.add(FLOWS - len(gone), SECOND, layouts.FLOW_OPEN)
        assert bpf.prog_test_run(loaded.program("start_expiry"), bytes(64)).retval == 0
        until(lambda: table.flows.count() <= len(stay), "half of them expire", 30)
        assert set(table.flows.keys()) == stay
        until(lambda: (table.live(FIRST), table.live(SECOND)) == (0, len(stay)), "their owner has the room", 10)
        new = table.add(len(gone), FIRST, layouts.FLOW_OPEN)
        table.close(stay)
        until(lambda: table.flows.count() <= len(new), "the other half expires", 30)
        assert set(table.flows.keys()) == new
        until(lambda: (table.live(FIRST), table.live(SECOND)) == (len(new), 0), "their owner has the room", 10)
