/* Cutting a connection so that its ends notice: RSTs made from the segment that is refused, with exact numbers. */
#ifndef WEFT_RESET_H
#define WEFT_RESET_H

#include "deliver.h"
#include "parse.h"
#include "trip.h"

#define TCP_SEQ      4
#define TCP_ACK_SEQ  8
#define TCP_FLAGS    12 /* data offset and flags */
#define TCP_CHECKSUM 16
#define OFFSET_MASK  0x00f0 /* of the 16 bits at TCP_FLAGS, as loaded */

/* Exchange a frame's two ends: MACs, addresses, ports. That changes no checksum. */
SUBPROGRAM int swap_ends(struct __sk_buff *skb, const struct packet *p)
{
	struct mac macs[2], mac;
	__be16 ports[2], port;
	long error;

	error = bpf_skb_load_bytes(skb, 0, macs, sizeof(macs));
	mac = macs[0], macs[0] = macs[1], macs[1] = mac;
	error |= bpf_skb_store_bytes(skb, 0, macs, sizeof(macs), 0);
	error |= bpf_skb_load_bytes(skb, p->l4, ports, sizeof(ports));
	port = ports[0], ports[0] = ports[1], ports[1] = port;
	error |= bpf_skb_store_bytes(skb, p->l4, ports, sizeof(ports), 0);
	if (p->ethertype == bpf_htons(ETH_P_IP)) {
		__be32 ip[2], one;

		error |= bpf_skb_load_bytes(skb, ETH_SIZE + 12, ip, sizeof(ip));
		one = ip[0], ip[0] = ip[1], ip[1] = one;
		error |= bpf_skb_store_bytes(skb, ETH_SIZE + 12, ip, sizeof(ip), 0);
	} else {
		struct addr ip[2], one;

		error |= bpf_skb_load_bytes(skb, ETH_SIZE + 8, ip, sizeof(ip));
		one = ip[0], ip[0] = ip[1], ip[1] = one;
		error |= bpf_skb_store_bytes(skb, ETH_SIZE + 8, ip, sizeof(ip), 0);
	}
	return error;
}

/* Write sequence number and flags; the checksum follows (also where the device is to finish it). */
SUBPROGRAM int set_segment(struct __sk_buff *skb, __u32 l4, __be32 seq, __u8 flags)
{
	__be16 old_flags, new_flags;
	__be32 old_seq;
	long error;

	error = bpf_skb_load_bytes(skb, l4 + TCP_SEQ, &old_seq, 4);
	error |= bpf_skb_load_bytes(skb, l4 + TCP_FLAGS, &old_flags, 2);
	new_flags = (old_flags & OFFSET_MASK) | (__be16)flags << 8;
	error |= bpf_l4_csum_replace(skb, l4 + TCP_CHECKSUM, old_seq, seq, 4);
	error |= bpf_l4_csum_replace(skb, l4 + TCP_CHECKSUM, old_flags, new_flags, 2);
	error |= bpf_skb_store_bytes(skb, l4 + TCP_SEQ, &seq, 4, 0);
	error |= bpf_skb_store_bytes(skb, l4 + TCP_FLAGS, &new_flags, 2, 0);
	return error;
}

/* Whether a refused segment can be turned into a reset: it acknowledges, so it names the number its sender expects, and
 * it carries nothing, so that the other end expects its own number. */
INLINE int can_reset(const struct packet *p)
{
	__u32 plain = p->ethertype == bpf_htons(ETH_P_IP) ? ETH_SIZE + 20 : ETH_SIZE + 40;

	return p->protocol == IPPROTO_TCP && p->piece == PIECE_WHOLE && p->l4 == plain && !p->payload &&
	       (p->tcp_flags & (TCP_ACK | TCP_RST)) == TCP_ACK;
}

/* Whether a refused SYN is answered: where somebody waits who should not be kept waiting. */
INLINE int can_refuse(const struct trip *t)
{
	const struct packet *p = &t->packet;

	return (t->from_proxy || t->decision.reason == VERDICT_PROXY_GONE) && p->role == ROLE_OPENS &&
	       p->protocol == IPPROTO_TCP && p->piece == PIECE_WHOLE && !p->payload;
}

/* Answer a SYN as a port that nobody listens on would (RFC 9293, 3.5.2). */
SUBPROGRAM int answer_syn(struct __sk_buff *skb, const struct trip *t)
{
	const struct packet *p = &t->packet;
	__be32 seq, ack, before;

	if (bpf_skb_load_bytes(skb, p->l4 + TCP_SEQ, &seq, 4) ||
	    bpf_skb_load_bytes(skb, p->l4 + TCP_ACK_SEQ, &before, 4))
		return TC_ACT_SHOT;
	ack = bpf_htonl(bpf_ntohl(seq) + 1);
	if (bpf_l4_csum_replace(skb, p->l4 + TCP_CHECKSUM, before, ack, 4) ||
	    bpf_skb_store_bytes(skb, p->l4 + TCP_ACK_SEQ, &ack, 4, 0) ||
	    set_segment(skb, p->l4, 0, TCP_RST | TCP_ACK) || swap_ends(skb, p))
		return TC_ACT_SHOT;
	return bpf_redirect(skb->ifindex, t->door == TO_POD ? BPF_F_INGRESS : 0);
}

/* Answer a refused segment's sender with an RST; `both`: pass one on to the other end too, for a flow that existed.
 * Returns the hook's code. */
SUBPROGRAM int reset(struct __sk_buff *skb, const struct trip *t, int both)
{
	const struct packet *p = &t->packet;
	__be32 seq, ack;

	if (can_refuse(t))
		return answer_syn(skb, t);
	if (!can_reset(p))
		return TC_ACT_SHOT;
	if (bpf_skb_load_bytes(skb, p->l4 + TCP_SEQ, &seq, 4) || bpf_skb_load_bytes(skb, p->l4 + TCP_ACK_SEQ, &ack, 4))
		return TC_ACT_SHOT;
	if (set_segment(skb, p->l4, ack, TCP_RST) || swap_ends(skb, p))
		return TC_ACT_SHOT;
	/* Back to the pod or Envoy through its own device, or into the stack as if the pod had sent it. */
	bpf_clone_redirect(skb, skb->ifindex, t->door == TO_POD ? BPF_F_INGRESS : 0);
	if (!both)
		return TC_ACT_SHOT;
	if (swap_ends(skb, p) || set_segment(skb, p->l4, seq, TCP_RST | TCP_ACK))
		return TC_ACT_SHOT;
	return send(skb, t->door, trip_ifindex(t), trip_mac(t));
}

#endif
