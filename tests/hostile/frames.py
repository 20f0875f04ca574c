"""How hostile frames are put together: what a case is, and short words for the usual parts."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import NamedTuple

from tests.bpf.packets import GATEWAY, SYN, TCP, eth, ip, tcp, udp, with_checksum
from tests.hostile.ears import MARK
from tests.hostile.scene import Scene
from weft.model.verdicts import Verdict

IN = 1
"""Refused by the receiver's policy (its counter's direction); everything else on its way out of the sender's pod."""
Maker = Callable[[Scene], bytes]
Address = Callable[[Scene], str]


class Case(NamedTuple):
    what: str
    frame: Maker
    verdict: Verdict
    direction: int = 0


def segment(port: int = 8081, flags: int = SYN, data: bytes = MARK) -> bytes:
    """TCP. Port 8081 is one that the attacker may use; 9999 is not."""
    return tcp(40000, port, flags, data)


def datagram(port: int = 9999) -> bytes:
    return udp(40000, port, MARK)


def own(scene: Scene, packet: bytes, to: bytes = GATEWAY) -> bytes:
    """With the attacker's MAC, and a right TCP checksum where there is a whole header to have one."""
    frame = eth(packet, scene.mac, to)
    whole = packet[:1] == b"\x45" and packet[6:8] == b"\0\0" and packet[9] == TCP and len(packet) >= 40
    return with_checksum(frame) if whole else frame


def v4(protocol: int, body: bytes, **fields: int) -> Maker:
    """From the attacker to the victim, both with their own addresses. ``fields``: see tests.bpf.packets.ip4."""
    return lambda scene: own(scene, ip(scene.a4, scene.v4, protocol, body, **fields))


def v6(protocol: int, body: bytes, **fields: int) -> Maker:
    return lambda scene: own(scene, ip(scene.a6, scene.v6, protocol, body, **fields))


def cut(maker: Maker, size: int) -> Maker:
    """Only the first ``size`` bytes behind the Ethernet header."""
    return lambda scene: maker(scene)[: 14 + size]


def raw(ethertype: int, payload: bytes, to: bytes = GATEWAY) -> Maker:
    return lambda scene: eth(payload, scene.mac, to, ethertype)


def tagged(tags: bytes, maker: Maker, ethertype: int = 0x8100) -> Maker:
    """The packet of ``maker`` behind VLAN tags (``tags`` ends with the inner ethertype)."""
    return lambda scene: eth(tags + maker(scene)[14:], scene.mac, ethertype=ethertype)


def arp(operation: int, sender: Address, target: Address, to: Callable[[Scene], bytes]) -> Maker:
    """The attacker's MAC for somebody's address."""

    def frame(scene: Scene) -> bytes:
        first, second = ip_address(sender(scene)).packed, ip_address(target(scene)).packed
        body = b"\0\1\x08\0\6\4" + operation.to_bytes(2, "big") + scene.mac + first + bytes(6) + second
        return eth(body.ljust(46, b"\0"), scene.mac, to(scene), 0x0806)

    return frame


def towards(address: Address, protocol: int, body: bytes) -> Maker:
    """To somebody else than the victim."""

    def frame(scene: Scene) -> bytes:
        target = address(scene)
        return own(scene, ip(scene.a6 if ":" in target else scene.a4, target, protocol, body))

    return frame


def claiming(address: Address, protocol: int, body: bytes) -> Maker:
    """To the victim, from an address that is not the attacker's."""

    def frame(scene: Scene) -> bytes:
        source = address(scene)
        return own(scene, ip(source, scene.v6 if ":" in source else scene.v4, protocol, body))

    return frame
