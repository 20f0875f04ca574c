"""The query program answers what the packets' programs would do."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from tests.bpf.conftest import CLIENT, EGRESS, INGRESS, OPEN, POOR, RULE_DENY, RULE_HTTP, RULE_OUT, SERVER, UNREADY
from tests.bpf.machine import Machine
from weft.datapath import bpf, layouts
from weft.datapath.layouts import POLICY_ALLOW, POLICY_QUERY_SIZE, PolicyQuery
from weft.model.net import ICMP, TCP, UDP, to_wide
from weft.model.verdicts import Verdict

V = Verdict
Asked = tuple[str, str, int, int]
OUT = "198.51.100.7"


def pod(number: int, version: int = 4) -> str:
    return f"10.0.0.{number}" if version == 4 else f"fd00::{number}"


def ask(machine: Machine, *questions: Asked) -> list[PolicyQuery]:
    packed = b"".join(
        PolicyQuery(to_wide(ip_address(source)), to_wide(ip_address(to)), port, protocol, *(0,) * 9).pack()
        for source, to, protocol, port in questions
    )
    result = bpf.prog_test_run(machine.programs["query"], bytes(14) + packed)
    assert result.retval == len(questions)
    return [PolicyQuery.unpack(result.data, 14 + i * POLICY_QUERY_SIZE) for i in range(len(questions))]


@pytest.mark.parametrize(
    ("question", "reason", "rules"),
    [
        ((pod(OPEN), pod(SERVER), TCP, 80), V.FORWARDED, (0, RULE_HTTP)),
        ((pod(OPEN, 6), pod(SERVER, 6), TCP, 80), V.FORWARDED, (0, RULE_HTTP)),
        ((pod(OPEN), pod(SERVER), TCP, 22), V.POLICY_DENY, (0, RULE_DENY)),
        ((pod(OPEN), pod(SERVER), TCP, 23), V.POLICY_DENIED, (0, 0)),
        ((pod(OPEN), pod(SERVER), ICMP, 8 << 8), V.FORWARDED, (0, 0)),
        ((pod(CLIENT), pod(SERVER), TCP, 80), V.FORWARDED, (RULE_OUT, RULE_HTTP)),
        ((pod(CLIENT), OUT, TCP, 443), V.FORWARDED, (RULE_OUT, 0)),
        ((pod(CLIENT), OUT, UDP, 443), V.POLICY_DENIED, (0, 0)),
        ((OUT, pod(SERVER), TCP, 443), V.FORWARDED, (0, RULE_HTTP)),
        ((OUT, pod(SERVER), TCP, 80), V.POLICY_DENIED, (0, 0)),
        (("10.0.0.254", pod(SERVER), TCP, 9), V.FORWARDED, (0, 0)),
        ((pod(OPEN), "10.96.0.10", TCP, 80), V.IS_A_CLUSTERIP, (0, 0)),
        ((pod(OPEN), "10.0.0.77", TCP, 80), V.UNKNOWN_TARGET, (0, 0)),
        ((pod(POOR), pod(UNREADY), TCP, 80), V.ENDPOINT_NOT_READY, (0, 0)),
        ((OUT, "203.0.113.9", TCP, 80), V.FORWARDED, (0, 0)),
        ((pod(SERVER), pod(SERVER), TCP, 23), V.FORWARDED, (0, 0)),
        ((OUT, "10.0.0.77", TCP, 80), V.UNKNOWN_TARGET, (0, 0)),
        (("10.0.0.254", "10.0.0.77", TCP, 80), V.UNKNOWN_TARGET, (0, 0)),
        (("10.0.0.77", pod(SERVER), TCP, 80), V.FORGED_HOST_SOURCE, (0, 0)),
        (("10.96.0.10", pod(SERVER), TCP, 80), V.FORGED_HOST_SOURCE, (0, 0)),
        ((pod(OPEN), "224.0.0.251", UDP, 5353), V.MULTICAST, (0, 0)),
        ((pod(OPEN, 6), "ff02::fb", UDP, 5353), V.MULTICAST, (0, 0)),
        ((pod(OPEN), "255.255.255.255", UDP, 67), V.MULTICAST, (0, 0)),
        ((pod(OPEN), "127.0.0.1", TCP, 80), V.INVALID_PACKET, (0, 0)),
        ((pod(OPEN, 6), "::1", TCP, 80), V.INVALID_PACKET, (0, 0)),
    ],
)
def test_an_answer(scenery: Machine, question: Asked, reason: V, rules: tuple[int, int]) -> None:
    (answer,) = ask(scenery, question)
    assert (V(answer.reason), (answer.egress_rule, answer.ingress_rule)) == (reason, rules)
    assert not scenery.flows() and not scenery.events(), "asking leaves no trace"


def test_many_at_once(scenery: Machine) -> None:
    answers = ask(scenery, *[(pod(OPEN), pod(SERVER), TCP, port) for port in range(60, 108)])
    assert [60 + i for i, answer in enumerate(answers) if not answer.reason] == [80]
    assert {answer.source_identity for answer in answers} == {65536 + OPEN}


L7_OUT, L7_IN = 600, 700
CHECKED, PASSED = 8081, 8082


@pytest.mark.parametrize(
    ("port", "flow", "answer"),
    [
        (80, {}, layouts.REVIEW_ALLOWED),
        (22, {}, layouts.REVIEW_REFUSED),
        (22, {"revision": 1}, layouts.REVIEW_NEEDLESS),
        (22, {"revision": 1, "state": layouts.FLOW_CUT}, layouts.REVIEW_REFUSED),
        (22, {"state": layouts.FLOW_CLOSING}, layouts.REVIEW_NEEDLESS),
        (CHECKED, {}, layouts.REVIEW_REFUSED),
        (CHECKED, {"l7": L7_OUT}, layouts.REVIEW_ALLOWED),
        (CHECKED, {"l7": L7_IN}, layouts.REVIEW_REFUSED),
        (CHECKED, {"l7": L7_IN, "phase": layouts.PHASE_EGRESS}, layouts.REVIEW_ALLOWED),
        (CHECKED, {"phase": layouts.PHASE_EGRESS}, layouts.REVIEW_REFUSED),
        (CHECKED, {"phase": layouts.PHASE_INGRESS, "proxy": 1}, layouts.REVIEW_ALLOWED),
        (PASSED, {"l7": L7_IN, "proxy": 2}, layouts.REVIEW_ALLOWED),
    ],
)
def test_a_review(scenery: Machine, port: int, flow: dict[str, int], answer: int) -> None:
    """CLIENT speaks to SERVER; the flows were decided under another revision unless they say otherwise."""
    for each in (CHECKED, PASSED):
        scenery.rule(INGRESS, POLICY_ALLOW, class_=CLIENT, protocol=TCP, port=each, rule=1, l7=L7_IN)
    scenery.rule(EGRESS, POLICY_ALLOW, class_=SERVER, protocol=TCP, port=CHECKED, rule=1, l7=L7_OUT)
    found = layouts.Flow.unpack(bytes(layouts.FLOW_SIZE))._replace(revision=9, state=layouts.FLOW_OPEN)
    ends = (SERVER, CLIENT), (port, 40_000)  # by their size: the client is side 1
    key = layouts.FlowKey(*(to_wide(ip_address(pod(each))) for each in ends[0]), *ends[1], TCP)
    scenery.maps["flows"].update(key.pack(), found._replace(initiator=1, **flow).pack())
    others = [key._replace(port_1=40_001), key._replace(protocol=UDP)]  # no such flow; and nothing is told by UDP
    scenery.maps["flows"].update(others[1].pack(), found.pack())
    asked = b"".join(each.pack() for each in (*others, key, key._replace(port_1=40_002)))
    result = bpf.prog_test_run(scenery.programs["review"], bytes(14) + asked)
    assert result.retval == 4
    said = [layouts.FlowReview.unpack(result.data, 14 + at * layouts.FLOW_REVIEW_SIZE) for at in range(4)]
    assert [each.answer for each in said] == [layouts.REVIEW_NEEDLESS] * 2 + [answer, layouts.REVIEW_NEEDLESS]
    assert said[2].proxy == (flow.get("proxy", 0) if answer else 0)
