/* An established packet: one lookup. */
#ifndef WEFT_FAST_H
#define WEFT_FAST_H

#include "deliver.h"
#include "fragments.h"
#include "trip.h"

INLINE __u32 current_revision(void)
{
	__u32 zero = 0;
	struct config *now = bpf_map_lookup_elem(&config, &zero);

	return now ? now->revision : 0;
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

/* Pass a packet on as its flow says. */
INLINE int flow_pass(struct __sk_buff *skb, struct trip *t, struct flow *flow)
{
	__u32 other = (t->side & 1) ^ 1;

	if (flow_follow(flow, &t->packet, t->side))
		flow_ended(skb, t, flow);
	if (t->packet.piece == PIECE_FIRST)
		fragment_remember(&t->packet);
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
	return deliver(skb, t->door, t->to.pod.ifindex, (const struct mac *)t->to.pod.mac);
}

#endif
