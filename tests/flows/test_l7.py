"""Layer-7 flows as Hubble spells them: golden cases in tests/golden/flows, and what they rest on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.flows.l7scene import (
    CLUSTER_IP,
    INGRESS_LISTENER,
    ROUTE,
    SERVER,
    TRACE_ID,
    TRACEPARENT,
    refused,
    request,
    routed,
    store_with,
)
from tests.flows.scene import API, FRONTEND, OFFSET_NS, WORLD, address, event, record
from weft.flows.observe import Style, compact, render
from weft.flows.query import FlowsRequest
from weft.flows.view import EventFlag, EventType
from weft.model.http import HttpRuleSet
from weft.model.l7 import L7Record, L7Verdict, Phase, PolicyRuleRef, RouteRuleRef

FOLDER = Path(__file__).parent.parent / "golden/flows"
NO_REQUEST: dict[str, Any] = {"method": "", "scheme": "", "host": "", "path": "", "status": 0, "rule": None}
CASES: dict[str, L7Record] = {
    "allowed": request(trace_id=TRACE_ID, traceparent=TRACEPARENT, request_headers=(("x-user", "anna"),)),
    "refused": refused(),
    "egress": request(phase=Phase.EGRESS, rule=PolicyRuleRef(3, 0), listener=12_345),
    "egress-refused": refused(phase=Phase.EGRESS, listener=12_345),
    "routed": routed(status=404),
    "routed-not-found": routed(
        status=404, upstream=None, upstream_port=0, rule=None, verdict=L7Verdict.ERROR, details="no route fits"
    ),
    "redirected": routed(
        status=302, upstream=None, upstream_port=0, rule=RouteRuleRef(ROUTE, 1), verdict=L7Verdict.REDIRECTED
    ),
    "no-answer": request(status=0, latency_ns=0, verdict=L7Verdict.ERROR, details="server refused the connection"),
    "tls": request(
        **NO_REQUEST, protocol="TCP", verdict=L7Verdict.DROPPED, details="TLS where HTTP is expected", upstream=None
    ),
    "not-http": request(
        **NO_REQUEST | {"status": 400}, verdict=L7Verdict.DROPPED, details="not valid HTTP", upstream=None
    ),
    "grpc": routed(protocol="HTTP/2", method="POST", path="/shop.Cart/Add", grpc_status=5, mismatches=("x-a", "x-b")),
    "ipv6": request(client=address("fd00:244::11"), server=address("fd00:244::12"), path="/public?x=1"),
}


def flow_of(made: L7Record) -> dict[str, Any]:
    (found,) = store_with(made).query(FlowsRequest())
    assert found["time"] == found["flow"]["time"] and found["node_name"] == "node-1"
    flow: dict[str, Any] = found["flow"]
    return flow


@pytest.mark.parametrize("case", CASES)
def test_json(case: str, golden: Callable[[Path, str], None]) -> None:
    golden(FOLDER / f"{case}.json", json.dumps(flow_of(CASES[case]), indent=1) + "\n")


def test_lines(golden: Callable[[Path, str], None]) -> None:
    store = store_with(*(made._replace(time_ns=OFFSET_NS + at * 10**9) for at, made in enumerate(CASES.values())))
    golden(FOLDER / "compact.txt", "".join(render(store.query(FlowsRequest()), Style(policy_names=True))))


def test_the_words_are_hubble_s() -> None:
    """The forms of hubble's printer and of its parser's summaries."""
    lines = {case: compact({"flow": flow_of(made)}, Style()) for case, made in CASES.items()}
    begin = "Nov 14 22:13:25.012: default/frontend-1:45678 (ID:70001) -> default/product-api-1:8080 (ID:70002) "
    assert lines["allowed"].startswith(
        f"{begin}http-response FORWARDED (HTTP/1.1 200 12ms (GET http://product-api/public)"
    )
    assert "http-response DROPPED (HTTP/1.1 403 0ms (POST http://product-api/public)" in lines["refused"]
    assert "http-request ERROR (HTTP/1.1 GET http://product-api/public; " in lines["no-answer"]
    assert lines["tls"].endswith("l7-request DROPPED (TCP; TLS where HTTP is expected)\n")
    assert "-> default/product-api:80 (ID:0)" not in lines["routed-not-found"]
    assert "-> default/product-api:80 (unknown) http-response ERROR (HTTP/1.1 404 12ms " in lines["routed-not-found"]


def test_a_routed_request_names_client_service_route_rule_and_backend() -> None:
    flow = flow_of(routed())
    assert flow["source"]["pod_name"] == "frontend-1"
    assert flow["destination_service"] == {"name": "product-api", "namespace": "default"}
    assert flow["destination"]["pod_name"] == "product-api-1"
    assert (flow["IP"]["destination"], flow["l4"]["TCP"]["destination_port"]) == (str(SERVER), 8080)
    assert flow["Summary"].endswith(
        "; Service default/product-api:80; HTTPRoute/default/product-api spec.rules[0] (canary)"
    )
    own = flow["extensions"]["value"]
    assert (own["dialled"], own["upstream"]) == (f"{CLUSTER_IP}:80", f"{SERVER}:8080")
    assert (own["decided_by"]["file"], own["decided_by"]["line"]) == ("shop/route.yaml", 11)


def test_policies_are_named_as_those_of_layer_4() -> None:
    ingress, egress = flow_of(CASES["allowed"]), flow_of(CASES["egress"])
    assert [policy["name"] for policy in ingress["ingress_allowed_by"]] == ["api"]
    assert [policy["name"] for policy in egress["egress_allowed_by"]] == ["out"]
    assert not [key for key in (*flow_of(refused()), *flow_of(routed())) if key.endswith("_by")]
    assert egress["traffic_direction"] == "EGRESS" and ingress["traffic_direction"] == "INGRESS"


def test_a_refusal_names_the_rules_that_were_asked() -> None:
    own = flow_of(refused())["extensions"]["value"]
    assert own["why"] == (
        "no http rule allows it: CiliumNetworkPolicy/default/api, spec.ingress[0] (shop/policies.yaml:17)"
    )
    assert flow_of(CASES["egress-refused"])["extensions"]["value"]["why"] == "no rule allows it"


def test_a_listener_s_number_that_means_other_rules_by_now_names_none_of_them() -> None:
    store = store_with(request(rule=PolicyRuleRef(1, 5)), request(rule=PolicyRuleRef(3, 0)))
    found = [each["flow"]["extensions"]["value"]["decided_by"]["rule"] for each in store.query(FlowsRequest())]
    assert found == ["spec.ingress[0]", "spec.egress[0]"]  # the rules' own places, by their numbers
    book: Any = store.names
    book.set_listeners({INGRESS_LISTENER: HttpRuleSet(False, ())})
    assert "http[0]" not in str(list(store.query(FlowsRequest())))


def test_names_are_those_of_the_moment() -> None:
    store = store_with(request())
    book: Any = store.names
    book.change_pods([FRONTEND], [], 6 * 10**9)
    (found,) = store.query(FlowsRequest())
    assert found["flow"]["source"]["pod_name"] == "frontend-1"
    book.change_pods([API], [], 4 * 10**9)
    (found,) = store.query(FlowsRequest())
    assert "pod_name" not in found["flow"]["destination"]


def test_control_characters_do_not_reach_the_terminal() -> None:
    for output in ("compact", "dict", "table"):
        store = store_with(request(path="/\x1b[31m\x9b\n", host="\u202eexample"))
        text = "".join(render(store.query(FlowsRequest()), Style(output)))
        assert "\x1b" not in text and "\x9b" not in text and "\u202e" not in text
        assert "GET http://\\u202eexample/\\x1b[31m\\x9b\\n" in text


# ---- joined to layer 4 -----------------------------------------------------------------------------------------------

OUTSIDE = "203.0.113.7"


def test_a_client_that_is_no_pod_has_the_identity_of_its_connection() -> None:
    made = request(client=address(OUTSIDE))
    store = store_with(made)
    (before,) = store.query(FlowsRequest())
    assert before["flow"]["source"] == {}
    others = [
        event(OUTSIDE, API, source_port=45679, time_ns=1),
        event(OUTSIDE, API, port=80, time_ns=1),
        event(API, OUTSIDE, time_ns=1),
        event(OUTSIDE, API, time_ns=60 * 10**9)._replace(source_identity=99),  # the port came to be used again
    ]
    store.append(b"".join(map(record, others)))
    assert [each["flow"]["source"] for each in store.query(layer7())] == [{}]
    store.append(record(event(OUTSIDE, API, time_ns=2)) + record(event(OUTSIDE, API, time_ns=3)))
    (after,) = store.query(layer7())
    assert after["flow"]["source"] == {"identity": WORLD, "labels": ["reserved:world"]}
    assert after["flow"]["destination"]["pod_name"] == "product-api-1"


def layer7(**fields: Any) -> FlowsRequest:
    return FlowsRequest.from_json({"whitelist": [{"event_type": [{"type": 129}]}], **fields})


def test_one_connection_has_its_flows_of_both_layers_in_order() -> None:
    """What the client's address and port select: the connection, allowed through the proxy, and its requests."""
    store = store_with(request(), refused(), request(client_port=1))
    flags = EventFlag.INGRESS_ENFORCED | EventFlag.PROXIED
    store.append(
        record(event(time_ns=4 * 10**9, ingress_rule=1, flags=flags))
        + record(event(type_=EventType.TRACE, time_ns=6 * 10**9, flags=EventFlag.PROXIED, tcp_flags=0x11))
    )
    wanted = {"source_pod": ["frontend"], "source_port": ["45678"]}
    found = [each["flow"] for each in store.query(FlowsRequest.from_json({"whitelist": [wanted]}))]
    lines = [compact({"flow": flow}, Style(policy_names=True)).partition("(ID:70002) ")[2].rstrip() for flow in found]
    assert [line.partition(" (HTTP")[0] for line in lines] == [
        "policy-verdict:L3-L4 INGRESS ALLOWED BY api (CiliumNetworkPolicy) (TCP Flags: SYN)",
        "http-response DROPPED",
        "http-response FORWARDED",
        "to-proxy REDIRECTED (TCP Flags: ACK, FIN)",
    ]
    assert [flow["verdict"] for flow in found] == ["REDIRECTED", "DROPPED", "FORWARDED", "REDIRECTED"]
    assert found[-1]["trace_observation_point"] == "TO_PROXY"


@pytest.mark.parametrize(("verdict", "ports"), [("REDIRECTED", [1]), ("FORWARDED", [2]), ("DROPPED", [3])])
def test_connections_through_the_proxy_are_redirected(verdict: str, ports: list[int]) -> None:
    from weft.model.verdicts import Verdict

    store = store_with()
    through = event(port=1, flags=EventFlag.PROXIED)
    refused_there = event(port=3, flags=EventFlag.PROXIED, reason=Verdict.POLICY_DENIED)
    store.append(b"".join(map(record, (through, event(port=2), refused_there))))
    found = store.query(FlowsRequest.from_json({"whitelist": [{"verdict": [verdict]}]}))
    assert [each["flow"]["l4"]["TCP"]["destination_port"] for each in found] == ports
