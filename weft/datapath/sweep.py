"""After a change of policy: find the open connections that are no longer allowed, and make both ends notice at once.

The datapath decides again when a flow's next packet comes. A connection that is idle has no next packet, so its ends
are given one: a bare SYN on the connection's own addresses and ports. An established socket answers it with a
"challenge ACK" (RFC 5961, section 4), which carries the exact sequence numbers; the datapath refuses that segment and
turns it into resets for both ends.
"""

from __future__ import annotations

import socket
import struct
from typing import Any, NamedTuple

from weft.datapath import layouts, rtnetlink
from weft.datapath.kernel import Datapath
from weft.datapath.layouts import FlowKey, PolicyQuery
from weft.datapath.node import PROXY_DEVICE, PROXY_MAC
from weft.datapath.pod import GATEWAY
from weft.datapath.query import Question, ask
from weft.datapath.spare import GATEWAY_MAC
from weft.model.net import TCP, from_wide, to_wide

_SOL_PACKET, _QDISC_BYPASS = 263, 20
_SYN = 0x02
_KEY, _VALUE = struct.Struct(">16s16sHHB3x"), struct.Struct("<8xI40xBB2xHBB4x")
"""struct flow_key whole, and of struct flow revision, initiator, state, l7, proxy and phase: there may be 100,000."""


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
    """Look at every TCP flow that the policy in force has not decided yet; tell the ends of those it refuses."""
    revision, doubtful = datapath.revision, 0
    asked: dict[tuple[bytes, bytes, int], list[tuple[Any, ...]]] = {}
    """As its initiator began each flow: source, destination and its port. A client's connections to one port are one
    question."""
    for keys, values, _ in datapath.maps["flows"].batches():
        for key, flow in zip(_KEY.iter_unpack(keys), _VALUE.iter_unpack(values), strict=True):
            decided, initiator, state, *passes = flow
            if key[4] != TCP or state == layouts.FLOW_CLOSING or (decided == revision and state != layouts.FLOW_CUT):
                continue
            question = (key[1], key[0], key[2]) if initiator else (key[0], key[1], key[3])
            asked.setdefault(question, []).append((key, *passes))
            doubtful += 1
    answers = ask(datapath, [Question(source, destination, TCP, port) for source, destination, port in asked])
    same = zip(asked.values(), answers, strict=True)
    refused = [
        Kicked(FlowKey._make(key), proxy)
        for flows, answer in same
        for key, l7, proxy, phase in flows
        if answer.reason or _listener(answer, phase) not in (0, l7)
    ]
    return Swept(doubtful, len(refused), kick(datapath, refused))


def _listener(answer: PolicyQuery, phase: int) -> int:
    """What a leg has to pass that has been through ``phase``, as leg_decide() of bpf/include/proxy.h says."""
    listeners = {
        layouts.PHASE_ROUTE: answer.route_l7,
        layouts.PHASE_EGRESS: answer.egress_l7,
        layouts.PHASE_INGRESS: answer.ingress_l7,
    }
    return next((listener for step, listener in listeners.items() if step > phase and listener), 0)


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
