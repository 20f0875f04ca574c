/* Only a packet's first piece has ports. It is decided like any packet and remembered if allowed; later pieces follow.
 */
#ifndef WEFT_FRAGMENTS_H
#define WEFT_FRAGMENTS_H

#include "base.h"
#include "maps.h"
#include "packet.h"

INLINE struct fragment_key fragment_key_of(const struct packet *p)
{
	return (struct fragment_key){
		.source = p->source,
		.destination = p->destination,
		.id = p->fragment_id,
		.protocol = is_v4(&p->source) ? p->protocol : 0,
	};
}

/* Remember an allowed first piece. A lost entry only loses the packet's later pieces. */
SUBPROGRAM void fragment_remember(const struct packet *p)
{
	struct fragment_key key = fragment_key_of(p);
	struct fragment first = {
		.source_port = p->source_port,
		.destination_port = p->destination_port,
		.policy_port = p->policy_port,
		.length = p->piece_length,
		.protocol = p->protocol,
		.role = p->role,
		.icmp_error = p->icmp_error,
	};

	bpf_map_update_elem(&fragments, &key, &first, BPF_ANY);
}

/* Give a later piece the ports of its first one. `offset`: where the piece begins, in bytes; anything that would
 * overwrite what was decided upon is refused (RFC 1858, RFC 5722). */
SUBPROGRAM int fragment_follow(struct packet *p, __u32 offset)
{
	struct fragment_key key = fragment_key_of(p);
	struct fragment *first = bpf_map_lookup_elem(&fragments, &key);

	if (!first)
		return VERDICT_FRAGMENT_NOT_FOUND;
	if (offset < first->length)
		return VERDICT_INVALID_FRAGMENT;
	p->source_port = first->source_port;
	p->destination_port = first->destination_port;
	p->policy_port = first->policy_port;
	p->protocol = first->protocol;
	p->role = first->role;
	p->icmp_error = first->icmp_error;
	return VERDICT_FORWARDED;
}

#endif
