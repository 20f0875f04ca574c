"""Flows that nobody sent: an entry of the flow table that the ageing timer comes to as to any other."""

from __future__ import annotations

import ctypes

from weft.datapath import bpf
from weft.datapath.maps import Map

NEW = bytes(8)
"""struct flow_turn after its key (bpf/include/maps.h)."""


def add_flow(flows: Map, turns: Map, key: bytes, flow: bytes) -> None:
    """In the order that flow_write() keeps: a turn without a flow is thrown away."""
    flows.update(key, flow)
    turn = ctypes.create_string_buffer(key + NEW, turns.value_size)
    attr = bpf.attribute("IIQQQ", turns.fd, 0, 0, bpf.address_of(turn), 0)  # a queue takes no key
    bpf.check(bpf.call(bpf.MAP_UPDATE, attr), "push to flow_turns")
