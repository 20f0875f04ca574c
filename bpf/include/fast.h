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
		t->proxy_ifindex = now->proxy_ifindex;
		t->proxy_netns = now->proxy_netns;
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

/* Whether a packet at weft_host came in by a device that its flow's side may come by. */
INLINE int flow_device_fits(const struct flow *flow, const struct trip *t)
{
	__u32 me = t->side & 1;

	if (flow->identity[me] == IDENTITY_HOST && t->device)
		return 0;
	return !(flow->tunnel >> me & 1) || t->device == t->tunnel;
}

/* Pass a packet on as its flow says. */
INLINE int flow_pass(struct __sk_buff *skb, struct trip *t, struct flow *flow)
{
	__u32 other = (t->side & 1) ^ 1;

	if (flow_follow(flow, &t->packet, t->side, t->now_ns))
		flow_ended(skb, t, flow);
	if (t->packet.piece == PIECE_FIRST)
		fragment_remember(&t->packet);
	if (flow->proxy >> other & 1)
		proxy_count(flow->next, 0, skb->len);
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
	if (t->to_proxy)
		proxy_count(t->decision.next, t->begins, skb->len);
	return deliver(skb, t->door, trip_ifindex(t), trip_mac(t));
}

#endif
