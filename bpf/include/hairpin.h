/* A routed service can lead back to the pod that dialled it. No stack takes in packets with its own address as their
 * source, and none sends an answer to itself out; so to that pod Envoy is the gateway, which nobody else speaks as.
 * Only the packets between the two say so: flows, policy and records know the pod's address. */
#ifndef WEFT_HAIRPIN_H
#define WEFT_HAIRPIN_H

#include "flow.h"
#include "trip.h"

#define GATEWAY_V4      0xa9fe0101            /* 169.254.1.1 */
#define GATEWAY_V6_HIGH 0xfe80000000000000ULL /* fe80::1 */
#define GATEWAY_V6_LOW  1

INLINE struct addr gateway_of(const struct addr *pod)
{
	if (is_v4(pod))
		return wide_v4(bpf_htonl(GATEWAY_V4));
	return (struct addr){{bpf_cpu_to_be64(GATEWAY_V6_HIGH), bpf_cpu_to_be64(GATEWAY_V6_LOW)}};
}

/* Write another source or destination into a TCP segment. */
SUBPROGRAM int readdress(struct __sk_buff *skb, const struct packet *p, int destination, const struct addr *before,
			 const struct addr *after)
{
	__u32 checksum = p->l4 + 16;
	long error;

	if (is_v4(before)) {
		__be32 old = v4_of(before), new = v4_of(after);

		error = bpf_l4_csum_replace(skb, checksum, old, new, BPF_F_PSEUDO_HDR | sizeof(new));
		error |= bpf_l3_csum_replace(skb, ETH_SIZE + 10, old, new, sizeof(new));
		error |= bpf_skb_store_bytes(skb, ETH_SIZE + (destination ? 16 : 12), &new, sizeof(new), 0);
	} else {
		struct addr old = *before, new = *after;
		__s64 change = bpf_csum_diff((__be32 *)&old, sizeof(old), (__be32 *)&new, sizeof(new), 0);

		error = bpf_l4_csum_replace(skb, checksum, 0, change, BPF_F_PSEUDO_HDR);
		error |= bpf_skb_store_bytes(skb, ETH_SIZE + (destination ? 24 : 8), &new, sizeof(new), 0);
	}
	return error ? VERDICT_WRITE_ERROR : VERDICT_FORWARDED;
}

/* Is the packet between Envoy and a pod that dialled itself? */
INLINE int is_hairpin(const struct packet *p)
{
	return addr_equal(&p->source, &p->destination);
}

/* What Envoy sends to such a pod comes from its gateway. */
INLINE int hairpin_out(struct __sk_buff *skb, const struct packet *p)
{
	struct addr gateway = gateway_of(&p->source);

	return readdress(skb, p, 0, &p->source, &gateway);
}

/* Whether a pod's packet to its gateway is such an answer: then the trip goes to the pod's own address. The packet
 * does so after hairpin_back() only, so that it can be answered before. */
SUBPROGRAM int hairpin_answers(struct trip *t)
{
	struct packet *p = &t->packet;
	struct addr gateway = gateway_of(&p->source);
	struct flow_key key = {};
	struct flow *flow;
	__u32 side;

	if (p->protocol != IPPROTO_TCP || !addr_equal(&p->destination, &gateway))
		return 0;
	p->destination = p->source;
	side = flow_key_of(p, &key);
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow || !(flow->proxy >> ((side & 1) ^ 1) & 1)) {
		p->destination = gateway;
		return 0;
	}
	t->key = key;
	t->side = side;
	return 1;
}

INLINE int hairpin_back(struct __sk_buff *skb, const struct packet *p)
{
	struct addr gateway = gateway_of(&p->source);

	return readdress(skb, p, 1, &gateway, &p->source);
}

#endif
