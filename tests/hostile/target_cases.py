"""Where a pod must not reach: services past their hooks, the node, the world, groups; and forged ICMP errors."""

from __future__ import annotations

from collections.abc import Callable

from tests.bpf.packets import ICMP, ICMPV6, TCP, UDP, icmp, ip4, ip6
from tests.hostile.ears import MARK
from tests.hostile.frames import IN, Case, Maker, datagram, own, segment, towards, v4, v6
from tests.hostile.scene import Scene
from tests.lab.netns import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6
from weft.model.verdicts import Verdict

V = Verdict

SERVICES = [
    Case("TCP to a ClusterIP, past the socket hook", towards(lambda s: s.cluster4, TCP, segment(80)), V.IS_A_CLUSTERIP),
    Case("the same, IPv6", towards(lambda s: s.cluster6, TCP, segment(80)), V.IS_A_CLUSTERIP),
    Case("UDP to an unused service address", towards(lambda s: "10.96.255.250", UDP, datagram()), V.IS_A_CLUSTERIP),
    Case("echo request to a ClusterIP", towards(lambda s: s.cluster4, ICMP, icmp(8) + MARK), V.IS_A_CLUSTERIP),
]

NODE = [
    Case(f"{what} to the node", towards(address, protocol, body), V.POLICY_DENIED)
    for what, address, protocol, body in (
        ("TCP 22, router IPv4,", lambda s: s.router4, TCP, segment(22)),
        ("TCP 22, router IPv6,", lambda s: s.router6, TCP, segment(22)),
        ("UDP, uplink IPv4,", lambda s: NODE_V4, UDP, datagram()),
        ("UDP, uplink IPv6,", lambda s: NODE_V6, UDP, datagram()),
        ("echo request,", lambda s: NODE_V4, ICMP, icmp(8) + MARK),
        ("echo request, IPv6,", lambda s: s.router6, ICMPV6, icmp(128) + MARK),
        ("GRE", lambda s: NODE_V4, 47, MARK),
        ("TCP 80, the gateway's own address,", lambda s: "169.254.1.1", TCP, segment(80)),
    )
]

ELSEWHERE = [
    Case("UDP to the world", towards(lambda s: OUTSIDE_V4, UDP, datagram(53)), V.POLICY_DENIED),
    Case("UDP to the world, IPv6", towards(lambda s: OUTSIDE_V6, UDP, datagram(53)), V.POLICY_DENIED),
    Case("UDP to a free pod address", towards(lambda s: "10.244.0.250", UDP, datagram()), V.UNKNOWN_TARGET),
    Case("UDP to a free pod address, IPv6", towards(lambda s: "fd00:244::fa", UDP, datagram()), V.UNKNOWN_TARGET),
    Case("TCP to loopback", towards(lambda s: "127.0.0.1", TCP, segment(80)), V.INVALID_PACKET),
    Case("TCP to loopback, IPv6", towards(lambda s: "::1", TCP, segment(80)), V.INVALID_PACKET),
    Case("TCP to 0.0.0.0", towards(lambda s: "0.0.0.0", TCP, segment(80)), V.INVALID_PACKET),
    Case("UDP to broadcast", towards(lambda s: "255.255.255.255", UDP, datagram()), V.MULTICAST),
    Case("UDP to all hosts", towards(lambda s: "224.0.0.1", UDP, datagram()), V.MULTICAST),
    Case("UDP to all nodes, IPv6", towards(lambda s: "ff02::1", UDP, datagram()), V.MULTICAST),
    Case("UDP to the whole site, IPv6", towards(lambda s: "ff05::1:3", UDP, datagram()), V.MULTICAST),
    Case("UDP to a link-local neighbour", towards(lambda s: "fe80::4", UDP, datagram()), V.POLICY_DENIED),
]


def quoting(version: int, type_: int, code: int, inner: Callable[[Scene], bytes]) -> Maker:
    """An ICMP error from the attacker to the victim that quotes a packet which the attacker never received."""

    def frame(scene: Scene) -> bytes:
        message = icmp(type_, code, b"\0\0\5\0" + inner(scene) + MARK)
        if version == 4:
            return own(scene, ip4(scene.a4, scene.v4, ICMP, message))
        return own(scene, ip6(scene.a6, scene.v6, ICMPV6, message))

    return frame


def friends4(scene: Scene) -> bytes:
    """A packet of the connection between victim and friend."""
    return ip4(scene.v4, scene.friend.v4, TCP, scene.held4)


def friends6(scene: Scene) -> bytes:
    return ip6(scene.v6, scene.friend.v6, TCP, scene.held6)


ERRORS = [
    Case(f"ICMP error: {what}", quoting(version, type_, code, inner), V.UNKNOWN_FLOW_ERROR)
    for what, version, type_, code, inner in (
        ("port unreachable, never sent", 4, 3, 3, lambda s: ip4(s.v4, s.a4, UDP, datagram())),
        ("host unreachable, the friend's connection", 4, 3, 1, friends4),
        ("fragmentation needed, the friend's connection", 4, 3, 4, friends4),
        ("time exceeded, quoting itself", 4, 11, 0, lambda s: ip4(s.a4, s.v4, TCP, segment())),
        ("parameter problem, the friend's connection", 4, 12, 0, friends4),
        ("source quench, the friend's connection", 4, 4, 0, friends4),
        ("redirect, the friend's connection", 4, 5, 1, friends4),
        ("packet too big, the friend's connection", 6, 2, 0, friends6),
        ("port unreachable, the friend's connection, IPv6", 6, 1, 4, friends6),
    )
] + [
    Case("ICMP error: quoting nothing", v4(ICMP, icmp(3, 1)), V.TRUNCATED_HEADER),
    Case("echo request that is not allowed", v4(ICMP, icmp(8) + MARK), V.POLICY_DENIED, IN),
    Case("echo reply that nobody asked for", v6(ICMPV6, icmp(129) + MARK), V.POLICY_DENIED, IN),
    Case("timestamp request", v4(ICMP, icmp(13) + MARK), V.POLICY_DENIED, IN),
]

CASES = [*SERVICES, *NODE, *ELSEWHERE, *ERRORS]
