/* From bytes to struct packet: TCP, UDP, SCTP, ICMP, ICMPv6. */
#ifndef WEFT_TRANSPORT_H
#define WEFT_TRANSPORT_H

#include "base.h"
#include "fragments.h"
#include "packet.h"
#include <linux/if_ether.h>
#include <linux/tcp.h>
#include <linux/udp.h>

#define SCTP_HEADER 12

enum icmp4 {
	ICMP4_REPLY = 0,
	ICMP4_UNREACHABLE = 3,
	ICMP4_QUENCH = 4,
	ICMP4_REDIRECT = 5,
	ICMP4_REQUEST = 8,
	ICMP4_TIME_EXCEEDED = 11,
	ICMP4_PARAMETER = 12
};
enum icmp6 {
	ICMP6_FIRST_ERROR = 1,
	ICMP6_LAST_ERROR = 4,
	ICMP6_REQUEST = 128,
	ICMP6_REPLY = 129,
	MLD_REPORT = 131,
	MLD_DONE = 132,
	ROUTER_SOLICITATION = 133,
	NEIGHBOUR_SOLICITATION = 135,
	MLD2_REPORT = 143
};

struct icmp_header { /* of both versions; linux/icmp.h would bring in the C library */
	__u8 type;
	__u8 code;
	__be16 checksum;
	__be16 id; /* of an echo */
	__be16 sequence;
};

#define HEADERS_MAX 2048 /* no header that matters begins later; the verifier wants a bound */

/* `size` bytes of the frame from `at` on, contiguous; NULL if it ends before. Earlier pointers into it are void. */
INLINE void *header(struct __sk_buff *skb, __u32 at, __u32 size)
{
	void *h;

	if (at > HEADERS_MAX)
		return 0;
	h = packet_start(skb) + at;
	if (h + size <= packet_end(skb))
		return h;
	if (bpf_skb_pull_data(skb, at + size))
		return 0;
	h = packet_start(skb) + at;
	return h + size <= packet_end(skb) ? h : 0;
}

/* A transport header that ends too early: in a first piece, so that a later one could write it anew. */
INLINE int cut_short(const struct packet *p)
{
	return p->piece == PIECE_FIRST ? VERDICT_INVALID_FRAGMENT : VERDICT_TRUNCATED_HEADER;
}

/* Echo: a conversation of its own per id, so that its two ends are told apart like a client's and a server's. */
INLINE void icmp_echo(struct packet *p, __be16 id, int request)
{
	p->role = request ? ROLE_OPENS : ROLE_ANSWERS;
	p->source_port = request ? id : 0;
	p->destination_port = request ? 0 : id;
}

INLINE int parse_icmp4(struct packet *p, __u8 type, __be16 id)
{
	if (type == ICMP4_REQUEST || type == ICMP4_REPLY) {
		icmp_echo(p, id, type == ICMP4_REQUEST);
		return VERDICT_FORWARDED;
	}
	if (type == ICMP4_QUENCH || type == ICMP4_REDIRECT) /* deprecated (RFC 6633) or forged: pods have one route */
		return VERDICT_UNKNOWN_FLOW_ERROR;
	p->icmp_error = type == ICMP4_UNREACHABLE || type == ICMP4_TIME_EXCEEDED || type == ICMP4_PARAMETER;
	p->source_port = p->destination_port = p->policy_port;
	return VERDICT_FORWARDED;
}

INLINE int parse_icmp6(struct packet *p, __u8 type, __be16 id)
{
	if (type == ICMP6_REQUEST || type == ICMP6_REPLY) {
		icmp_echo(p, id, type == ICMP6_REQUEST);
		return VERDICT_FORWARDED;
	}
	if (type >= ICMP6_FIRST_ERROR && type <= ICMP6_LAST_ERROR) {
		p->icmp_error = 1;
		return VERDICT_FORWARDED;
	}
	p->quiet = type == ROUTER_SOLICITATION || type == NEIGHBOUR_SOLICITATION || type == MLD_REPORT ||
		   type == MLD_DONE || type == MLD2_REPORT;
	return VERDICT_FORBIDDEN_ICMPV6;
}

INLINE int parse_icmp(struct __sk_buff *skb, struct packet *p, __u32 end)
{
	struct icmp_header *h;

	if ((p->protocol == IPPROTO_ICMP) != (p->ethertype == bpf_htons(ETH_P_IP)))
		return VERDICT_UNKNOWN_L4;
	h = p->l4 + sizeof(*h) <= end ? header(skb, p->l4, sizeof(*h)) : 0;
	if (!h)
		return cut_short(p);
	p->policy_port = h->type | h->code << 8; /* type << 8 | code in network order */
	return p->protocol == IPPROTO_ICMP ? parse_icmp4(p, h->type, h->id) : parse_icmp6(p, h->type, h->id);
}

INLINE int parse_tcp(struct __sk_buff *skb, struct packet *p, __u32 end)
{
	struct tcphdr *h = p->l4 + sizeof(*h) <= end ? header(skb, p->l4, sizeof(*h)) : 0;
	__u32 size;

	if (!h)
		return cut_short(p);
	size = h->doff * 4;
	if (size < sizeof(*h))
		return VERDICT_INVALID_PACKET;
	if (p->l4 + size > end)
		return cut_short(p);
	p->source_port = h->source;
	p->destination_port = p->policy_port = h->dest;
	p->payload = end - p->l4 - size;
	p->tcp_flags = ((__u8 *)h)[13];
	p->role = (p->tcp_flags & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN ? ROLE_OPENS : ROLE_ANY;
	return VERDICT_FORWARDED;
}

/* UDP and SCTP begin alike; `size` of their headers. */
INLINE int parse_ports(struct __sk_buff *skb, struct packet *p, __u32 end, __u32 size)
{
	struct udphdr *h = p->l4 + size <= end ? header(skb, p->l4, size) : 0;

	if (!h)
		return cut_short(p);
	p->source_port = h->source;
	p->destination_port = p->policy_port = h->dest;
	return VERDICT_FORWARDED;
}

/* `end`: offset behind the IP packet's last byte (the frame may be padded). */
INLINE int parse_transport(struct __sk_buff *skb, struct packet *p, __u32 end)
{
	if (p->piece == PIECE_LATER)
		return fragment_follow(p, p->piece_offset);
	switch (p->protocol) {
	case IPPROTO_TCP:
		return parse_tcp(skb, p, end);
	case IPPROTO_UDP:
		return parse_ports(skb, p, end, sizeof(struct udphdr));
	case IPPROTO_SCTP:
		return parse_ports(skb, p, end, SCTP_HEADER);
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return parse_icmp(skb, p, end);
	default:
		return VERDICT_FORWARDED; /* no ports that weft knows: only a rule for every protocol allows it */
	}
}

#endif
