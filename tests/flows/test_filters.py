"""Filters against the naive reading of Hubble's rules, over random flows; prefilter and exact test together."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.flows import naive
from tests.flows.scene import API, DB, FRONTEND, NODE, STEADY, event, record, store_of
from weft.datapath.layouts import FlowEvent
from weft.flows.filters import compile_filter
from weft.flows.hubble import record_uuid
from weft.flows.prefilter import Prefilter
from weft.flows.query import FlowFilter, FlowsRequest
from weft.flows.ring import Span
from weft.flows.selector import parse_selector
from weft.flows.view import EventFlag, EventType
from weft.model.net import ICMP, ICMPV6, TCP, UDP
from weft.model.verdicts import Verdict

ENDS = [FRONTEND, API, DB, "1.1.1.1", "8.8.8.8", "10.244.0.200", "10.96.0.10"]
REASONS = [Verdict.FORWARDED, Verdict.POLICY_DENIED, Verdict.POLICY_DENY, Verdict.POLICY_REVOKED, Verdict.ARP_FILTERED]
flags = st.integers(0, 31).map(EventFlag)


@st.composite
def flow_events(draw: st.DrawFn) -> FlowEvent:
    family = draw(st.sampled_from([4, 4, 6]))
    ends = [FRONTEND, API] if family == 6 else ENDS
    made = event(
        draw(st.sampled_from(ends)),
        draw(st.sampled_from(ends)),
        port=draw(st.sampled_from([80, 53, 8080, 0x1F, 0x901F])),
        source_port=draw(st.sampled_from([80, 45678])),
        protocol=draw(st.sampled_from([TCP, UDP, 132, ICMP, ICMPV6, 47])),
        tcp_flags=draw(st.sampled_from([2, 0x12, 0x10, 4, 0x11, 0])),
        type_=draw(st.sampled_from(EventType)),
        reason=draw(st.sampled_from(REASONS)),
        flags=draw(flags),
        family=family,
        ethertype=draw(st.sampled_from([0x0800, 0x0800, 0x0800, 0x0806, 0x8100])),
        egress_rule=draw(st.sampled_from([0, 3])),
        ifindex=draw(st.sampled_from([None, None, None, DB.ifindex, 0])),
    )
    if draw(st.integers(0, 9)) == 0:  # a call that a socket hook refused
        return event(
            "0.0.0.0", "10.96.0.10", port=80, type_=EventType.DROP, reason=Verdict.NO_BACKEND, cgroup=DB.cgroup
        )
    return made._replace(source=bytes(16), destination=bytes(16)) if draw(st.integers(0, 9)) == 0 else made


IPS = [
    "10.244.0.11",
    "10.244.0.0/24",
    "10.244.0.12/31",
    "0.0.0.0/0",
    "::/0",
    "fd00:244::/64",
    "fd00:244::11",
    "1.0.0.0/7",
]
PODS = ["frontend", "product", "data/", "data/postgres", "/", "/p", "nothing", "default/frontend-1"]
LABELS = [
    "app=frontend",
    "k8s:app",
    "!app",
    "app!=postgres",
    "reserved:world",
    "any:io.kubernetes.pod.namespace=data",
    "app=web,x",
]
WORKLOADS = [{"name": "frontend"}, {"kind": "StatefulSet"}, {"name": "postgres", "kind": "Deployment"}]
EVENT_TYPES: list[dict[str, Any]] = [
    {"type": 5},
    {"type": 1, "match_sub_type": True, "sub_type": 133},
    {},
    {"type": 129},
]
EVENT_TYPES += [{"type": 4, "match_sub_type": True, "sub_type": 3}, {"match_sub_type": True}]


def some(values: list[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=2)


END_VALUES: dict[str, list[Any]] = {
    "ip": IPS,
    "pod": PODS,
    "label": LABELS,
    "service": ["product", "shop/", "/"],
    "workload": WORKLOADS,
    "identity": [2, FRONTEND.identity, DB.identity, 0],
    "port": ["80", "53", "8080", "31", "45678"],
}
FLOW_VALUES: dict[str, list[Any]] = {
    "verdict": ["FORWARDED", "DROPPED", "AUDIT"],
    "drop_reason_desc": ["POLICY_DENIED", "POLICY_DENY", "POLICY_REVOKED", "UNSUPPORTED_L2_PROTOCOL"],
    "event_type": EVENT_TYPES,
    "protocol": ["tcp", "UDP", "icmp", "icmpv6", "sctp", "http"],
    "tcp_flags": [{"SYN": True}, {"SYN": True, "ACK": True}, {"FIN": True}],
    "ip_version": ["IPv4", "IPv6", "IP_NOT_USED"],
    "traffic_direction": ["INGRESS", "EGRESS"],
    "reply": [True, False],
    "uuid": [record_uuid(NODE.run, 0), record_uuid(NODE.run, 1), "nonsense"],
}
VALUES = FLOW_VALUES | {
    f"{side}_{name}": values for side in ("source", "destination") for name, values in END_VALUES.items()
}
flow_filters = st.lists(st.sampled_from(sorted(VALUES)), max_size=3, unique=True).flatmap(
    lambda names: st.fixed_dictionaries({name: some(VALUES[name]) for name in names})
)
requests = st.fixed_dictionaries(
    {"whitelist": st.lists(flow_filters, max_size=2), "blacklist": st.lists(flow_filters.filter(bool), max_size=2)}
)


@settings(STEADY, max_examples=400)
@given(st.lists(flow_events(), min_size=1, max_size=12), requests)
def test_filters_choose_what_hubble_s_rules_choose(events: list[FlowEvent], request: dict[str, Any]) -> None:
    store = store_of(*events)
    every = [found["flow"] for found in store.query(FlowsRequest())]
    assert len(every) == len(events)
    found = [found["flow"] for found in store.query(FlowsRequest.from_json(request))]
    assert found == [flow for flow in every if naive.chosen(flow, request)]


@settings(STEADY, max_examples=30)
@given(st.lists(flow_events(), min_size=1, max_size=30))
def test_every_value_of_every_field_alone(events: list[FlowEvent]) -> None:
    store = store_of(*events)
    every = [found["flow"] for found in store.query(FlowsRequest())]
    for name, values in VALUES.items():
        for value in values:
            request = FlowsRequest.from_json({"whitelist": [{name: [value]}]})
            found = [found["flow"] for found in store.query(request)]
            assert found == [flow for flow in every if naive.one(flow, name, value)], (name, value)


def test_the_prefilter_leaves_little() -> None:
    """It reads bytes alone, and for these filters that decides everything."""
    events = [event(FRONTEND, API), event(DB, API), event(FRONTEND, "8.8.8.8", port=53, protocol=UDP)]
    store = store_of(*events)
    span = Span(0, 3, 0)
    for fields, expected in (
        ({"source_pod": ("data/",)}, b"\0\1\0"),
        ({"destination_label": ("reserved:world",)}, b"\0\0\1"),
        ({"destination_ip": ("8.0.0.0/7",)}, b"\0\0\1"),
        ({"destination_port": ("53",)}, b"\0\0\1"),
        ({"source_identity": (FRONTEND.identity,), "destination_pod": ("product",)}, b"\1\0\0"),
        ({"source_pod": ("nobody",)}, b"\0\0\0"),
        ({"verdict": ("AUDIT",)}, b"\0\0\0"),
        ({"source_label": ("!nothing",)}, b"\1\1\1"),
    ):
        made = FlowFilter(**fields)  # type: ignore[arg-type]
        assert Prefilter([made], store.names).candidates(store.ring.data, span) == expected, fields


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("source_ip", "1.2.3", "source_ip: '1.2.3' is neither"),
        ("destination_port", "http", "destination_port: 'http' is no port"),
        ("source_pod", "", "source_pod: empty name"),
        ("source_label", "a b", "source_label: label selector 'a b'"),
        ("protocol", "tpc", "protocol: unknown protocol 'tpc'"),
        ("drop_reason_desc", "NOPE", "drop_reason_desc: 'NOPE' is no drop reason"),
        ("tcp_flags", {"XYZ": True}, "tcp_flags: unknown TCP flag 'XYZ'"),
    ],
)
def test_wrong_values_are_refused(name: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compile_filter(FlowFilter(**{name: (value,)}), NODE)
    with pytest.raises(ValueError, match=message):
        next(store_of(event()).query(FlowsRequest(whitelist=(FlowFilter(**{name: (value,)}),))))


@pytest.mark.parametrize(
    ("text", "labels", "expected"),
    [
        ("a in (x, y)", {"k8s:a": "y"}, True),
        ("a in (x,y),b", {"k8s:a": "y"}, False),
        ("a notin (x)", {}, True),
        ("a notin (x)", {"k8s:a": "x"}, False),
        ("a==x , !b", {"k8s:a": "x"}, True),
        ("k8s:a=x", {"reserved:a": "x"}, False),
        ("any:a=x", {"k8s:a": "x"}, True),
        ("io.x/y-z=1.2_3", {"k8s:io.x/y-z": "1.2_3"}, True),
        ("a=", {"k8s:a": ""}, True),
    ],
)
def test_selectors(text: str, labels: dict[str, str], expected: bool) -> None:
    from weft.flows.selector import selector_matches
    from weft.model.labels import LabelSet

    assert selector_matches(parse_selector(text), LabelSet(labels)) is expected


@pytest.mark.parametrize("text", ["", "a=b=c", "a,,b", "in (x)", "a in x", "a in (x", "=b", "a b", "!", "a!b"])
def test_selectors_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="label selector"):
        parse_selector(text)


def test_requests_are_json_all_the_way() -> None:
    made = FlowsRequest(whitelist=(FlowFilter(source_pod=("x",)),), number=3)
    assert json.loads(json.dumps(made.to_json())) == {"number": 3, "whitelist": [{"source_pod": ["x"]}]}
    assert record(event())[:8] == b"\x78\0\0\0\0\0\0\0"
