"""Packets to a service's address that passed no socket hook go nowhere, and say so."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from tests.lab import Lab, Question, until
from tests.lab.inside import python
from tests.lab.netns import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6, inside, ip
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
    """Not by the node's translating them, nor by its sending them on."""
    before = forwarded(lab)
    for address in web:
        for protocol, port in (("tcp", 80), ("udp", 53)):
            answer = lab.outside_prober().ask([Question(protocol, address, port)])[0]
            assert answer.outcome in ("unreachable", "timeout")  # the kernel limits its own ICMP
        source = OUTSIDE_V6 if ":" in address else OUTSIDE_V4
        way = ["ip", "route", "get", address, "from", source, "iif", "uplink"]
        asked = subprocess.run(inside(lab.namespaces.node, *way), capture_output=True, text=True, check=False)
        assert asked.returncode and "No route to host" in asked.stderr, asked
    assert forwarded(lab) == before


def forwarded(lab: Lab) -> tuple[int, int]:
    """Packets that the node sent on so far, of IPv4 and of IPv6."""
    argv = inside(lab.namespaces.node, "cat", "/proc/net/snmp", "/proc/net/snmp6")
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in said.splitlines()]
    names, values = [line for line in lines if line[0] == "Ip:"]
    v6 = {line[0]: line[1] for line in lines if len(line) == 2}
    return int(dict(zip(names, values, strict=True))["ForwDatagrams"]), int(v6["Ip6OutForwDatagrams"])
