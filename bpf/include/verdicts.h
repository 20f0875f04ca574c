/* Every answer the datapath can give, once. The Python enum (weft/model/verdicts.py), the metric labels and
 * docs/VERDICTS.md are generated from this list by tools/gen_verdicts.py.
 *
 * VERDICT(NAME, code, hubble_name, text)
 *   code         drop reason = return code = metric label. Where Hubble's flow.DropReason has the same meaning,
 *                its number is used; weft's own begin at 220 and appear in Hubble's JSON as hubble_name.
 *   text         what a person reads in `weft observe`, in Cilium's words where Cilium has some.
 */
#ifndef WEFT_VERDICTS_H
#define WEFT_VERDICTS_H

/* clang-format off */
#define WEFT_VERDICTS(VERDICT) \
	VERDICT(FORWARDED,              0, "DROP_REASON_UNKNOWN", "Forwarded") \
	VERDICT(INVALID_SOURCE_MAC,   130, "INVALID_SOURCE_MAC", "Invalid source MAC: not the pod's own") \
	VERDICT(INVALID_DESTINATION_MAC, 131, "INVALID_DESTINATION_MAC", "Invalid destination MAC: not the gateway's") \
	VERDICT(INVALID_SOURCE_IP,    132, "INVALID_SOURCE_IP", "Invalid source IP: not the pod's own") \
	VERDICT(POLICY_DENIED,        133, "POLICY_DENIED", "Policy denied") \
	VERDICT(INVALID_PACKET,       134, "INVALID_PACKET_DROPPED", "Invalid packet") \
	VERDICT(TRUNCATED_HEADER,     135, "CT_TRUNCATED_OR_INVALID_HEADER", "Truncated or invalid header") \
	VERDICT(UNSUPPORTED_L3,       139, "UNSUPPORTED_L3_PROTOCOL", "Unsupported L3 protocol") \
	VERDICT(WRITE_ERROR,          141, "ERROR_WRITING_TO_PACKET", "Error while writing to packet") \
	VERDICT(UNKNOWN_L4,           142, "UNKNOWN_L4_PROTOCOL", "Unknown L4 protocol") \
	VERDICT(UNKNOWN_TARGET,       150, "UNKNOWN_L3_TARGET_ADDRESS", "No pod has this address") \
	VERDICT(FLOW_TABLE_FULL,      155, "CT_MAP_INSERTION_FAILED", "Flow table full") \
	VERDICT(INVALID_IPV6_EXTENSION, 156, "INVALID_IPV6_EXTENSION_HEADER", "Invalid IPv6 extension header") \
	VERDICT(NO_BACKEND,           158, "SERVICE_BACKEND_NOT_FOUND", "Service backend not found") \
	VERDICT(UNKNOWN_SENDER,       172, "UNKNOWN_SENDER", "No pod that this node knows of has the source address") \
	VERDICT(IS_A_CLUSTERIP,       174, "IS_A_CLUSTERIP", "Packet to a ClusterIP that passed no socket hook") \
	VERDICT(FRAGMENT_NOT_FOUND,   175, "FIRST_LOGICAL_DATAGRAM_FRAGMENT_NOT_FOUND", "First logical datagram fragment not found") \
	VERDICT(FORBIDDEN_ICMPV6,     176, "FORBIDDEN_ICMPV6_MESSAGE", "Forbidden ICMPv6 message") \
	VERDICT(POLICY_DENY,          181, "POLICY_DENY", "Policy denied by denylist") \
	VERDICT(VLAN_FILTERED,        182, "VLAN_FILTERED", "VLAN traffic disallowed by VLAN filter") \
	VERDICT(FLOW_QUOTA,           220, "DROP_RATE_LIMITED", "The pod's share of the flow table is used up") \
	VERDICT(UNSUPPORTED_L2,       221, "UNSUPPORTED_L2_PROTOCOL", "Ethertype not allowed") \
	VERDICT(ARP_FILTERED,         222, "UNSUPPORTED_L2_PROTOCOL", "ARP is not needed and not allowed") \
	VERDICT(IP_OPTIONS,           223, "INVALID_PACKET_DROPPED", "IPv4 options not allowed") \
	VERDICT(INVALID_FRAGMENT,     224, "INVALID_PACKET_DROPPED", "Fragment would cut or overwrite the transport header") \
	VERDICT(UNKNOWN_FLOW_ERROR,   225, "UNKNOWN_CONNECTION_TRACKING_STATE", "ICMP error that belongs to no flow") \
	VERDICT(POLICY_REVOKED,       226, "POLICY_DENIED", "Policy changed: open connection cut") \
	VERDICT(FORGED_HOST_SOURCE,   227, "INVALID_SOURCE_IP", "Outside packet with the node's or a pod's address as its source") \
	VERDICT(ENDPOINT_NOT_READY,   228, "NO_CONFIGURATION_AVAILABLE_TO_PERFORM_POLICY_DECISION", "Pod has no policy yet") \
	VERDICT(MULTICAST,            229, "UNSUPPORTED_L3_PROTOCOL", "Multicast and broadcast are not carried") \
	VERDICT(PROXY_GONE,           230, "SOCKET_LOOKUP_FAILED", "Envoy of this node is not running, or has no such listener") \
	VERDICT(PROXY_PORT_TAKEN,     231, "SOCKET_ASSIGN_FAILED", "Envoy has a connection with these addresses and ports") \
	VERDICT(PROXY_STRAY,          232, "UNKNOWN_CONNECTION_TRACKING_STATE", "Envoy's packet that belongs to no connection")
/* clang-format on */

#define WEFT_VERDICT_ENUM(name, code, hubble, text) VERDICT_##name = code,
enum verdict_code { WEFT_VERDICTS(WEFT_VERDICT_ENUM) };

#endif
