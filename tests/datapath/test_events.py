"""Records out of the kernel's ring, in bulk."""

from __future__ import annotations

import select
from ipaddress import ip_address

from tests.datapath.conftest import Node, table
from weft.datapath import stats
from weft.datapath.events import RECORD, EventReader
from weft.datapath.layouts import FlowEvent
from weft.model.desired import Write
from weft.model.net import to_wide
from weft.model.verdicts import Verdict


def records(data: bytes) -> list[FlowEvent]:
    assert len(data) % RECORD == 0
    return [FlowEvent.unpack(data, start + 8) for start in range(0, len(data), RECORD)]


def test_new_flows_and_refusals_are_read_with_their_verdict(running: Node) -> None:
    reader = EventReader(running.datapath.maps["events"])
    running.apply(Write("policy", table(5, allowed=11)))
    running.pod(11)
    running.pod(12)
    running.pod(13, ingress=5)
    reader.read()
    assert not select.select([reader], [], [], 0)[0]
    with running.listen(13):
        assert running.reaches(11, 13)
        assert select.select([reader], [], [], 1)[0]
        assert running.refused(12, 13)
    seen = [event for event in records(reader.read()) if event.destination_port == 8080]
    wide = {number: to_wide(ip_address(f"10.55.0.{number}")) for number in (11, 12)}
    assert {(event.source, event.reason) for event in seen} == {
        (wide[11], Verdict.FORWARDED),
        (wide[12], Verdict.POLICY_DENIED),
    }
    assert all(event.ingress_rule == (event.reason == Verdict.FORWARDED) for event in seen)
    assert reader.read() == b""
    totals = stats.counters(running.datapath)
    assert any(code == Verdict.POLICY_DENIED and counter.packets for (_, code), counter in totals.items())
    assert stats.events_lost(running.datapath) == 0
    reader.close()


def test_the_ring_goes_round_and_round(running: Node) -> None:
    """Twice its size passes through, whatever stretch is read at a time; nothing is lost or read twice."""
    reader = EventReader(running.datapath.maps["events"])
    running.pod(11)
    running.pod(12)
    reader.read()
    size = 0
    with running.listen(12) as server:
        while size < 2 * reader.size:
            expected = []
            for _ in range(20):
                with running.connect(11, 12) as client, server.accept()[0]:
                    expected.append(client.getsockname()[1])
            data = reader.read()
            begun = [e.source_port for e in records(data) if e.destination_port == 8080 and e.type == 1]
            assert begun == expected
            size += len(data)
    reader.close()
