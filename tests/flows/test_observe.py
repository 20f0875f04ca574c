"""What people read. The first flow and its lines are those of Hubble's own printer tests."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.flows.scene import API, DB, FRONTEND, event, store_of
from weft.flows.observe import OUTPUTS, TIME_FORMATS, Style, compact, render
from weft.flows.query import FlowsRequest
from weft.flows.view import EventFlag, EventType
from weft.model.verdicts import Verdict

FLOW: dict[str, Any] = {
    "time": "1970-01-01T00:20:34.567800Z",
    "verdict": "DROPPED",
    "IP": {"source": "1.1.1.1", "destination": "2.2.2.2"},
    "l4": {"TCP": {"source_port": 31793, "destination_port": 8080}},
    "source": {"identity": 4},
    "destination": {"identity": 12345},
    "Type": "L3_L4",
    "node_name": "k8s1",
    "event_type": {"type": 1, "sub_type": 133},
    "is_reply": False,
    "Summary": "TCP Flags: SYN",
    "extensions": {"value": {"reason_text": "Policy denied"}},
}
POLICIES = [
    {"name": "my-policy", "namespace": "my-policy-namespace", "kind": "CiliumNetworkPolicy"},
    {"name": "my-policy-2", "kind": "CiliumClusterwideNetworkPolicy"},
]


def printed(style: Style, **changes: Any) -> str:
    flow = {key: value for key, value in (FLOW | changes).items() if value is not None}
    return "".join(render([{"flow": flow}], style))


NODE = {"node_name": True}
DENIED: dict[str, Any] = {
    "event_type": {"type": 5},
    "is_reply": None,
    "traffic_direction": "EGRESS",
    "egress_denied_by": POLICIES[:1],
}
ALLOWED: dict[str, Any] = {
    "event_type": {"type": 5},
    "is_reply": None,
    "verdict": "FORWARDED",
    "traffic_direction": "INGRESS",
    "policy_match_type": 1,
    "ingress_allowed_by": POLICIES,
}
CASES: list[tuple[str, dict[str, Any], dict[str, Any], str]] = [
    (
        "table",
        {},
        {},
        "TIMESTAMP             SOURCE          DESTINATION    TYPE            VERDICT   SUMMARY\n"
        "Jan  1 00:20:34.567   1.1.1.1:31793   2.2.2.2:8080   Policy denied   DROPPED   TCP Flags: SYN\n",
    ),
    (
        "table",
        NODE,
        {},
        "TIMESTAMP             NODE   SOURCE          DESTINATION    TYPE            VERDICT   SUMMARY\n"
        "Jan  1 00:20:34.567   k8s1   1.1.1.1:31793   2.2.2.2:8080   Policy denied   DROPPED   TCP Flags: SYN\n",
    ),
    (
        "compact",
        {},
        {},
        "Jan  1 00:20:34.567: 1.1.1.1:31793 (health) -> 2.2.2.2:8080 (ID:12345) "
        "Policy denied DROPPED (TCP Flags: SYN)\n",
    ),
    (
        "compact",
        NODE,
        {"is_reply": True},
        "Jan  1 00:20:34.567 [k8s1]: 2.2.2.2:8080 (ID:12345) <- 1.1.1.1:31793 (health) "
        "Policy denied DROPPED (TCP Flags: SYN)\n",
    ),
    (
        "compact",
        NODE,
        {"is_reply": None},
        "Jan  1 00:20:34.567 [k8s1]: 1.1.1.1:31793 (health) <> 2.2.2.2:8080 (ID:12345) "
        "Policy denied DROPPED (TCP Flags: SYN)\n",
    ),
    (
        "compact",
        NODE,
        DENIED,
        "Jan  1 00:20:34.567 [k8s1]: 1.1.1.1:31793 (health) <> 2.2.2.2:8080 (ID:12345) "
        "policy-verdict:none EGRESS DENIED (TCP Flags: SYN)\n",
    ),
    (
        "compact",
        NODE | {"policy_names": True},
        DENIED,
        "Jan  1 00:20:34.567 [k8s1]: 1.1.1.1:31793 (health) <> 2.2.2.2:8080 (ID:12345) "
        "policy-verdict:none EGRESS DENIED BY my-policy (CiliumNetworkPolicy) (TCP Flags: SYN)\n",
    ),
    (
        "compact",
        NODE | {"policy_names": True},
        ALLOWED,
        "Jan  1 00:20:34.567 [k8s1]: 1.1.1.1:31793 (health) <> 2.2.2.2:8080 (ID:12345) "
        "policy-verdict:L3-Only INGRESS ALLOWED BY my-policy (CiliumNetworkPolicy), my-policy-2 "
        "(CiliumClusterwideNetworkPolicy) (TCP Flags: SYN)\n",
    ),
    (
        "dict",
        {},
        {},
        "  TIMESTAMP: Jan  1 00:20:34.567\n     SOURCE: 1.1.1.1:31793\nDESTINATION: 2.2.2.2:8080\n"
        "       TYPE: Policy denied\n    VERDICT: DROPPED\n    SUMMARY: TCP Flags: SYN\n",
    ),
    (
        "dict",
        NODE,
        {},
        "  TIMESTAMP: Jan  1 00:20:34.567\n       NODE: k8s1\n     SOURCE: 1.1.1.1:31793\nDESTINATION: 2.2.2.2:8080\n"
        "       TYPE: Policy denied\n    VERDICT: DROPPED\n    SUMMARY: TCP Flags: SYN\n",
    ),
    (
        "dict",
        {"policy_names": True},
        DENIED,
        "  TIMESTAMP: Jan  1 00:20:34.567\n     SOURCE: 1.1.1.1:31793\nDESTINATION: 2.2.2.2:8080\n"
        "       TYPE: policy-verdict:none EGRESS\n    VERDICT: DENIED BY my-policy (CiliumNetworkPolicy)\n"
        "    SUMMARY: TCP Flags: SYN\n",
    ),
]


@pytest.mark.parametrize(("output", "style", "changes", "expected"), CASES)
def test_hubble_s_printer(output: str, style: dict[str, Any], changes: dict[str, Any], expected: str) -> None:
    assert printed(Style(output, **style), **changes) == expected


def lines(*events: Any, **style: Any) -> list[str]:
    return [compact(found, Style(**style)) for found in store_of(*events).query(FlowsRequest())]


def test_names_ports_and_identities() -> None:
    found = lines(
        event(time_ns=5_067_000_000, reason=Verdict.POLICY_DENIED),
        event(destination=DB, port=5432, egress_rule=2, reason=Verdict.POLICY_DENY, flags=EventFlag(0), folded=41),
        event(destination="1.1.1.1", port=443, egress_rule=3, flags=EventFlag.EGRESS_ENFORCED),
        event(family=6, flags=EventFlag(0)),
        event(source=API, destination=FRONTEND, type_=EventType.TRACE, flags=EventFlag.REPLY, tcp_flags=0x11),
    )
    assert found == [
        "Nov 14 22:13:25.067: default/frontend-1:45678 (ID:70001) -> default/product-api-1:8080 (ID:70002) "
        "policy-verdict:none INGRESS DENIED (TCP Flags: SYN)\n",
        "Nov 14 22:13:20.000: default/frontend-1:45678 (ID:70001) -> data/postgres-0:5432 (ID:70003) "
        "policy-verdict:L3-L4 EGRESS DENIED (TCP Flags: SYN; Policy denied by denylist; 41 more like it)\n",
        "Nov 14 22:13:20.000: default/frontend-1:45678 (ID:70001) -> 1.1.1.1:443 (world) "
        "policy-verdict:L3-Only EGRESS ALLOWED (TCP Flags: SYN)\n",
        "Nov 14 22:13:20.000: default/frontend-1:45678 (ID:70001) -> default/product-api-1:8080 (ID:70002) "
        "policy-verdict:all EGRESS ALLOWED (TCP Flags: SYN)\n",
        "Nov 14 22:13:20.000: default/frontend-1:8080 (ID:70001) <- default/product-api-1:45678 (ID:70002) "
        "to-endpoint FORWARDED (TCP Flags: ACK, FIN)\n",
    ]


def test_a_cut_connection_says_so() -> None:
    (line,) = lines(event(reason=Verdict.POLICY_REVOKED, tcp_flags=0x10, flags=EventFlag.INGRESS | EventFlag.AGAIN))
    assert line.endswith("policy-verdict:none INGRESS DENIED (TCP Flags: ACK; Policy changed: open connection cut)\n")


def test_addresses_instead_of_names() -> None:
    (line,) = lines(event(family=6), ip_translation=False)
    assert "[fd00:244::11]:45678 (ID:70001) -> [fd00:244::12]:8080 (ID:70002)" in line


def test_frames_that_are_not_ip_show_their_macs() -> None:
    arp = event(type_=EventType.DROP, reason=Verdict.ARP_FILTERED, ethertype=0x0806, protocol=0)
    (line,) = lines(arp)
    assert line == (
        "Nov 14 22:13:20.000: 02:77:0a:f4:00:0b (ID:70001) <> 02:77:65:66:74:01 (ID:70002) "
        "ARP is not needed and not allowed DROPPED (Ethernet)\n"
    )


def test_lost_events() -> None:
    lost = {"lost_events": {"source": "HUBBLE_RING_BUFFER", "num_events_lost": "5"}, "time": "1970-01-01T00:00:00Z"}
    assert "".join(render([lost], Style())) == "EVENTS LOST: HUBBLE_RING_BUFFER CPU(0) 5\n"
    assert "".join(render([{"flow": FLOW}, lost], Style("dict"))).endswith(
        "------------\n  TIMESTAMP: \n     SOURCE: HUBBLE_RING_BUFFER\n       TYPE: EVENTS LOST\n"
        "    VERDICT: \n    SUMMARY: CPU(0) - 5\n"
    )


@pytest.mark.parametrize("output", ["json", "jsonpb"])
def test_json_is_the_response_on_one_line(output: str) -> None:
    (text,) = render([{"flow": FLOW}], Style(output))
    assert text.count("\n") == 1 and json.loads(text) == {"flow": FLOW}


def test_nothing_prints_nothing() -> None:
    assert ["".join(render([], Style(output))) for output in OUTPUTS] == [""] * len(OUTPUTS)


def test_colour_only_adds_escapes() -> None:
    import re

    for output in ("compact", "dict"):
        coloured = printed(Style(output, color=True))
        assert coloured != printed(Style(output))
        assert re.sub(r"\x1b\[\d+m", "", coloured) == printed(Style(output))
    assert printed(Style("table", color=True)) == printed(Style("table"))


def test_time_formats() -> None:
    found = {name: printed(Style(time_format=name)).split(": ")[0] for name in TIME_FORMATS}
    assert found == {
        "StampMilli": "Jan  1 00:20:34.567",
        "YearMonthDay": "1970-01-01",
        "YearMonthDayHour": "1970-01-01T00Z",
        "YearMonthDayHourMinute": "1970-01-01T00:20Z",
        "RFC3339": "1970-01-01T00:20:34Z",
        "RFC3339Milli": "1970-01-01T00:20:34.567Z",
        "RFC3339Micro": "1970-01-01T00:20:34.5678Z",
        "RFC3339Nano": "1970-01-01T00:20:34.5678Z",
        "RFC1123Z": "Thu, 01 Jan 1970 00:20:34 +0000",
    }
