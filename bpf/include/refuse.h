/* The end of a packet that may not pass: counted, recorded, and a connection reset where that can be done exactly. */
#ifndef WEFT_REFUSE_H
#define WEFT_REFUSE_H

#include "reset.h"
#include "trip.h"

GLOBAL int refuse(struct __sk_buff *skb, struct trip *t)
{
	int by_policy, cut, told;
	__u8 reason;

	if (!t)
		return TC_ACT_SHOT;
	reason = t->decision.reason;
	by_policy =
		reason == VERDICT_POLICY_DENIED || reason == VERDICT_POLICY_DENY || reason == VERDICT_POLICY_REVOKED;
	cut = reason == VERDICT_POLICY_REVOKED || reason == VERDICT_PROXY_GONE;
	/* Envoy waits for its upstream, and a client for its Envoy: both are told at once. */
	told = by_policy || cut || t->from_proxy;

	count(reason, t->decision.flags & EVENT_F_INGRESS ? TO_POD : t->door, skb->len);
	if (!t->packet.quiet)
		trip_record(skb, t, by_policy ? EVENT_POLICY_VERDICT : EVENT_DROP);
	return told ? reset(skb, t, cut || t->to_proxy) : TC_ACT_SHOT;
}

#endif
