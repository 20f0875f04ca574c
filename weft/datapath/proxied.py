"""What goes through Envoy, and what is to happen to it when Envoy is gone."""

from __future__ import annotations

import struct
import time
from typing import NamedTuple

from weft.datapath import layouts
from weft.datapath.kernel import Datapath
from weft.datapath.layouts import Flow, FlowKey
from weft.datapath.sweep import Kicked, kick
from weft.model.net import TCP
from weft.model.verdicts import Verdict

PHASES = ("route", "egress", "ingress")


class ProxyCount(NamedTuple):
    """What was sent to Envoy since the maps were made."""

    connections: int
    packets: int
    bytes: int


class Cut(NamedTuple):
    """What one ``cut_proxied`` did: flows that were cut, and how many of their ends were told."""

    flows: int
    told: int


def proxied(datapath: Datapath) -> dict[str, ProxyCount]:
    """By phase: ``route``, ``egress`` and ``ingress``. A connection that passes two listeners is in two of them."""
    found = {}
    for raw, value in datapath.maps["proxied"].items():
        numbers = struct.unpack(f"={len(value) // 8}Q", value)
        name = PHASES[int.from_bytes(raw, "little")]
        found[name] = ProxyCount(*(sum(numbers[field::3]) for field in range(3)))
    return found


def cut_proxied(datapath: Datapath, ended_ns: int | None = None) -> Cut:
    """Envoy died: every connection with an end in it is refused from now on (PROXY_GONE), and its other end told at
    once. New connections are admitted as soon as there is a listener again.

    ``ended_ns``: when it was seen to have ended (monotonic clock; None: now). What was seen since then is left alone:
    it is the next Envoy's, or the node's stack has answered it with a reset.
    """
    ended_ns = time.monotonic_ns() if ended_ns is None else ended_ns
    flows, revision, cut = datapath.maps["flows"], datapath.revision, []
    doomed = []
    for raw, value in flows.items():
        flow = Flow.unpack(value)
        over = flow.state in (layouts.FLOW_CLOSING, layouts.FLOW_CUT) or flow.last_seen_ns > ended_ns
        if flow.proxy and not over:
            gone = flow._replace(state=layouts.FLOW_CUT, cut_why=int(Verdict.PROXY_GONE), revision=revision)
            doomed.append((raw, gone))
    for raw, gone in doomed:
        key = FlowKey.unpack(raw)
        if flows.replace(raw, gone.pack()) and key.protocol == TCP:
            cut.append(Kicked(key, gone.proxy))
    return Cut(len(cut), kick(datapath, cut))
