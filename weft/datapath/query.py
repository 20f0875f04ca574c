"""Questions to the loaded policy: what would the programs say of a new flow, now?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from weft.datapath import bpf
from weft.datapath.kernel import QUERY, Datapath
from weft.datapath.layouts import POLICY_QUERY_SIZE, PolicyQuery

_ETHERNET = bytes(14)
_AT_ONCE = 48
"""Questions in one run: a test packet has at most about 3.5 KiB on the oldest kernel."""


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
