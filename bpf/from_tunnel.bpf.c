/* Ingress of weft_vxlan: everything that other nodes send through the tunnel. It proves the sender; what is for a pod
 * goes on to to_pod like any other packet, for whatever is said inside the tunnel, identity is a matter of the address.
 */
#include "refuse.h"

#define PACKET_HOST 0

/* The two ends, no more: pieces of a packet come by here before to_pod has seen the first of them. 0 or a verdict. */
INLINE int ends_of(struct __sk_buff *skb, struct packet *p)
{
	struct frame *frame = header(skb, 0, sizeof(*frame));

	if (!frame)
		return VERDICT_TRUNCATED_HEADER;
	p->ethertype = frame->type;
	if (p->ethertype == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = header(skb, ETH_SIZE, sizeof(*ip));

		if (!ip)
			return VERDICT_TRUNCATED_HEADER;
		p->source = wide_v4(ip->saddr);
		p->destination = wide_v4(ip->daddr);
		p->protocol = ip->protocol;
	} else if (p->ethertype == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = header(skb, ETH_SIZE, sizeof(*ip));

		if (!ip)
			return VERDICT_TRUNCATED_HEADER;
		__builtin_memcpy(&p->source, &ip->saddr, sizeof(p->source));
		__builtin_memcpy(&p->destination, &ip->daddr, sizeof(p->destination));
		p->protocol = ip->nexthdr;
		if (is_v4(&p->source) || is_v4(&p->destination))
			return VERDICT_INVALID_PACKET;
	} else {
		return VERDICT_UNSUPPORTED_L2;
	}
	return VERDICT_FORWARDED;
}

/* Who sent the outer packet, as it says of itself; 0 if the packet is not one of ours. */
SUBPROGRAM int tunnel_sender(struct __sk_buff *skb, struct addr *sender)
{
	struct bpf_tunnel_key key = {};

	if (!bpf_skb_get_tunnel_key(skb, &key, sizeof(key), 0)) {
		*sender = wide_v4(bpf_htonl(key.remote_ipv4));
		return key.tunnel_id == TUNNEL_ID;
	}
	if (bpf_skb_get_tunnel_key(skb, &key, sizeof(key), BPF_F_TUNINFO_IPV6))
		return 0;
	__builtin_memcpy(sender, key.remote_ipv6, sizeof(*sender));
	return key.tunnel_id == TUNNEL_ID;
}

INLINE int in_range(const struct addr *address, const struct node *node, __u32 family)
{
	const struct addr *range = family ? &node->range[1] : &node->range[0];
	const struct addr *mask = family ? &node->mask[1] : &node->mask[0];

	return (address->d[0] & mask->d[0]) == range->d[0] && (address->d[1] & mask->d[1]) == range->d[1];
}

/* A node may send for itself and for its own pods, to us and to ours. 0 or the verdict that refuses the packet. */
INLINE int from_tunnel_ends(struct __sk_buff *skb, struct trip *t)
{
	const struct addr *source = &t->packet.source;
	struct addr sender = {};
	struct node *node;

	if (!tunnel_sender(skb, &sender))
		return VERDICT_FORGED_HOST_SOURCE;
	node = bpf_map_lookup_elem(&nodes, &sender);
	if (!node || (!in_range(source, node, !is_v4(source)) && !addr_equal(source, &sender)))
		return VERDICT_FORGED_HOST_SOURCE;
	if (!peer_find(&t->packet.destination, &t->to) && !(t->to.flags & IPCACHE_HOST))
		return VERDICT_UNKNOWN_TARGET;
	return VERDICT_FORWARDED;
}

SEC("tc")
int from_tunnel(struct __sk_buff *skb)
{
	struct trip t;

	trip_start(&t);
	trip_start_slowly(&t);
	t.door = TO_POD;
	t.device = skb->ifindex;
	t.decision.reason = ends_of(skb, &t.packet);
	if (!t.decision.reason)
		t.decision.reason = from_tunnel_ends(skb, &t);
	if (t.decision.reason)
		return refuse(skb, &t);
	bpf_skb_change_type(skb, PACKET_HOST); /* each node's device has a MAC of its own, and nobody asks for it */
	return TC_ACT_OK;
}

char LICENSE[] SEC("license") = "GPL";
