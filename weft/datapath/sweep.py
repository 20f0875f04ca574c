"""After a change of policy: find the open connections that are no longer allowed, and make both ends notice at once.

The datapath decides again when a flow's next packet comes. A connection that is idle has no next packet, so its ends
are given one: a bare SYN on the connection's own addresses and ports. An established socket answers it with a
"challenge ACK" (RFC 5961, section 4), which carries the exact sequence numbers; the datapath refuses that segment and
turns it into resets for both ends.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from weft.datapath import layouts, rtnetlink
from weft.datapath.kernel import Datapath
from weft.datapath.layouts import FlowKey, FlowReview
from weft.datapath.node import PROXY_DEVICE, PROXY_MAC
from weft.datapath.pod import GATEWAY
from weft.datapath.query import review
from weft.datapath.spare import GATEWAY_MAC
from weft.model.net import TCP, from_wide, to_wide

_SOL_PACKET, _QDISC_BYPASS = 263, 20
_SYN = 0x02
_ANSWER = FlowReview(bytes(16), bytes(16), 0, 0, 0, answer=1, proxy=0).pack().index(1)
"""Where struct flow_review has it."""


class Swept(NamedTuple):
    """What one sweep saw: TCP flows, how many of them are refused, and how many ends were told."""

    flows: int
    refused: int
    told: int


class _End(NamedTuple):
    address: bytes
    port: int


class Kicked(NamedTuple):
    """A flow whose ends are to notice something; ``proxy`` as struct flow has it."""

    key: FlowKey
    proxy: int


def sweep(datapath: Datapath) -> Swept:
    """Look at every TCP flow that the policy in force has not decided yet; tell the ends of those it refuses.

    The kernel judges them by their keys alone: 100,000 take 0.1-0.25 s.
    """
    doubtful, refused = 0, list[Kicked]()
    for keys, _, _ in datapath.maps["flows"].batches():
        said = review(datapath, keys)
        answers = said[_ANSWER :: layouts.FLOW_REVIEW_SIZE]
        doubtful += len(answers) - answers.count(layouts.REVIEW_NEEDLESS)
        for at in [at for at, answer in enumerate(answers) if answer == layouts.REVIEW_REFUSED]:
            start = at * layouts.FLOW_REVIEW_SIZE
            refused.append(Kicked(FlowKey.unpack(keys, start), FlowReview.unpack(said, start).proxy))
    return Swept(doubtful, len(refused), kick(datapath, refused))


def _ends(key: FlowKey, first: int) -> tuple[_End, _End]:
    ends = _End(key.address_0, key.port_0), _End(key.address_1, key.port_1)
    return (ends[1], ends[0]) if first else ends


def kick(datapath: Datapath, flows: list[Kicked]) -> int:
    """Give each end that is a pod of this node, or a socket of its Envoy, a SYN of its own connection; returns how many
    were sent."""
    told = 0
    if not flows:  # closing such a socket waits for RCU
        return told
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as out:
        out.setsockopt(_SOL_PACKET, _QDISC_BYPASS, 1)
        for key, proxy in flows:
            for side in (0, 1):
                destination, source = _ends(key, side)
                if proxy >> side & 1:
                    out.sendto(syn(PROXY_MAC, source, destination), (PROXY_DEVICE, 0))
                    told += 1
                    continue
                raw = datapath.maps["endpoints"].lookup(destination.address)
                if raw is None:
                    continue
                if source.address == destination.address:  # the pod's own, which knows Envoy as its gateway
                    source = source._replace(address=to_wide(GATEWAY[from_wide(source.address).version]))
                pod = layouts.Endpoint.unpack(raw)
                if device := rtnetlink.device_of(pod.ifindex):
                    out.sendto(syn(pod.mac, source, destination), (device, 0))
                    told += 1
    return told


def syn(mac: bytes, source: _End, destination: _End) -> bytes:
    """An Ethernet frame from the gateway to a pod: a TCP SYN without options."""
    addresses = [from_wide(end.address) for end in (source, destination)]
    packed = b"".join(address.packed for address in addresses)
    tcp = struct.pack(">HHIIBBHHH", source.port, destination.port, 0, 0, 5 << 4, _SYN, 0, 0, 0)
    checksum = _checksum(packed + struct.pack(">II", len(tcp), TCP) + tcp)
    tcp = tcp[:16] + struct.pack(">H", checksum) + tcp[18:]
    if addresses[0].version == 4:
        header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0x4000, 64, TCP, 0) + packed
        header = header[:10] + struct.pack(">H", _checksum(header)) + header[12:]
        return mac + GATEWAY_MAC + b"\x08\x00" + header + tcp
    header = struct.pack(">IHBB", 6 << 28, len(tcp), TCP, 64) + packed
    return mac + GATEWAY_MAC + b"\x86\xdd" + header + tcp


def _checksum(data: bytes) -> int:
    """RFC 1071; even length."""
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - ((total + (total >> 16)) & 0xFFFF)
