"""The generated layouts: up to date, and in the kernel's byte order."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

from weft.datapath import layouts
from weft.datapath.codec import CODECS
from weft.model.desired import PolicyKey
from weft.model.net import ClassId, Prefix, TableId, to_wide

ROOT = Path(__file__).resolve().parents[2]


def test_layouts_are_those_of_the_header() -> None:
    subprocess.run([sys.executable, ROOT / "tools/gen_layouts.py", "--check"], check=True)


def test_numbers_in_trie_keys_are_big_endian() -> None:
    raw = CODECS["policy"].key(PolicyKey(TableId(0x01020304), ClassId(0x05060708), 6, 0x1F90, 88))
    assert raw == bytes.fromhex("58000000 01020304 05060708 06 1f90 00")
    assert layouts.PolicyKey.unpack(raw) == (88, 0x01020304, 0x05060708, 6, 0x1F90)


def test_a_prefix_covers_the_padding_in_front_of_the_address() -> None:
    raw = CODECS["ipcache"].key(Prefix(to_wide(ip_address("10.0.0.0")), 96 + 8))
    assert raw == bytes.fromhex("88000000 00000000 00000000000000000000ffff 0a000000")


def test_records_keep_their_values() -> None:
    flow = layouts.Flow(1, 2, 3, 4, 5, 6, 7, 8, 9, b"abcdef", b"ghijkl", 1, 3, 2, 2, 10001, 2, 3, 1, 230, 3)
    assert layouts.Flow.unpack(flow.pack()) == flow
    assert len(flow.pack()) == layouts.FLOW_SIZE
    query = layouts.PolicyQuery(bytes(16), bytes(15) + b"\1", 8080, 6, 133, 2, 1, 2, 3, 4, 5, 6, 7)
    assert layouts.PolicyQuery.unpack(b"x" * 5 + query.pack(), 5) == query
    assert query.pack()[32:34] == b"\x1f\x90"
