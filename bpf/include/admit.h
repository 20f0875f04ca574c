/* The slow path of both doors, once a packet's two ends are known: begin a flow, or decide one again. */
#ifndef WEFT_ADMIT_H
#define WEFT_ADMIT_H

#include "parse.h"
#include "trip.h"

/* Writes into a flow what is known of its two ends. */
INLINE void flow_set_ends(struct flow *flow, const struct trip *t)
{
	const struct peer *a = t->side ? &t->to : &t->from, *b = t->side ? &t->from : &t->to;

	flow->ifindex[0] = a->pod.ifindex;
	flow->ifindex[1] = b->pod.ifindex;
	flow->identity[0] = a->pod.identity;
	flow->identity[1] = b->pod.identity;
	mac_copy((struct mac *)flow->mac[0], (const struct mac *)a->pod.mac);
	mac_copy((struct mac *)flow->mac[1], (const struct mac *)b->pod.mac);
}

/* Begin a flow if both policies allow it; fills t->decision and returns its reason. */
SUBPROGRAM int admit_new(struct trip *t)
{
	struct policy_question question = {&t->from, &t->to, t->packet.policy_port, t->packet.protocol};
	struct flow flow = {};

	policy_decide(&question, &t->decision);
	t->begins = 1;
	if (t->decision.reason)
		return t->decision.reason;
	if (t->packet.tcp_flags & TCP_RST) { /* the end of something unknown: let it pass, remember nothing */
		t->begins = 0;
		return VERDICT_FORWARDED;
	}
	flow.last_seen_ns = bpf_ktime_get_coarse_ns();
	flow.revision = t->revision;
	flow.rule[0] = t->decision.egress_rule;
	flow.rule[1] = t->decision.ingress_rule;
	flow.owner = t->from.pod.id ? t->from.pod.id : t->to.pod.id;
	flow.initiator = t->side;
	flow_set_ends(&flow, t);
	return flow_write(&t->key, &flow);
}

/* Decide a flow again because the policy's revision or one end has changed: as if its first packet came now. */
SUBPROGRAM int admit_again(struct trip *t, struct flow *flow)
{
	int reply = t->side != flow->initiator, cut = flow->state == FLOW_CUT, reason = 0;
	struct policy_question question = {
		reply ? &t->to : &t->from,
		reply ? &t->from : &t->to,
		flow_policy_port(&t->key, flow->initiator),
		t->packet.protocol,
	};

	policy_decide(&question, &t->decision);
	t->decision.flags |= EVENT_F_AGAIN | (reply ? EVENT_F_REPLY : 0);
	flow->rule[0] = t->decision.egress_rule;
	flow->rule[1] = t->decision.ingress_rule;
	if (t->decision.reason) {
		reason = VERDICT_POLICY_REVOKED;
		flow->state = FLOW_CUT;
		flow->cut_by = t->decision.flags & EVENT_F_INGRESS;
	} else {
		t->begins = cut;
		flow_set_ends(flow, t);
		if (cut)
			flow->state = FLOW_OPEN;
		t->ends = flow_follow(flow, &t->packet, t->side);
	}
	barrier(); /* the verdict first, then the revision that makes it count */
	flow->revision = t->revision;
	return reason;
}

/* Fills t->decision, and returns its reason, for a packet whose source is proven. t->key, t->side, t->from and t->to
 * are set. */
SUBPROGRAM int admit(struct trip *t)
{
	struct flow *flow = bpf_map_lookup_elem(&flows, &t->key);

	if (!flow || !flow_continues(flow, &t->packet, t->side))
		return admit_new(t);
	if (flow->state != FLOW_CUT || flow->revision != t->revision)
		return admit_again(t, flow);
	t->decision.egress_rule = flow->rule[0];
	t->decision.ingress_rule = flow->rule[1];
	t->decision.flags = EVENT_F_AGAIN | flow->cut_by | (t->side != flow->initiator ? EVENT_F_REPLY : 0);
	return VERDICT_POLICY_REVOKED;
}

/* An ICMP error passes if the packet it carries belongs to a live flow, came from whom it is sent to, and (from a pod)
 * was sent to that pod. Returns a verdict. */
SUBPROGRAM int admit_error(struct __sk_buff *skb, struct trip *t)
{
	struct packet inner = {.ethertype = t->packet.ethertype};
	__u32 at = t->packet.l4 + 8, size, side;
	struct flow_key key = {};
	struct icmp_header h; /* eight bytes of any transport header */
	struct flow *flow;

	if (t->packet.piece == PIECE_LATER)
		return VERDICT_FORWARDED; /* of an allowed first piece */
	if (inner.ethertype == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)))
			return VERDICT_TRUNCATED_HEADER;
		if (ip.version != 4 || ip.ihl < 5 || ip.frag_off & bpf_htons(IP_FRAGMENT_OFFSET))
			return VERDICT_UNKNOWN_FLOW_ERROR;
		inner.source = wide_v4(ip.saddr);
		inner.destination = wide_v4(ip.daddr);
		inner.protocol = ip.protocol;
		size = ip.ihl * 4;
	} else {
		struct ipv6hdr ip;

		size = sizeof(ip);
		if (bpf_skb_load_bytes(skb, at, &ip, sizeof(ip)))
			return VERDICT_TRUNCATED_HEADER;
		__builtin_memcpy(&inner.source, &ip.saddr, 16);
		__builtin_memcpy(&inner.destination, &ip.daddr, 16);
		inner.protocol = ip.nexthdr;
		if (inner.protocol == IPV6_FRAGMENT) { /* a datagram's first piece was too big */
			struct ipv6_extension piece;

			if (bpf_skb_load_bytes(skb, at + size, &piece, sizeof(piece)))
				return VERDICT_TRUNCATED_HEADER;
			if (piece.fragment & bpf_htons(IPV6_FRAGMENT_OFFSET))
				return VERDICT_UNKNOWN_FLOW_ERROR;
			inner.protocol = piece.next;
			size += sizeof(piece);
		}
	}
	if (bpf_skb_load_bytes(skb, at + size, &h, sizeof(h)))
		return VERDICT_TRUNCATED_HEADER;
	if (inner.protocol == IPPROTO_TCP || inner.protocol == IPPROTO_UDP || inner.protocol == IPPROTO_SCTP) {
		inner.source_port = ((__be16 *)&h)[0];
		inner.destination_port = ((__be16 *)&h)[1];
	} else if (inner.protocol == IPPROTO_ICMP || inner.protocol == IPPROTO_ICMPV6) {
		__u8 request = inner.protocol == IPPROTO_ICMP ? ICMP4_REQUEST : ICMP6_REQUEST;

		icmp_echo(&inner, h.id, h.type == request);
	}
	side = flow_key_of(&inner, &key);
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow || flow->state == FLOW_CUT || flow->revision != t->revision)
		return VERDICT_UNKNOWN_FLOW_ERROR;
	if (!addr_equal(&inner.source, &t->packet.destination) || flow->ifindex[side & 1] != t->to.pod.ifindex)
		return VERDICT_UNKNOWN_FLOW_ERROR;
	if (t->door == FROM_POD && !addr_equal(&inner.destination, &t->packet.source))
		return VERDICT_UNKNOWN_FLOW_ERROR;
	return VERDICT_FORWARDED;
}

#endif
