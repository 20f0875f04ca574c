"""A flow record as people read it: what the kernel saw, joined with the names that the agent knows."""

from __future__ import annotations

from typing import NamedTuple

from weft.model.net import EndpointId, IdentityId, IPAddress, RuleId


class Packet(NamedTuple):
    """One record of the events ring, decoded but not yet named. Times are CLOCK_BOOTTIME nanoseconds."""

    time_ns: int
    source: IPAddress
    destination: IPAddress
    source_port: int
    destination_port: int
    protocol: int
    tcp_flags: int
    type: int
    reason: int
    source_identity: IdentityId
    destination_identity: IdentityId
    source_endpoint: EndpointId
    destination_endpoint: EndpointId
    egress_rule: RuleId
    ingress_rule: RuleId
    revision: int
    length: int
    folded: int
    ethertype: int
    flags: int
    ifindex: int
    source_mac: bytes
    destination_mac: bytes
    cgroup: int
    """Set when a socket hook refused a call, and then the only thing known of its source."""
