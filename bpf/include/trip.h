/* A packet that the flow table alone could not decide, and what is known of it. */
#ifndef WEFT_TRIP_H
#define WEFT_TRIP_H

#include "event.h"
#include "flow.h"
#include "packet.h"
#include "policy.h"

struct trip {
	struct packet packet;
	struct flow_key key;
	struct decision decision;
	__u64 now_ns; /* as struct config has it */
	__u32 side;   /* of the flow key: the sender's, 0 or 1 */
	__u32 revision;
	__u32 tunnel;        /* as struct config has it */
	__u32 device;        /* it came in by; 0 = made by this node */
	__u32 proxy_ifindex; /* struct config's */
	__u32 proxy_netns;
	__u8 begins;     /* 1: first packet of a flow, or one whose verdict changed: worth a record */
	__u8 ends;       /* 1: last packet of a flow that was decided again */
	__u8 from_proxy; /* 1: from a socket of this node's Envoy */
	__u8 to_proxy;   /* 1: to one */
	__u8 phase;      /* PHASE_*, by the mark of Envoy's socket */
	__u8 door;
	__u8 pad[2];
	/* From here on unset on the fast path, which has no use for it. */
	struct peer from; /* who sent this packet */
	struct peer to;
};
/* It lies on the stack of every entry point, and Linux 6.1 gives a chain of calls 512 bytes in all, of which the
 * functions below these need the rest. */
_Static_assert(sizeof(struct trip) <= 288, "trip");

INLINE void trip_start(struct trip *t)
{
	__builtin_memset(t, 0, __builtin_offsetof(struct trip, from));
}

INLINE void trip_start_slowly(struct trip *t)
{
	__builtin_memset(&t->from, 0, sizeof(t->from) + sizeof(t->to));
}

/* The device behind which the packet's receiver is: a pod, Envoy, or 0 for the stack. */
INLINE __u32 trip_ifindex(const struct trip *t)
{
	return t->to_proxy ? t->proxy_ifindex : t->to.pod.ifindex;
}

INLINE const struct mac *trip_mac(const struct trip *t)
{
	return t->to_proxy ? &proxy_mac : (const struct mac *)t->to.pod.mac;
}

/* A record of the trip as it stands. */
SUBPROGRAM void trip_record(struct __sk_buff *skb, const struct trip *t, __u8 type)
{
	struct record record = {
		.source_identity = t->from.pod.identity,
		.destination_identity = t->to.pod.identity,
		.source_endpoint = t->from.pod.id,
		.destination_endpoint = t->to.pod.id,
		.egress_rule = t->decision.egress_rule,
		.ingress_rule = t->decision.ingress_rule,
		.revision = t->revision,
		.length = skb->len,
		.ifindex = t->device,
		.flags = t->decision.flags | (t->to_proxy ? EVENT_F_PROXIED : 0) |
			 (t->from_proxy ? EVENT_F_FROM_PROXY : 0),
		.type = type,
		.reason = t->decision.reason,
	};

	if (t->decision.reason && !fold(&t->packet, &record))
		return;
	record_write(&t->packet, &record);
}

#endif
