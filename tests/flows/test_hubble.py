"""Hubble's flow.Flow in protobuf JSON, whole."""

from __future__ import annotations

from typing import Any

import pytest

from tests.flows.scene import API, DB, FRONTEND, NODE, event, store_of
from weft.flows.hubble import lost_response, record_uuid, timestamp, uuid_number
from weft.flows.query import FlowsRequest
from weft.flows.view import EventFlag, EventType
from weft.model.net import ICMP, ICMPV6, UDP
from weft.model.verdicts import Verdict


def only(made: Any) -> dict[str, Any]:
    """The one flow of a store."""
    (found,) = store_of(made).query(FlowsRequest())
    assert found["time"] == found["flow"]["time"] and found["node_name"] == found["flow"]["node_name"] == "node-1"
    assert set(found) == {"flow", "time", "node_name"}
    flow: dict[str, Any] = found["flow"]
    return flow


def test_an_allowed_connection() -> None:
    enforced = EventFlag.INGRESS_ENFORCED
    flow = only(event(ingress_rule=1, flags=enforced, time_ns=5_067_000_000))
    assert flow == {
        "time": "2023-11-14T22:13:25.067Z",
        "uuid": "01234567-89ab-4def-8000-000000000000",
        "verdict": "FORWARDED",
        "ethernet": {"source": "02:77:0a:f4:00:0b", "destination": "02:77:65:66:74:01"},
        "IP": {"source": "10.244.0.11", "destination": "10.244.0.12", "ipVersion": "IPv4"},
        "l4": {"TCP": {"source_port": 45678, "destination_port": 8080, "flags": {"SYN": True}}},
        "source": {
            "ID": 11,
            "identity": 70001,
            "cluster_name": "default",
            "namespace": "default",
            "labels": ["k8s:app=frontend", "k8s:io.kubernetes.pod.namespace=default"],
            "pod_name": "frontend-1",
            "workloads": [{"name": "frontend", "kind": "Deployment"}],
        },
        "destination": {
            "ID": 12,
            "identity": 70002,
            "cluster_name": "default",
            "namespace": "default",
            "labels": ["k8s:app=product-api", "k8s:io.kubernetes.pod.namespace=default"],
            "pod_name": "product-api-1",
            "workloads": [{"name": "product-api", "kind": "Deployment"}],
        },
        "Type": "L3_L4",
        "node_name": "node-1",
        "event_type": {"type": 5},
        "traffic_direction": "INGRESS",
        "policy_match_type": 2,
        "is_reply": False,
        "interface": {"index": 111},
        "Summary": "TCP Flags: SYN",
        "extensions": {
            "@type": "type.googleapis.com/google.protobuf.Struct",
            "value": {
                "ingress_rule": {
                    "policy": "CiliumNetworkPolicy/default/api",
                    "rule": "spec.ingress[0]",
                    "file": "shop/policies.yaml",
                    "line": 17,
                },
                "length": 74,
                "revision": 7,
            },
        },
        "ingress_allowed_by": [
            {
                "name": "api",
                "namespace": "default",
                "labels": [
                    "k8s:io.cilium.k8s.policy.derived-from=CiliumNetworkPolicy",
                    "k8s:io.cilium.k8s.policy.name=api",
                    "k8s:io.cilium.k8s.policy.namespace=default",
                ],
                "revision": "7",
                "kind": "CiliumNetworkPolicy",
            }
        ],
    }


def test_a_refusal_by_default_says_that_no_rule_allows_it() -> None:
    flow = only(event(reason=Verdict.POLICY_DENIED))
    assert (flow["verdict"], flow["event_type"]) == ("DROPPED", {"type": 5})
    assert (flow["drop_reason"], flow["drop_reason_desc"]) == (133, "POLICY_DENIED")
    assert "policy_match_type" not in flow and not [key for key in flow if key.endswith("_by")]
    own = flow["extensions"]["value"]
    assert own["reason"] == "POLICY_DENIED"
    assert own["why"] == "no ingress rule of the policies that select default/product-api-1 allows it"


def test_a_refusal_by_a_deny_rule_names_policy_and_line() -> None:
    flow = only(event(destination=DB, reason=Verdict.POLICY_DENY, egress_rule=2, flags=EventFlag(0)))
    assert (flow["drop_reason"], flow["drop_reason_desc"]) == (181, "POLICY_DENY")
    assert [policy["name"] for policy in flow["egress_denied_by"]] == ["no-db"]
    assert flow["traffic_direction"] == "EGRESS"
    assert flow["extensions"]["value"]["why"] == (
        "denied by CiliumNetworkPolicy/default/no-db, spec.egressDeny[0] (shop/policies.yaml:42)"
    )


def test_allowed_at_both_ends() -> None:
    flow = only(event(egress_rule=3, ingress_rule=1))
    assert [policy["kind"] for policy in flow["egress_allowed_by"]] == ["NetworkPolicy"]
    assert [policy["kind"] for policy in flow["ingress_allowed_by"]] == ["CiliumNetworkPolicy"]


def test_directions() -> None:
    both = EventFlag.EGRESS_ENFORCED | EventFlag.INGRESS_ENFORCED
    for made, expected in (
        (event(flags=EventFlag(0)), "EGRESS"),
        (event(flags=EventFlag.EGRESS_ENFORCED), "EGRESS"),
        (event(flags=both), "INGRESS"),
        (event(flags=both, reason=Verdict.POLICY_DENIED), "EGRESS"),
        (event(flags=both | EventFlag.INGRESS, reason=Verdict.POLICY_DENIED), "INGRESS"),
        (event("1.1.1.1", API, flags=EventFlag(0)), "INGRESS"),
        (event(API, "1.1.1.1", flags=EventFlag.REPLY, type_=EventType.TRACE), "INGRESS"),
        (event("1.1.1.1", API, flags=EventFlag.REPLY, type_=EventType.TRACE), "EGRESS"),
        (event(API, FRONTEND, flags=EventFlag.REPLY, type_=EventType.TRACE), "EGRESS"),
        (event(DB, API, flags=EventFlag(0), type_=EventType.DROP, reason=Verdict.FORGED_HOST_SOURCE), "INGRESS"),
        (event("0.0.0.0", "10.96.0.10", reason=Verdict.NO_BACKEND, type_=EventType.DROP, flags=EventFlag(0)), "EGRESS"),
    ):
        assert only(made)["traffic_direction"] == expected, made


def test_the_world_has_no_pod() -> None:
    flow = only(event(destination="1.1.1.1", port=443, flags=EventFlag(0), egress_rule=3))
    assert flow["destination"] == {"identity": 2, "labels": ["reserved:world"]}
    assert flow["policy_match_type"] == 1


def test_a_drop_of_weft_s_own_keeps_to_hubble_s_enum() -> None:
    made = event(type_=EventType.DROP, reason=Verdict.ARP_FILTERED, flags=EventFlag(0), ethertype=0x0806, protocol=0)
    flow = only(made._replace(source=bytes(16), destination=bytes(16)))
    assert (flow["drop_reason"], flow["drop_reason_desc"]) == (166, "UNSUPPORTED_L2_PROTOCOL")
    assert flow["event_type"] == {"type": 1, "sub_type": 166}
    assert "IP" not in flow and "l4" not in flow and "is_reply" not in flow
    assert flow["source"]["pod_name"] == "frontend-1"  # known by the device it came from
    assert flow["Summary"] == "Ethernet"
    own = flow["extensions"]["value"]
    assert (own["reason"], own["ethertype"]) == ("ARP_FILTERED", "0x0806")


def test_a_forged_source_shows_the_address_and_who_sent_it() -> None:
    for claimed in ("10.244.0.99", DB):
        forged = event(claimed, reason=Verdict.INVALID_SOURCE_IP, type_=EventType.DROP, ifindex=FRONTEND.ifindex)
        flow = only(forged)
        assert flow["IP"]["source"] == ("10.244.0.99" if claimed != DB else "10.244.0.13")
        sender = flow["source"]
        assert (sender["pod_name"], sender["ID"], sender["identity"]) == ("frontend-1", FRONTEND.id, FRONTEND.identity)
        assert sender["labels"][0] == "k8s:app=frontend"


def test_a_refused_call_shows_the_pod_by_its_cgroup() -> None:
    call = event("0.0.0.0", "10.96.0.10", port=80, type_=EventType.DROP, reason=Verdict.NO_BACKEND, cgroup=DB.cgroup)
    flow = only(
        call._replace(source_mac=bytes(6), destination_mac=bytes(6), ifindex=0, source_port=0, source_identity=0)
    )
    assert (flow["source"]["pod_name"], flow["source"]["identity"]) == ("postgres-0", DB.identity)
    assert flow["destination_service"]["name"] == "product-api"
    assert flow["l4"] == {"TCP": {"destination_port": 80, "flags": {"SYN": True}}}
    assert "ethernet" not in flow and "interface" not in flow


def test_a_flow_s_end_is_a_trace() -> None:
    reply = EventFlag.REPLY | EventFlag.INGRESS
    flow = only(event(source=API, destination=FRONTEND, type_=EventType.TRACE, tcp_flags=0x11, flags=reply))
    assert flow["event_type"] == {"type": 4}
    assert flow["trace_observation_point"] == "TO_ENDPOINT"
    assert flow["is_reply"] is True and flow["reply"] is True
    assert flow["Summary"] == "TCP Flags: ACK, FIN"
    away = only(event(destination="1.1.1.1", type_=EventType.TRACE))
    assert away["event_type"] == {"type": 4, "sub_type": 3}
    assert away["trace_observation_point"] == "TO_STACK"


@pytest.mark.parametrize(
    ("protocol", "port", "family", "layer4", "summary"),
    [
        (UDP, 53, 4, {"UDP": {"source_port": 45678, "destination_port": 53}}, "UDP"),
        (132, 5060, 6, {"SCTP": {"source_port": 45678, "destination_port": 5060}}, "SCTP"),
        (ICMP, 8 << 8, 4, {"ICMPv4": {"type": 8}}, "ICMPv4 EchoRequest"),
        (ICMP, 3 << 8 | 3, 4, {"ICMPv4": {"type": 3, "code": 3}}, "ICMPv4 DestinationUnreachable(Port)"),
        (ICMP, 200 << 8 | 7, 4, {"ICMPv4": {"type": 200, "code": 7}}, "ICMPv4 200(7)"),
        (ICMPV6, 128 << 8 | 1, 6, {"ICMPv6": {"type": 128, "code": 1}}, "ICMPv6 EchoRequest(Code: 1)"),
        (ICMPV6, 134 << 8, 6, {"ICMPv6": {"type": 134}}, "ICMPv6 RouterAdvertisement"),
    ],
)
def test_layer_4(protocol: int, port: int, family: int, layer4: dict[str, Any], summary: str) -> None:
    flow = only(event(protocol=protocol, port=port, family=family))
    assert (flow["l4"], flow["Summary"], flow["IP"]["ipVersion"]) == (layer4, summary, f"IPv{family}")


def test_an_odd_ip_protocol() -> None:
    flow = only(event(protocol=47, port=0))
    assert "l4" not in flow and flow["Summary"] == "IPv4" and flow["extensions"]["value"]["protocol"] == 47


def test_a_service_address_has_its_name() -> None:
    made = event(destination="10.96.0.10", port=80, reason=Verdict.IS_A_CLUSTERIP, type_=EventType.DROP)
    assert only(made)["destination_service"] == {"name": "product-api", "namespace": "default"}


def test_a_cut_connection_says_so() -> None:
    flow = only(event(reason=Verdict.POLICY_REVOKED, type_=EventType.DROP, tcp_flags=0x10))
    own = flow["extensions"]["value"]
    assert (flow["drop_reason_desc"], own["reason"]) == ("POLICY_DENIED", "POLICY_REVOKED")
    assert flow["is_reply"] is False
    assert "no ingress rule" in own["why"]


def test_every_verdict_has_its_place_in_hubble_s_enum() -> None:
    for reason in Verdict:
        flow = only(event(reason=reason, type_=EventType.DROP))
        assert flow.get("drop_reason_desc", "DROP_REASON_UNKNOWN") == reason.hubble_name


def test_timestamps_have_as_many_digits_as_they_need() -> None:
    written = [timestamp(1_234 * 10**9 + nanos) for nanos in (0, 567_000_000, 567_800_000, 1)]
    assert written == [f"1970-01-01T00:20:34{rest}Z" for rest in ("", ".567", ".567800", ".000000001")]


def test_uuids_lead_back_to_their_record() -> None:
    for number in (0, 1, 65_536, 2**62 - 1):
        uuid = record_uuid(NODE.run, number)
        assert uuid_number(NODE.run, uuid) == number
        assert uuid_number(NODE.run + 1, uuid) is None
    assert uuid_number(NODE.run, "not a uuid") is None
    store = store_of(event(port=1), event(port=2))
    uuids = [found["flow"]["uuid"] for found in store.query(FlowsRequest())]
    found = store.find(uuids[1])
    assert found is not None and found.packet.destination_port == 2
    assert store.find(record_uuid(NODE.run, 2)) is None


def test_lost_events() -> None:
    assert lost_response("HUBBLE_RING_BUFFER", 3, NODE, 0) == {
        "lost_events": {"source": "HUBBLE_RING_BUFFER", "num_events_lost": "3"},
        "node_name": "node-1",
        "time": "1970-01-01T00:00:00Z",
    }
