/* An established packet: one lookup. */
#ifndef WEFT_FAST_H
#define WEFT_FAST_H

#include "deliver.h"
#include "fragments.h"
#include "proxy.h"
#include "trip.h"

/* What is read once for a packet. */
INLINE void trip_date(struct trip *t)
{
	__u32 zero = 0;
	struct config *now = bpf_map_lookup_elem(&config, &zero);

	if (now) {
		t->revision = now->revision;
		t->tunnel = now->tunnel;
		t->now_ns = now->now_ns;
	}
}

/* Is the packet's verdict the one its flow entry carries? */
INLINE int flow_decides(const struct flow *flow, const struct trip *t)
{
	return flow->revision == t->revision && flow->state != FLOW_CUT && flow_continues(flow, &t->packet, t->side);
}

/* The record of a flow's end. */
SUBPROGRAM void flow_ended(struct __sk_buff *skb, struct trip *t, const struct flow *flow)
{
	peer_find(&t->packet.source, &t->from);
	peer_find(&t->packet.destination, &t->to);
	t->decision.egress_rule = flow->rule[0];
	t->decision.ingress_rule = flow->rule[1];
	t->decision.flags = t->side != flow->initiator ? EVENT_F_REPLY : 0;
	trip_record(skb, t, EVENT_TRACE);
}

/* Where Envoy connects to an address of the node itself, its segments go over lo, and only the answers come by: then
 * their FIN is the only one that is seen. */
INLINE int flow_half_seen(const struct flow *flow)
{
	return flow->proxy == 1 << (flow->initiator & 1) && !flow->ifindex[0] && !flow->ifindex[1] &&
	       flow->identity[(flow->initiator & 1) ^ 1] == IDENTITY_HOST;
}

/* The rest of flow_pass() for a flow with an end in Envoy. */
SUBPROGRAM int flow_pass_proxied(struct __sk_buff *skb, struct trip *t, struct flow *flow)
{
	__u32 other = (t->side & 1) ^ 1;
	struct proxy_way way = {.ifindex = flow->ifindex[other], .next = flow->next};

	if (t->packet.tcp_flags & TCP_FIN && flow_half_seen(flow))
		flow->state = FLOW_CLOSING;
	t->from_proxy = flow->proxy >> (other ^ 1) & 1;
	t->to_proxy = flow->proxy >> other & 1;
	mac_copy(&way.mac, (const struct mac *)flow->mac[other]);
	return proxy_deliver(skb, t, &way);
}

/* Whether a packet at weft_host came in by a device that its flow's side may come by. */
INLINE int flow_device_fits(const struct flow *flow, const struct trip *t)
{
	__u32 me = t->side & 1;

	if (flow->identity[me] == IDENTITY_HOST && t->device)
		return 0;
	return !(flow->tunnel >> me & 1) || t->device == t->tunnel;
}

/* Whether a packet at weft_host comes from where its flow's side is. */
INLINE int flow_side_proven(const struct __sk_buff *skb, const struct flow *flow, const struct trip *t)
{
	__u32 me = t->side & 1;

	if (flow->proxy >> me & 1)
		return is_from_proxy(skb);
	return !flow->ifindex[me] && flow_device_fits(flow, t) && !is_from_proxy(skb);
}

/* Pass a packet on as its flow says. */
INLINE int flow_pass(struct __sk_buff *skb, struct trip *t, struct flow *flow)
{
	__u32 other = (t->side & 1) ^ 1;

	if (flow_follow(flow, &t->packet, t->side, t->now_ns))
		flow_ended(skb, t, flow);
	if (t->packet.piece == PIECE_FIRST)
		fragment_remember(&t->packet);
	if (flow->proxy)
		return flow_pass_proxied(skb, t, flow);
	return deliver(skb, t->door, flow->ifindex[other], (const struct mac *)flow->mac[other]);
}

/* Pass on a packet that was decided the slow way. */
INLINE int slow_pass(struct __sk_buff *skb, struct trip *t)
{
	if (t->begins)
		trip_record(skb, t, EVENT_POLICY_VERDICT);
	if (t->ends)
		trip_record(skb, t, EVENT_TRACE);
	if (t->packet.piece == PIECE_FIRST)
		fragment_remember(&t->packet);
	if (t->to_proxy | t->from_proxy) {
		struct proxy_way way = {
			.ifindex = t->to.pod.ifindex,
			.next = t->decision.next,
			.begins = t->begins,
		};

		mac_copy(&way.mac, (const struct mac *)t->to.pod.mac);
		return proxy_deliver(skb, t, &way);
	}
	return deliver(skb, t->door, t->to.pod.ifindex, (const struct mac *)t->to.pod.mac);
}

#endif
