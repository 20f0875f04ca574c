"""Budgets: what the verifier works through, what a packet costs, how large the shared structs are."""

from __future__ import annotations

import struct

import pytest

from tests.bpf.machine import Machine
from weft.datapath import bpf, layouts
from weft.model.verdicts import Verdict

V = Verdict
VERIFIED_INSNS = 216
"""Offset of ``verified_insns`` in struct bpf_prog_info."""
BUDGETS = {"from_pod": 200_000, "to_pod": 200_000, "from_tunnel": 100_000, "from_proxy": 100_000, "proxy_find": 10_000,
           "query": 400_000, "review": 400_000, "start_expiry": 1_000,
           "service_connect4": 5_000, "service_sendmsg6": 50_000, "service_recvmsg6": 50_000}  # fmt: skip
"""The kernel gives up at 1,000,000; older verifiers need more for the same program."""
SIZES = {"ENDPOINT": 40, "IPCACHE_KEY": 24, "IPCACHE_ENTRY": 16, "POLICY_KEY": 16, "POLICY_ENTRY": 8, "FLOW_KEY": 40,
         "FLOW": 64, "FLOW_COUNT": 8, "SERVICE_KEY": 24, "SERVICE": 24, "BACKEND": 24, "FLOW_EVENT": 120, "CONFIG": 32,
         "POLICY_QUERY": 64, "FLOW_REVIEW": 40}  # fmt: skip


@pytest.mark.parametrize("program", BUDGETS)
def test_the_verifier_has_little_to_do(scene: Machine, program: str) -> None:
    (insns,) = struct.unpack_from("=I", bpf.object_info(scene.programs[program]), VERIFIED_INSNS)
    assert 0 < insns < BUDGETS[program]


@pytest.mark.parametrize("name", SIZES)
def test_shared_structs_keep_their_size(name: str) -> None:
    """Pinned maps of an earlier agent have this shape; another one needs a new WEFT_LAYOUT_VERSION."""
    assert getattr(layouts, f"{name}_SIZE") == SIZES[name]
