"""The scene that the table tests play in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.bpf.machine import HOST, REMOTE, SERVICE, UNASSIGNED, Machine, machine
from tests.bpf.packets import ICMP, ICMPV6, TCP, UDP
from weft.datapath.layouts import POLICY_ALLOW, POLICY_DENY, POLICY_F_OTHER, POLICY_NONE

OPEN, SERVER, CLIENT, UNREADY, POOR = 1, 2, 3, 4, 5
"""Pods: no policy; with an ingress policy; with an egress policy; under a table that is not written; a quota of 1."""
INGRESS, EGRESS, UNWRITTEN = 20, 30, 40
WORLD_CLASS = 99
RULE_HTTP, RULE_DENY, RULE_OUT = 201, 202, 301


def set_scene(made: Machine) -> None:
    made.prefix("0.0.0.0/0", 9, WORLD_CLASS)
    made.prefix("::/0", 10, WORLD_CLASS)
    made.prefix("10.0.0.0/24", 0, 0, UNASSIGNED)
    made.prefix("fd00::/64", 0, 0, UNASSIGNED)
    made.prefix("10.0.1.0/24", 0, 0, UNASSIGNED | REMOTE)
    made.prefix("fd00:0:0:1::/64", 0, 0, UNASSIGNED | REMOTE)
    made.prefix("10.0.1.9/32", 65599, CLIENT, REMOTE)
    made.prefix("fd00:0:0:1::9/128", 65599, CLIENT, REMOTE)
    made.prefix("10.96.0.0/16", 0, 0, SERVICE)
    made.prefix("fd00:96::/108", 0, 0, SERVICE)
    for address in ("10.0.0.254/32", "192.0.2.1/32", "fd00::fe/128"):
        made.prefix(address, 1, 98, HOST)
    made.rule(INGRESS, POLICY_NONE, flags=POLICY_F_OTHER)
    for class_ in (OPEN, CLIENT):
        made.rule(INGRESS, POLICY_NONE, class_=class_)
        made.rule(INGRESS, POLICY_ALLOW, class_=class_, protocol=TCP, port=80, rule=RULE_HTTP)
        made.rule(INGRESS, POLICY_ALLOW, class_=class_, protocol=UDP, port=53, rule=RULE_HTTP)
        made.rule(INGRESS, POLICY_DENY, class_=class_, protocol=TCP, port=22, rule=RULE_DENY)
        for protocol, request in ((ICMP, 8), (ICMPV6, 128)):
            made.rule(INGRESS, POLICY_ALLOW, class_=class_, protocol=protocol, port=request << 8, bits=80)
    made.rule(INGRESS, POLICY_NONE, class_=0)
    made.rule(INGRESS, POLICY_ALLOW, class_=0, protocol=TCP, port=443, rule=RULE_HTTP)
    made.rule(EGRESS, POLICY_NONE)
    made.rule(EGRESS, POLICY_ALLOW, class_=WORLD_CLASS, protocol=TCP, port=443, rule=RULE_OUT)
    made.rule(EGRESS, POLICY_ALLOW, class_=SERVER, rule=RULE_OUT)
    made.rule(EGRESS, POLICY_ALLOW, class_=OPEN, protocol=TCP, rule=RULE_OUT)
    made.pod(OPEN)
    made.pod(SERVER, ingress=INGRESS)
    made.pod(CLIENT, egress=EGRESS)
    made.pod(UNREADY, ingress=UNWRITTEN)
    made.pod(POOR, quota=1)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with machine(tmp_path_factory.mktemp("bpf")) as made:
        set_scene(made)
        yield made


@pytest.fixture
def scenery(scene: Machine) -> Machine:
    """The scene without memory: no flows, revision 1."""
    scene.revision(1)
    scene.tunnel(0)
    scene.forget()
    return scene
