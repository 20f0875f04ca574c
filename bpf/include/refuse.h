/* The end of a packet that may not pass: counted, recorded, and a connection reset where that can be done exactly. */
#ifndef WEFT_REFUSE_H
#define WEFT_REFUSE_H

#include "reset.h"
#include "trip.h"

SUBPROGRAM int refuse(struct __sk_buff *skb, struct trip *t)
{
	__u8 reason = t->decision.reason;
	int by_policy =
		reason == VERDICT_POLICY_DENIED || reason == VERDICT_POLICY_DENY || reason == VERDICT_POLICY_REVOKED;

	count(reason, t->decision.flags & EVENT_F_INGRESS ? TO_POD : t->door, skb->len);
	if (!t->packet.quiet)
		trip_record(skb, t, by_policy ? EVENT_POLICY_VERDICT : EVENT_DROP);
	return by_policy ? reset(skb, t, reason == VERDICT_POLICY_REVOKED) : TC_ACT_SHOT;
}

#endif
