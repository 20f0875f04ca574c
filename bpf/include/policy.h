/* Who may talk to whom: values in, a decision out. The same code answers for packets and for the `query` program. */
#ifndef WEFT_POLICY_H
#define WEFT_POLICY_H

#include "base.h"
#include "maps.h"

#define IDENTITY_HOST  1
#define IDENTITY_WORLD 2

/* One end of a conversation. For what is not a local pod, only `pod.identity` and `pod.class` are set. */
struct peer {
	struct endpoint pod; /* a copy: the map's entry may be replaced at any time */
	__u32 flags;         /* IPCACHE_* */
	__u32 pad;
};

struct decision {
	__u32 egress_rule;
	__u32 ingress_rule;
	__u16 flags; /* EVENT_F_INGRESS, EVENT_F_*_ENFORCED */
	__u8 reason; /* VERDICT_* */
	__u8 next;   /* PHASE_*: what `l7` is for */
	__u16 egress_l7;
	__u16 ingress_l7;
	__u16 l7; /* the listener that this leg has to pass; 0 = none */
	__u16 pad;
};

/* Who has an address; 1 if it is a pod of this node. */
SUBPROGRAM int peer_find(const struct addr *address, struct peer *peer)
{
	struct endpoint *pod = bpf_map_lookup_elem(&endpoints, address);
	struct ipcache_key key = {.prefixlen = IPCACHE_PAD_BITS + 128, .address = *address};
	struct ipcache_entry *entry;

	__builtin_memset(peer, 0, sizeof(*peer));
	if (pod) {
		peer->pod = *pod;
		return 1;
	}
	peer->pod.identity = IDENTITY_WORLD;
	entry = bpf_map_lookup_elem(&ipcache, &key);
	if (entry) {
		peer->pod.identity = entry->identity;
		peer->pod.class = entry->class;
		peer->flags = entry->flags;
	}
	return 0;
}

struct policy_side {
	__u32 table; /* of the pod that is asked */
	__u32 class; /* of its peer */
	__be16 port;
	__u8 protocol;
	__u8 pad;
};

struct policy_answer {
	__u32 rule; /* that gave it */
	__u16 l7;   /* listener that has to see the requests */
	__u16 pad;
};

/* One pod's answer. */
SUBPROGRAM int policy_lookup(const struct policy_side *side, struct policy_answer *answer)
{
	struct policy_key key = {
		.prefixlen = 88,
		.table = bpf_htonl(side->table),
		.class = bpf_htonl(side->class),
		.protocol = side->protocol,
		.port = {side->port & 0xff, side->port >> 8},
	};
	struct policy_entry *entry;

	answer->rule = 0;
	answer->l7 = 0;
	if (side->table == TABLE_OPEN)
		return VERDICT_FORWARDED;
	entry = bpf_map_lookup_elem(&policy, &key);
	if (entry && entry->flags & POLICY_F_OTHER && side->class != CLASS_OTHER) {
		key.class = CLASS_OTHER;
		entry = bpf_map_lookup_elem(&policy, &key);
	}
	if (!entry) /* not even the default: the table is not written yet */
		return VERDICT_ENDPOINT_NOT_READY;
	answer->rule = entry->rule;
	if (entry->action == POLICY_ALLOW) {
		/* Envoy sees TCP only; what it cannot see is not what the rule allows. */
		if (entry->l7 && side->protocol != IPPROTO_TCP)
			return VERDICT_POLICY_DENIED;
		answer->l7 = entry->l7;
		return VERDICT_FORWARDED;
	}
	return entry->action == POLICY_DENY ? VERDICT_POLICY_DENY : VERDICT_POLICY_DENIED;
}

/* Destinations that no pod may send to, whatever policy says. */
INLINE int destination_refused(const struct addr *to)
{
	__u32 v4 = bpf_ntohl(v4_of(to));

	if (is_proxy_v6(to)) /* the IPv4 one is in 127.0.0.0/8 */
		return VERDICT_INVALID_PACKET;
	if (is_v4(to)) {
		if (v4 >> 28 == 0xe || v4 == 0xffffffff) /* 224.0.0.0/4, 255.255.255.255 */
			return VERDICT_MULTICAST;
		return v4 >> 24 == 127 || v4 >> 24 == 0 ? VERDICT_INVALID_PACKET : VERDICT_FORWARDED;
	}
	if ((to->d[0] & 0xff) == 0xff) /* ff00::/8 */
		return VERDICT_MULTICAST;
	return to->d[0] == 0 && bpf_be64_to_cpu(to->d[1]) <= 1 ? VERDICT_INVALID_PACKET
							       : VERDICT_FORWARDED; /* ::, ::1 */
}

/* Addresses that nothing may go to, whatever policy says. */
INLINE int target_refused(const struct peer *to)
{
	return to->flags & IPCACHE_UNASSIGNED ? VERDICT_UNKNOWN_TARGET : VERDICT_FORWARDED;
}

struct policy_question {
	const struct peer *from;
	const struct peer *to;
	__be16 port; /* destination port, or ICMP type << 8 | code */
	__u8 protocol;
};

/* Both pods' policies in one go: the sender's egress, then the receiver's ingress. `decision` is zeroed before. */
INLINE void policy_decide(const struct policy_question *question, struct decision *decision)
{
	const struct peer *from = question->from, *to = question->to;
	struct policy_side side = {.port = question->port, .protocol = question->protocol};
	struct policy_answer answer;

	if (from->pod.id) {
		side.table = from->pod.egress_table;
		side.class = to->pod.class;
		decision->flags |= side.table != TABLE_OPEN ? EVENT_F_EGRESS_ENFORCED : 0;
		decision->reason = policy_lookup(&side, &answer);
		decision->egress_rule = answer.rule;
		decision->egress_l7 = answer.l7;
		if (decision->reason)
			return;
	}
	if (to->pod.id && !(from->flags & IPCACHE_HOST)) { /* the node may always reach its own pods */
		side.table = to->pod.ingress_table;
		side.class = from->pod.class;
		decision->flags |= side.table != TABLE_OPEN ? EVENT_F_INGRESS_ENFORCED : 0;
		decision->reason = policy_lookup(&side, &answer);
		decision->ingress_rule = answer.rule;
		decision->ingress_l7 = answer.l7;
		decision->flags |= decision->reason ? EVENT_F_INGRESS : 0;
	}
}

#endif
