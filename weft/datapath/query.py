"""Questions to the loaded policy: what would the programs say of a new flow, now?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from weft.datapath import bpf
from weft.datapath.errors import DatapathError
from weft.datapath.kernel import QUERY, REVIEW, Datapath
from weft.datapath.layouts import FLOW_REVIEW_SIZE, POLICY_QUERY_SIZE, PolicyQuery

_ETHERNET = bytes(14)
_AT_ONCE = 48
"""Questions in one run: a test packet has at most about 3.5 KiB on the oldest kernel."""
_REVIEWED_AT_ONCE = 80 * FLOW_REVIEW_SIZE
"""Bytes of keys in one run, which keeps its CPU from other packets for 30-200 µs."""


class Question(NamedTuple):
    """A new flow. Addresses are 16 wide bytes; ``port`` is the destination's, or ICMP's type << 8 | code."""

    source: bytes
    destination: bytes
    protocol: int
    port: int


def ask(datapath: Datapath, questions: Sequence[Question]) -> list[PolicyQuery]:
    """One answer for each question, in order: ``reason`` is a verdict code, 0 = forwarded."""
    answers: list[PolicyQuery] = []
    for start in range(0, len(questions), _AT_ONCE):
        part = questions[start : start + _AT_ONCE]
        packed = b"".join(PolicyQuery(q.source, q.destination, q.port, q.protocol, *(0,) * 9).pack() for q in part)
        data = bpf.prog_test_run(datapath.programs[QUERY], _ETHERNET + packed).data[len(_ETHERNET) :]
        answers += [PolicyQuery.unpack(data, i * POLICY_QUERY_SIZE) for i in range(len(part))]
    return answers


def review(datapath: Datapath, keys: bytes) -> bytes:
    """Keys of flows, one after the other, as struct flow_review with their answers."""
    answers = []
    for start in range(0, len(keys), _REVIEWED_AT_ONCE):
        part = keys[start : start + _REVIEWED_AT_ONCE]
        run = bpf.prog_test_run(datapath.programs[REVIEW], _ETHERNET + part)
        if run.retval * FLOW_REVIEW_SIZE != len(part):
            raise DatapathError("review open flows", f"{run.retval} of {len(part) // FLOW_REVIEW_SIZE} were judged")
        answers.append(run.data[len(_ETHERNET) :])
    return b"".join(answers)
