/* From bytes to struct packet: Ethernet, IPv4, IPv6. What is not understood in full is refused; nothing is guessed. */
#ifndef WEFT_PARSE_H
#define WEFT_PARSE_H

#include "transport.h"
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#define IP_FRAGMENT_OFFSET 0x1fff
#define IP_MORE_FRAGMENTS  0x2000

#define IPV6_HOP_BY_HOP      0
#define IPV6_ROUTING         43
#define IPV6_FRAGMENT        44
#define IPV6_DESTINATION     60
#define IPV6_MAX_EXTENSIONS  6
#define IPV6_FRAGMENT_OFFSET 0xfff8
#define IPV6_MORE_FRAGMENTS  1

/* Sets what kind of piece this is; `offset` in bytes. Pieces that no sender makes are refused. */
INLINE int parse_piece(struct packet *p, __u32 offset, int more, __u32 length)
{
	if (!offset && !more)
		return VERDICT_FORWARDED;
	if (!length || (more && length % 8) || offset + length > 0xffff)
		return VERDICT_INVALID_FRAGMENT;
	p->piece = offset ? PIECE_LATER : PIECE_FIRST;
	p->piece_length = length;
	p->piece_offset = offset;
	return VERDICT_FORWARDED;
}

INLINE int parse_ipv4(struct __sk_buff *skb, struct packet *p)
{
	struct iphdr *ip = header(skb, ETH_SIZE, sizeof(*ip));
	__u32 length, fragment;
	int refused;

	if (!ip)
		return VERDICT_TRUNCATED_HEADER;
	p->source = wide_v4(ip->saddr);
	p->destination = wide_v4(ip->daddr);
	p->protocol = ip->protocol;
	p->l4 = ETH_SIZE + sizeof(*ip);
	length = bpf_ntohs(ip->tot_len);
	if (ip->version != 4 || ip->ihl < 5 || length < sizeof(*ip))
		return VERDICT_INVALID_PACKET;
	if (ip->ihl > 5)
		return VERDICT_IP_OPTIONS;
	if (ETH_SIZE + length > skb->len)
		return VERDICT_TRUNCATED_HEADER;
	fragment = bpf_ntohs(ip->frag_off);
	if (fragment & (IP_FRAGMENT_OFFSET | IP_MORE_FRAGMENTS)) {
		p->fragment_id = ip->id;
		refused = parse_piece(p, (fragment & IP_FRAGMENT_OFFSET) * 8, fragment & IP_MORE_FRAGMENTS,
				      length - sizeof(*ip));
		if (refused)
			return refused;
	}
	return parse_transport(skb, p, ETH_SIZE + length);
}

struct ipv6_extension {
	__u8 next, size;
	__be16 fragment; /* of a fragment header, as `id` */
	__be32 id;
};

/* Walks the extension headers up to the transport header; `end` as above. */
SUBPROGRAM int parse_extensions(struct __sk_buff *skb, struct packet *p, __u32 end)
{
	__u32 at = p->l4;
	int refused, fragmented = 0;

	for (int i = 0; i <= IPV6_MAX_EXTENSIONS; i++) {
		struct ipv6_extension h;

		p->l4 = at;
		switch (p->protocol) {
		case IPV6_HOP_BY_HOP:
			if (i)
				return VERDICT_INVALID_IPV6_EXTENSION;
			break;
		case IPV6_DESTINATION:
		case IPV6_FRAGMENT:
			break;
		case IPV6_ROUTING: /* a packet that goes elsewhere than its destination says */
			return VERDICT_INVALID_IPV6_EXTENSION;
		default:
			return VERDICT_FORWARDED;
		}
		if (at + 8 > end || bpf_skb_load_bytes(skb, at, &h, 8))
			return cut_short(p);
		if (p->protocol != IPV6_FRAGMENT) {
			at += (h.size + 1) * 8;
			p->protocol = h.next;
			continue;
		}
		if (fragmented++) /* one fragment header is all a packet has */
			return VERDICT_INVALID_IPV6_EXTENSION;
		at += 8;
		p->fragment_id = h.id;
		p->protocol = h.next;
		p->l4 = at;
		refused = parse_piece(p, bpf_ntohs(h.fragment) & IPV6_FRAGMENT_OFFSET,
				      bpf_ntohs(h.fragment) & IPV6_MORE_FRAGMENTS, end - at);
		if (refused || p->piece == PIECE_LATER)
			return refused;
	}
	return VERDICT_INVALID_IPV6_EXTENSION;
}

INLINE int parse_ipv6(struct __sk_buff *skb, struct packet *p)
{
	struct ipv6hdr *ip = header(skb, ETH_SIZE, sizeof(*ip));
	__u64 *address = (void *)&ip->saddr;
	__u32 end;
	int refused;

	if (!ip)
		return VERDICT_TRUNCATED_HEADER;
	p->source = (struct addr){{address[0], address[1]}};
	p->destination = (struct addr){{address[2], address[3]}};
	p->protocol = ip->nexthdr;
	p->l4 = ETH_SIZE + sizeof(*ip);
	end = p->l4 + bpf_ntohs(ip->payload_len);
	/* An IPv6 packet must not claim an IPv4 address (RFC 4213 3.3, RFC 6890). */
	if (ip->version != 6 || is_v4(&p->source) || is_v4(&p->destination))
		return VERDICT_INVALID_PACKET;
	if (end > skb->len)
		return VERDICT_TRUNCATED_HEADER;
	if (p->protocol == IPV6_HOP_BY_HOP || p->protocol == IPV6_DESTINATION || p->protocol == IPV6_FRAGMENT ||
	    p->protocol == IPV6_ROUTING) {
		refused = parse_extensions(skb, p, end);
		if (refused)
			return refused;
	}
	return parse_transport(skb, p, end);
}

/* 0, or the verdict that refuses the packet; `p` (zeroed before) then holds what was understood up to there. */
INLINE int parse(struct __sk_buff *skb, struct packet *p)
{
	struct frame *frame = header(skb, 0, sizeof(*frame));

	if (!frame)
		return VERDICT_TRUNCATED_HEADER;
	mac_copy(&p->destination_mac, &frame->destination);
	mac_copy(&p->source_mac, &frame->source);
	p->ethertype = frame->type;
	if (skb->vlan_present)
		return VERDICT_VLAN_FILTERED;
	switch (bpf_ntohs(p->ethertype)) {
	case ETH_P_IP:
		return parse_ipv4(skb, p);
	case ETH_P_IPV6:
		return parse_ipv6(skb, p);
	case ETH_P_ARP:
		return VERDICT_ARP_FILTERED;
	case ETH_P_8021Q:
	case ETH_P_8021AD:
		return VERDICT_VLAN_FILTERED;
	default:
		return VERDICT_UNSUPPORTED_L2;
	}
}

#endif
