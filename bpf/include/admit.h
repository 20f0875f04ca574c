/* The slow path of all doors, once a packet's two ends are known: begin a flow, or decide one again. */
#ifndef WEFT_ADMIT_H
#define WEFT_ADMIT_H

#include "parse.h"
#include "proxy.h"
#include "trip.h"

/* Writes into a flow what is known of its two ends. An end in Envoy is at Envoy's device, not at its pod's. */
INLINE void flow_set_ends(struct flow *flow, const struct trip *t)
{
	const struct peer *a = t->side ? &t->to : &t->from, *b = t->side ? &t->from : &t->to;

	flow->ifindex[0] = flow->proxy & 1 ? t->proxy_ifindex : a->pod.ifindex;
	flow->ifindex[1] = flow->proxy & 2 ? t->proxy_ifindex : b->pod.ifindex;
	flow->tunnel = t->tunnel ? !!(a->flags & IPCACHE_REMOTE) | !!(b->flags & IPCACHE_REMOTE) << 1 : 0;
	flow->identity[0] = a->pod.identity;
	flow->identity[1] = b->pod.identity;
	mac_copy((struct mac *)flow->mac[0], flow->proxy & 1 ? &proxy_mac : (const struct mac *)a->pod.mac);
	mac_copy((struct mac *)flow->mac[1], flow->proxy & 2 ? &proxy_mac : (const struct mac *)b->pod.mac);
}

/* Enter what t->decision allows as a flow that side `initiator` began. */
GLOBAL int admit_flow(struct trip *t, __u32 initiator)
{
	struct flow flow = {};

	if (!t)
		return VERDICT_INVALID_PACKET;
	flow.last_seen_ns = bpf_ktime_get_coarse_ns();
	flow.revision = t->revision;
	flow.rule[0] = t->decision.egress_rule;
	flow.rule[1] = t->decision.ingress_rule;
	flow.owner = t->from.pod.id ? t->from.pod.id : t->to.pod.id;
	flow.initiator = initiator & 1;
	flow.state = initiator == t->side ? FLOW_NEW : FLOW_OPEN;
	flow.proxy = t->from_proxy << (t->side & 1) | t->to_proxy << ((t->side & 1) ^ 1);
	flow.l7 = t->decision.l7;
	flow.next = t->decision.next;
	flow.phase = t->phase;
	flow_set_ends(&flow, t);
	return flow_write(&t->key, &flow);
}

/* A segment of a connection that Envoy has and the flow table has not, because it is older than the table. `mark` is
 * that of Envoy's socket. */
INLINE int admit_known(struct trip *t, __u32 mark)
{
	__u32 reply = mark != MARK_PROXY_ANSWER; /* Envoy began it, so this comes from its server */
	int reason;

	t->to_proxy = 1;
	if (t->packet.tcp_flags & TCP_RST)
		return VERDICT_FORWARDED;
	t->begins = 1;
	t->phase = phase_of_mark(mark);
	reason = leg_decide(t, reply, reply ? t->packet.source_port : t->packet.destination_port, t->phase);
	t->decision.flags |= reply ? EVENT_F_REPLY : 0;
	if (reason)
		return reason;
	if (t->decision.l7) /* which listener's it is can't be known any more */
		return VERDICT_POLICY_REVOKED;
	return admit_flow(t, t->side ^ reply);
}

/* Begin a flow if both policies allow it; fills t->decision and returns its reason. */
INLINE int admit_new(struct __sk_buff *skb, struct trip *t)
{
	int reason;

	if (t->packet.protocol == IPPROTO_TCP && t->packet.role != ROLE_OPENS && !t->from_proxy) {
		__u32 mark = proxy_socket_mark(skb, t, 0);

		if (mark)
			return admit_known(t, mark);
	}
	if (t->from_proxy) {
		t->phase = phase_of_mark(proxy_socket_mark(skb, t, 1));
		if (!t->phase) /* an answer to nobody */
			return VERDICT_PROXY_STRAY;
	}
	reason = leg_decide(t, 0, t->packet.policy_port, t->phase);
	t->begins = 1;
	if (reason)
		return reason;
	if (t->decision.l7) {
		if (t->packet.role != ROLE_OPENS) { /* opened before the rule */
			t->packet.quiet = !!(t->packet.tcp_flags & TCP_RST);
			return VERDICT_POLICY_REVOKED;
		}
		if (!t->proxy_ifindex || !proxy_listens(&t->packet, t->decision.l7))
			return VERDICT_PROXY_GONE;
		t->to_proxy = 1;
	}
	if (t->packet.tcp_flags & TCP_RST) { /* the end of something unknown: let it pass, remember nothing */
		t->begins = 0;
		return VERDICT_FORWARDED;
	}
	return admit_flow(t, t->side);
}

/* Decide a flow again because the policy's revision or one end has changed: as if its first packet came now. */
SUBPROGRAM int admit_again(struct trip *t, struct flow *flow)
{
	int reply = t->side != flow->initiator, cut = flow->state == FLOW_CUT, reason = 0;

	leg_decide(t, reply, flow_policy_port(&t->key, flow->initiator), flow->phase);
	if (!t->decision.reason && t->decision.l7 && t->decision.l7 != flow->l7) {
		t->decision.reason = VERDICT_POLICY_REVOKED; /* opened before the rule, or under another one */
		t->decision.flags |= t->decision.next == PHASE_INGRESS ? EVENT_F_INGRESS : 0;
	}
	if (cut && flow->cut_why) { /* its ends in Envoy are gone, whatever policy says now */
		flow->revision = t->revision;
		return flow->cut_why;
	}
	t->decision.next = flow->next;
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
		t->ends = flow_follow(flow, &t->packet, t->side, t->now_ns);
	}
	barrier(); /* the verdict first, then the revision that makes it count */
	flow->revision = t->revision;
	return reason;
}

/* Fills t->decision, and returns its reason, for a packet whose source is proven. t->key, t->side, t->from and t->to
 * are set. */
GLOBAL int admit(struct __sk_buff *skb, struct trip *t)
{
	struct flow *flow;
	__u32 me;

	if (!t)
		return VERDICT_INVALID_PACKET;
	me = t->side & 1;
	flow = flow_find(&t->key);

	/* Where Envoy speaks in a pod's name, nobody else may, nor the other way round; unless that is over. */
	if (flow && (flow->proxy >> me & 1) != t->from_proxy &&
	    !(t->packet.role == ROLE_OPENS && flow->state >= FLOW_CLOSING))
		return VERDICT_PROXY_PORT_TAKEN;
	if (!flow || !flow_continues(flow, &t->packet, t->side))
		return admit_new(skb, t);
	t->to_proxy = flow->proxy >> (me ^ 1) & 1;
	if (t->to_proxy && !t->proxy_ifindex)
		return VERDICT_PROXY_GONE;
	/* What is about to be cut, or is, may be over in Envoy already: then nobody but this reset tells its client. */
	if (t->from_proxy && t->packet.tcp_flags & TCP_RST && !t->packet.payload) {
		if (flow->state != FLOW_CUT)
			flow->state = FLOW_CLOSING;
		return VERDICT_FORWARDED;
	}
	if (flow->state != FLOW_CUT || flow->revision != t->revision)
		return admit_again(t, flow);
	t->decision.egress_rule = flow->rule[0];
	t->decision.ingress_rule = flow->rule[1];
	t->decision.flags = EVENT_F_AGAIN | flow->cut_by | (t->side != flow->initiator ? EVENT_F_REPLY : 0);
	return flow->cut_why ? flow->cut_why : VERDICT_POLICY_REVOKED;
}

/* An ICMP error passes if the packet it carries belongs to a live flow, came from whom it is sent to, and (from a pod)
 * was sent to that pod. Returns a verdict. */
GLOBAL int admit_error(struct __sk_buff *skb, struct trip *t)
{
	struct packet inner = {};
	__u32 at, size, side;
	struct flow_key key = {};
	struct icmp_header h; /* eight bytes of any transport header */
	struct flow *flow;

	if (!t)
		return VERDICT_INVALID_PACKET;
	at = t->packet.l4 + 8;
	inner.ethertype = t->packet.ethertype;
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
	t->to_proxy = flow->proxy >> (side & 1) & 1;
	if (!addr_equal(&inner.source, &t->packet.destination) ||
	    (!t->to_proxy && flow->ifindex[side & 1] != t->to.pod.ifindex))
		return VERDICT_UNKNOWN_FLOW_ERROR;
	/* A pod speaks about packets that it got, not about those that Envoy got in its name. */
	if (t->door == FROM_POD &&
	    (!addr_equal(&inner.destination, &t->packet.source) || flow->proxy >> ((side & 1) ^ 1) & 1))
		return VERDICT_UNKNOWN_FLOW_ERROR;
	return VERDICT_FORWARDED;
}

#endif
