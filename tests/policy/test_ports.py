"""Truth tables: ports, named ports and ICMP types, as upstream's documents say."""

from __future__ import annotations

import pytest

from tests.policy.shop import ECHO, ECHO_V6, ICMP, ICMPV6, TCP, UDP, ask, egress, ingress, network_policy

GRE = 47


@pytest.mark.parametrize(
    ("ports", "probes"),
    [
        ("{port: '80'}", {(TCP, 80), (UDP, 80)}),
        ("{port: '80', protocol: ''}", {(TCP, 80), (UDP, 80)}),
        ("{port: '80', protocol: TCP}", {(TCP, 80)}),
        ("{port: '80', protocol: TCP, endPort: 8080}", {(TCP, 80), (TCP, 8080)}),
        ("{port: '0', protocol: TCP}", {(TCP, 80), (TCP, 8080)}),
        ("{port: '0'}", {(TCP, 80), (TCP, 8080), (UDP, 80)}),
        ("{port: '0', protocol: ICMP}", {(ICMP, ECHO)}),
        ("{port: http}", {(TCP, 8080)}),
        ("{port: HTTP, protocol: TCP}", {(TCP, 8080)}),
        ("{port: http, protocol: UDP}", set()),
        ("{port: nobody-has-it}", set()),
        ("{port: '65535', protocol: SCTP}", set()),
    ],
)
def test_ports_of_a_cilium_rule(ports: str, probes: set[tuple[int, int]]) -> None:
    text = ingress(f"toPorts: [{{ports: [{ports}]}}]")
    tried = [(TCP, 80), (TCP, 8080), (UDP, 80), (ICMP, ECHO), (GRE, 0)]
    assert {
        (protocol, port) for protocol, port in tried if ask(text, "world", "shop/api", port, protocol).forwarded
    } == probes


def test_a_rule_without_ports_means_every_protocol() -> None:
    text = ingress("fromEntities: [world]")
    assert all(ask(text, "world", "shop/api", 0, protocol).forwarded for protocol in (TCP, UDP, ICMP, GRE, 132))


def test_a_named_port_is_the_destinations_whatever_the_direction() -> None:
    """Kubernetes: "a named port on a pod"; the sender's own names play no part."""
    text = egress("toPorts: [{ports: [{port: http}]}]", "  endpointSelector: {}\n")
    assert ask(text, "shop/api", "other/frontend", 80).forwarded
    assert not ask(text, "shop/api", "other/frontend", 8080).forwarded
    assert not ask(text, "shop/api", "world", 8080).forwarded


@pytest.mark.parametrize(
    ("fields", "protocol", "port", "expected"),
    [
        ("{type: 8}", ICMP, ECHO, True),
        ("{type: 8}", ICMP, ECHO | 3, True),
        ("{type: '8', family: IPv4}", ICMP, ECHO, True),
        ("{type: EchoRequest}", ICMP, ECHO, True),
        ("{type: EchoRequest}", ICMPV6, ECHO_V6, False),
        ("{type: EchoRequest, family: IPv6}", ICMPV6, ECHO_V6, True),
        ("{type: EchoReply}", ICMP, ECHO, False),
        ("{type: 8}", TCP, 80, False),
    ],
)
def test_icmp_types(fields: str, protocol: int, port: int, expected: bool) -> None:
    source = "world6" if protocol == ICMPV6 else "world"
    assert ask(ingress(f"icmps: [{{fields: [{fields}]}}]"), source, "shop/api", port, protocol).forwarded is expected


@pytest.mark.parametrize(
    ("ports", "expected"),
    [
        ("[]", {(TCP, 80), (TCP, 8080), (UDP, 80), (ICMP, ECHO)}),
        ("[{port: 80}]", {(TCP, 80)}),
        ("[{protocol: UDP}]", {(UDP, 80)}),
        ("[{port: 79, endPort: 81, protocol: UDP}]", {(UDP, 80)}),
        ("[{port: http}]", {(TCP, 8080)}),
        ("[{port: 80}, {port: http}]", {(TCP, 80), (TCP, 8080)}),
    ],
)
def test_ports_of_a_network_policy(ports: str, expected: set[tuple[int, int]]) -> None:
    """Kubernetes API reference, NetworkPolicyPort: the protocol defaults to TCP; ``ports: []`` is every port."""
    text = network_policy(f"  ingress:\n  - ports: {ports}")
    tried = [(TCP, 80), (TCP, 8080), (UDP, 80), (ICMP, ECHO)]
    found = {(protocol, port) for protocol, port in tried if ask(text, "world", "shop/api", port, protocol).forwarded}
    assert found == expected
