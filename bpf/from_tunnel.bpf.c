/* Ingress of weft_vxlan: everything that other nodes send through the tunnel. It proves the sender; what is for a pod
 * goes on to to_pod like any other packet, for whatever is said inside the tunnel, identity is a matter of the address.
 */
#include "fast.h"
#include "parse.h"
#include "refuse.h"

#define PACKET_HOST 0

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

/* A node may send for itself and for its own pods. */
INLINE int is_senders_own(struct __sk_buff *skb, const struct addr *source)
{
	struct addr sender = {};
	struct node *node;

	if (!tunnel_sender(skb, &sender))
		return 0;
	node = bpf_map_lookup_elem(&nodes, &sender);
	return node && (in_range(source, node, !is_v4(source)) || addr_equal(source, &sender));
}

/* The flow that decides about the packet, if nobody but the two pods has a part in it. */
INLINE struct flow *flow_of_pods(struct trip *t)
{
	struct flow *flow;
	__u32 me;

	if (t->packet.icmp_error || t->packet.piece != PIECE_WHOLE)
		return 0;
	t->side = flow_key_of(&t->packet, &t->key);
	me = t->side & 1;
	flow = bpf_map_lookup_elem(&flows, &t->key);
	if (!flow || flow->proxy || !flow_decides(flow, t) || !(flow->tunnel >> me & 1) || !flow->ifindex[me ^ 1])
		return 0;
	return flow;
}

/* Straight into the pod's namespace: here that can be done, unlike at weft_host. */
INLINE int deliver_to_peer(struct __sk_buff *skb, struct trip *t, struct flow *flow)
{
	__u32 other = (t->side & 1) ^ 1;

	if (flow_follow(flow, &t->packet, t->side, t->now_ns))
		flow_ended(skb, t, flow);
	count(VERDICT_FORWARDED, TO_POD, skb->len);
	return send(skb, FROM_POD, flow->ifindex[other], (const struct mac *)flow->mac[other]);
}

SUBPROGRAM int from_tunnel_slow(struct __sk_buff *skb, struct trip *t)
{
	trip_start_slowly(t);
	if (!t->decision.reason && !peer_find(&t->packet.destination, &t->to) && !(t->to.flags & IPCACHE_HOST))
		t->decision.reason = VERDICT_UNKNOWN_TARGET;
	return t->decision.reason ? refuse(skb, t) : TC_ACT_OK;
}

SEC("tc")
int from_tunnel(struct __sk_buff *skb)
{
	struct trip t;
	struct flow *flow = 0;
	int unclear;

	trip_start(&t);
	t.door = TO_POD;
	t.device = skb->ifindex;
	trip_date(&t);
	unclear = parse(skb, &t.packet); /* a later piece is, before to_pod has seen the first one */
	if (!is_senders_own(skb, &t.packet.source))
		t.decision.reason = VERDICT_FORGED_HOST_SOURCE;
	else if (!unclear)
		flow = flow_of_pods(&t);
	bpf_skb_change_type(skb, PACKET_HOST); /* each node's device has a MAC of its own, and nobody asks for it */
	return flow ? deliver_to_peer(skb, &t, flow) : from_tunnel_slow(skb, &t);
}

char LICENSE[] SEC("license") = "GPL";
