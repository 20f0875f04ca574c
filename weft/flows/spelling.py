"""Hubble's and Cilium's words for numbers: api/v1/flow/flow.proto and pkg/monitor/api of cilium/cilium, and gopacket's
names of ICMP messages, which Hubble's summaries use."""

from __future__ import annotations

from weft.model.identity import Reserved

MESSAGE_TYPES = {"drop": 1, "debug": 2, "capture": 3, "trace": 4, "policy-verdict": 5, "l7": 129, "agent": 130}
"""``--type`` → event_type.type. A node of weft makes drop, trace, policy-verdict and l7."""
DROP, TRACE, POLICY_VERDICT, L7 = 1, 4, 5, 129

TRACE_POINTS = {
    "to-endpoint": 0,
    "to-proxy": 1,
    "to-host": 2,
    "to-stack": 3,
    "to-overlay": 4,
    "from-endpoint": 5,
    "from-proxy": 6,
    "from-host": 7,
    "from-stack": 8,
    "from-overlay": 9,
    "from-network": 10,
    "to-network": 11,
}
"""``--type trace:X`` → event_type.sub_type."""
TRACE_POINT_NAMES = {number: name for name, number in TRACE_POINTS.items()}

VERDICTS = ("FORWARDED", "DROPPED", "ERROR", "AUDIT", "REDIRECTED", "TRACED", "TRANSLATED")

MATCH_NONE, MATCH_L3_ONLY, MATCH_L3_L4, MATCH_L4_ONLY, MATCH_ALL, MATCH_L3_PROTO, MATCH_PROTO_ONLY = range(7)
MATCH_TYPES = ("none", "L3-Only", "L3-L4", "L4-Only", "all", "L3-Proto", "Proto-Only")
"""policy_match_type → what the compact line says."""

TCP_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
"""By bit, lowest first."""
TCP_FLAGS_SUMMARY = ("SYN", "ACK", "RST", "FIN", "PSH", "URG", "ECE", "CWR")
"""The order in which Hubble's summary lists them."""

RESERVED_NAMES = {number.value: number.label.removeprefix("reserved:") for number in Reserved}
"""Reserved identity → how the compact line spells it."""

DROP_REASONS = {
    "DROP_REASON_UNKNOWN": 0,
    "INVALID_SOURCE_MAC": 130,
    "INVALID_DESTINATION_MAC": 131,
    "INVALID_SOURCE_IP": 132,
    "POLICY_DENIED": 133,
    "INVALID_PACKET_DROPPED": 134,
    "CT_TRUNCATED_OR_INVALID_HEADER": 135,
    "UNSUPPORTED_L3_PROTOCOL": 139,
    "ERROR_WRITING_TO_PACKET": 141,
    "UNKNOWN_L4_PROTOCOL": 142,
    "UNKNOWN_L3_TARGET_ADDRESS": 150,
    "CT_MAP_INSERTION_FAILED": 155,
    "INVALID_IPV6_EXTENSION_HEADER": 156,
    "SERVICE_BACKEND_NOT_FOUND": 158,
    "UNKNOWN_CONNECTION_TRACKING_STATE": 163,
    "NO_CONFIGURATION_AVAILABLE_TO_PERFORM_POLICY_DECISION": 165,
    "UNSUPPORTED_L2_PROTOCOL": 166,
    "UNKNOWN_SENDER": 172,
    "IS_A_CLUSTERIP": 174,
    "FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND": 175,
    "FORBIDDEN_ICMPV6_MESSAGE": 176,
    "SOCKET_LOOKUP_FAILED": 178,
    "SOCKET_ASSIGN_FAILED": 179,
    "POLICY_DENY": 181,
    "VLAN_FILTERED": 182,
    "DROP_RATE_LIMITED": 198,
}
"""flow.DropReason, as far as weft's verdicts have a counterpart: name → number."""

_ICMP4_UNREACHABLE = (
    "Net Host Protocol Port FragmentationNeeded SourceRoutingFailed NetUnknown HostUnknown SourceIsolated "
    "NetAdminProhibited HostAdminProhibited NetTOS HostTOS CommAdminProhibited HostPrecedence PrecedenceCutoff"
)
_ICMP4: dict[int, tuple[str, str]] = {
    0: ("EchoReply", ""),
    3: ("DestinationUnreachable", _ICMP4_UNREACHABLE),
    4: ("SourceQuench", ""),
    5: ("Redirect", "Net Host TOS+Net TOS+Host"),
    8: ("EchoRequest", ""),
    9: ("RouterAdvertisement", ""),
    10: ("RouterSolicitation", ""),
    11: ("TimeExceeded", "TTLExceeded FragmentReassemblyTimeExceeded"),
    12: ("ParameterProblem", "PointerIndicatesError MissingOption BadLength"),
    13: ("TimestampRequest", ""),
    14: ("TimestampReply", ""),
    15: ("InfoRequest", ""),
    16: ("InfoReply", ""),
    17: ("AddressMaskRequest", ""),
    18: ("AddressMaskReply", ""),
}
_ICMP6_UNREACHABLE = (
    "NoRouteToDst AdminProhibited BeyondScopeOfSrc AddressUnreachable PortUnreachable SrcAddressFailedPolicy "
    "RejectRouteToDst"
)
_ICMP6: dict[int, tuple[str, str]] = {
    1: ("DestinationUnreachable", _ICMP6_UNREACHABLE),
    2: ("PacketTooBig", ""),
    3: ("TimeExceeded", "HopLimitExceeded FragmentReassemblyTimeExceeded"),
    4: ("ParameterProblem", "ErroneousHeaderField UnrecognizedNextHeader UnrecognizedIPv6Option"),
    128: ("EchoRequest", ""),
    129: ("EchoReply", ""),
    130: ("MLDv1MulticastListenerQueryMessage", ""),
    131: ("MLDv1MulticastListenerReportMessage", ""),
    132: ("MLDv1MulticastListenerDoneMessage", ""),
    133: ("RouterSolicitation", ""),
    134: ("RouterAdvertisement", ""),
    135: ("NeighborSolicitation", ""),
    136: ("NeighborAdvertisement", ""),
    137: ("Redirect", ""),
    143: ("MLDv2MulticastListenerReportMessageV2", ""),
}


def icmp_name(version: int, type_: int, code: int) -> str:
    """``EchoRequest``, ``DestinationUnreachable(Port)``, ``200(0)``: as gopacket writes an ICMP type and code."""
    name, code_names = (_ICMP4 if version == 4 else _ICMP6).get(type_, ("", ""))
    codes = code_names.split()
    if not name:
        return f"{type_}({code})"
    if not codes:
        return name if code == 0 else f"{name}(Code: {code})"
    return f"{name}({codes[code]})" if code < len(codes) else f"{name}(Code: {code})"
