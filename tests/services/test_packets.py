"""Packets to a service's address that passed no socket hook go nowhere, and say so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab import Lab, Question, until
from tests.lab.inside import python
from tests.lab.netns import NODE_V4, NODE_V6, ip
from tests.services.manifests import apply, cluster_ips, service

SYN_TO = """
for source, address in arguments:
    with socket.socket(family(address), socket.SOCK_RAW, socket.IPPROTO_TCP) as s:
        header = struct.pack('!HHIIBBHHH', 40000, 80, 1, 0, 5 << 4, 2, 1000, 0, 0)
        s.sendto(header, (address, 0))
say('sent')
"""


@pytest.fixture
def web(lab: Lab) -> tuple[str, str]:
    lab.serve("server", "tcp:8080", "udp:8080", labels={"app": "server"})
    apply(lab, service("web"))
    return cluster_ips(lab, "web")


def test_raw_packets_are_dropped_and_counted(lab: Lab, web: tuple[str, str]) -> None:
    client = lab.run("client", capabilities=["NET_RAW"])
    before = lab.status()["drops"].get("IS_A_CLUSTERIP", 0)
    assert python(client, SYN_TO, *zip((client.v4, client.v6), web, strict=True)) == "sent"
    assert lab.status()["drops"]["IS_A_CLUSTERIP"] == before + 2
    for address in web:  # the probe repeats its echo request
        assert client.probe("icmp", address, 0).outcome == "timeout"
    assert lab.status()["drops"]["IS_A_CLUSTERIP"] == before + 6

    def reasons() -> set[tuple[str, str]]:
        flows = lab.observe(source_pod=["default/client"], verdict=["DROPPED"])
        return {(flow["IP"]["destination"], flow["drop_reason_desc"]) for flow in flows}

    until(lambda: reasons() >= {(address, "IS_A_CLUSTERIP") for address in web}, "the drops are in the flow log")


@pytest.fixture
def routed(lab: Lab) -> Iterator[None]:
    """The outside takes the node for the way to its services."""
    routes = [(lab.service_cidrs[0], NODE_V4), (lab.service_cidrs[1], NODE_V6)]
    for cidr, node in routes:
        ip("-n", lab.namespaces.outside, "route", "add", cidr, "via", node)
    yield
    for cidr, _ in routes:
        ip("-n", lab.namespaces.outside, "route", "del", cidr)


@pytest.mark.usefixtures("routed")
def test_the_outside_does_not_reach_services(lab: Lab, web: tuple[str, str]) -> None:
    for address in web:
        for protocol, port in (("tcp", 80), ("udp", 53)):
            answer = lab.outside_prober().ask([Question(protocol, address, port)])[0]
            assert answer.outcome in ("unreachable", "timeout")  # the node's ICMP is limited to one a second
