"""Records as the generated layouts write them."""

from __future__ import annotations

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from tests.flows.scene import HEADER, STEADY
from weft.datapath import layouts
from weft.flows.decode import OFFSETS, decode
from weft.flows.ring import RECORD
from weft.flows.view import EventFlag, EventType
from weft.model.net import from_wide

byte, short, word = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32))
wide = st.binary(min_size=16, max_size=16) | st.binary(min_size=4, max_size=4).map(
    lambda v4: b"\0" * 10 + b"\xff\xff" + v4
)
mac = st.binary(min_size=6, max_size=6)
events = st.builds(
    layouts.FlowEvent,
    st.integers(0, 2**63),
    *(wide, wide, short, short),
    *(byte,) * 4,
    *(word,) * 9,
    *(short, short, word, mac, mac, st.integers(0, 2**64 - 1)),
)


@STEADY
@given(events)
def test_every_field_comes_back(event: layouts.FlowEvent) -> None:
    packet = decode(b"x" * RECORD + HEADER + event.pack(), RECORD)
    for name, value in event._asdict().items():
        expected = from_wide(value) if name in ("source", "destination") else value
        assert getattr(packet, name) == expected, name


def test_offsets_are_the_layouts() -> None:
    assert RECORD == 8 + layouts.FLOW_EVENT_SIZE
    assert tuple(OFFSETS) == layouts.FlowEvent._fields
    zero = layouts.FlowEvent(*(bytes(16) if name in ("source", "destination") else 0 for name in OFFSETS))
    zero = zero._replace(source_mac=bytes(6), destination_mac=bytes(6))
    for name, offset in OFFSETS.items():
        value = zero._asdict()[name]
        one = b"\xff" * len(value) if isinstance(value, bytes) else 0x0101010101010101 & (1 << 8 * _width(name)) - 1
        data = HEADER + zero._replace(**{name: one}).pack()
        changed = [index for index in range(8, RECORD) if data[index]]
        assert changed[0] == offset, name


def _width(name: str) -> int:
    following = sorted(OFFSETS.values())
    return min([*(offset for offset in following if offset > OFFSETS[name]), RECORD - 8]) - OFFSETS[name]


def test_enums_are_the_headers() -> None:
    assert {f"EVENT_{kind.name}": kind.value for kind in EventType} == {
        name: getattr(layouts, name) for name in ("EVENT_POLICY_VERDICT", "EVENT_DROP", "EVENT_TRACE")
    }
    flags = {
        name.removeprefix("EVENT_F_"): value for name, value in vars(layouts).items() if name.startswith("EVENT_F_")
    }
    assert {flag.name: flag.value for flag in EventFlag} == flags


def test_addresses_take_their_ordinary_spelling() -> None:
    assert from_wide(b"\0" * 10 + b"\xff\xff\x0a\0\0\1") == ipaddress.ip_address("10.0.0.1")
