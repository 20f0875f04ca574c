/* The flow table: one entry for both directions of a conversation. */
#ifndef WEFT_FLOW_H
#define WEFT_FLOW_H

#include "base.h"
#include "maps.h"
#include "packet.h"

/* As Cilium's: how long an entry lives without a packet. */
#define FLOW_NEW_SECONDS         60
#define FLOW_TCP_OPEN_SECONDS    8000
#define FLOW_TCP_CLOSING_SECONDS 10
#define FLOW_OTHER_SECONDS       60

/* ---- keys ---- */

/* Fills the key (zeroed before); returns the side that sent the packet, 0 or 1. */
INLINE __u32 flow_key_of(const struct packet *p, struct flow_key *key)
{
	__u64 a = bpf_be64_to_cpu(p->source.d[0]), b = bpf_be64_to_cpu(p->destination.d[0]);

	if (a == b) {
		a = bpf_be64_to_cpu(p->source.d[1]);
		b = bpf_be64_to_cpu(p->destination.d[1]);
	}
	if (a == b) {
		a = bpf_ntohs(p->source_port);
		b = bpf_ntohs(p->destination_port);
	}
	key->protocol = p->protocol;
	if (a <= b) {
		key->address[0] = p->source;
		key->address[1] = p->destination;
		key->port[0] = p->source_port;
		key->port[1] = p->destination_port;
		return 0;
	}
	key->address[0] = p->destination;
	key->address[1] = p->source;
	key->port[0] = p->destination_port;
	key->port[1] = p->source_port;
	return 1;
}

/* What policy means by the port of a flow that side `initiator` began; the counterpart of packet.policy_port. */
INLINE __be16 flow_policy_port(const struct flow_key *key, __u32 initiator)
{
	__be16 mine = initiator ? key->port[1] : key->port[0], other = initiator ? key->port[0] : key->port[1];

	if (key->protocol != IPPROTO_ICMP && key->protocol != IPPROTO_ICMPV6)
		return other;
	if (mine && mine == other) /* not echo: both are type << 8 | code */
		return other;
	if (!mine && other) /* begun by a reply that nobody asked for: its type */
		return key->protocol == IPPROTO_ICMP ? 0 : 129;
	return key->protocol == IPPROTO_ICMP ? 8 : 128;
}

/* ---- the life of an entry ---- */

INLINE __u64 flow_lifetime_ns(__u8 protocol, __u8 state)
{
	if (state == FLOW_OPEN && protocol == IPPROTO_TCP)
		return FLOW_TCP_OPEN_SECONDS * NSEC_PER_SEC;
	if (state == FLOW_CLOSING)
		return FLOW_TCP_CLOSING_SECONDS * NSEC_PER_SEC;
	return (state == FLOW_NEW ? FLOW_NEW_SECONDS : FLOW_OTHER_SECONDS) * NSEC_PER_SEC;
}

INLINE int flow_expired(const struct flow *flow, __u8 protocol, __u64 now)
{
	__u64 seen = flow->last_seen_ns;

	/* Another CPU may have written a later time than the sweep's. */
	return now > seen && now - seen > flow_lifetime_ns(protocol, flow->state);
}

/* May the packet be the entry's conversation at all? Else it begins a new one under the same key. */
INLINE int flow_continues(const struct flow *flow, const struct packet *p, __u32 side)
{
	if (p->role == ROLE_ANY)
		return 1;
	if (p->role == ROLE_ANSWERS)
		return side != flow->initiator;
	return side == flow->initiator && flow->state < FLOW_CLOSING;
}

/* Follow a packet of a live flow; `now` as struct config has it. Returns 1 if it is the one that ends the flow. */
INLINE int flow_follow(struct flow *flow, const struct packet *p, __u32 side, __u64 now)
{
	if (now > flow->last_seen_ns) /* at most once for each tick: two CPUs would fight for the cache line */
		flow->last_seen_ns = now;
	if (flow->state == FLOW_NEW && side != flow->initiator)
		flow->state = FLOW_OPEN;
	if (!(p->tcp_flags & (TCP_FIN | TCP_RST)) || flow->state == FLOW_CLOSING)
		return 0;
	flow->closing |= p->tcp_flags & TCP_RST ? 3 : 1 << side;
	if (flow->closing != 3)
		return 0;
	flow->state = FLOW_CLOSING;
	return 1;
}

/* ---- quota ---- */

INLINE int flow_count_one(__u32 endpoint)
{
	struct flow_count *count = bpf_map_lookup_elem(&flow_count, &endpoint);

	if (!count)
		return VERDICT_ENDPOINT_NOT_READY;
	if (__sync_fetch_and_add(&count->live, 1) < count->limit)
		return VERDICT_FORWARDED;
	__sync_fetch_and_add(&count->live, -1);
	return VERDICT_FLOW_QUOTA;
}

INLINE void flow_uncount(__u32 endpoint)
{
	struct flow_count *count = bpf_map_lookup_elem(&flow_count, &endpoint);

	if (count && count->live) /* 0: the number has passed to a new pod since */
		__sync_fetch_and_add(&count->live, -1);
}

/* The entry under a key that a GLOBAL function was given: before 6.2 such memory is no map's key, so it is copied. */
SUBPROGRAM struct flow *flow_find(const struct flow_key *wanted)
{
	struct flow_key key = *wanted;

	return bpf_map_lookup_elem(&flows, &key);
}

/* Adds the entry, or replaces the conversation under the same key: that one's owner goes on paying for it. 0, or the
 * verdict that refuses it. */
SUBPROGRAM int flow_write(const struct flow_key *wanted, struct flow *flow)
{
	struct flow_turn turn = {.key = *wanted}; /* see flow_find() */
	struct flow_key *key = &turn.key;
	struct flow *before = bpf_map_lookup_elem(&flows, key);
	__u32 owner = flow->owner;
	int refused;

	if (before) {
		flow->owner = before->owner;
		if (!bpf_map_update_elem(&flows, key, flow, BPF_EXIST))
			return VERDICT_FORWARDED;
		flow->owner = owner; /* it expired meanwhile */
	}
	refused = flow_count_one(owner);
	if (refused)
		return refused;
	if (!bpf_map_update_elem(&flows, key, flow, BPF_NOEXIST)) {
		if (!bpf_map_push_elem(&flow_turns, &turn, 0))
			return VERDICT_FORWARDED;
		bpf_map_delete_elem(&flows, key); /* it would live for ever */
	}
	flow_uncount(owner);
	/* Either another CPU was first with the same flow, which is as good, or there is no room. */
	return bpf_map_lookup_elem(&flows, key) ? VERDICT_FORWARDED : VERDICT_FLOW_TABLE_FULL;
}

#endif
