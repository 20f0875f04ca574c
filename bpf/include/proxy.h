/* Layer 7: which legs of a conversation pass this node's Envoy, and how they get there and back. The shape is in
 * docs/decisions/0007-layer-7.md: everything follows from a flow's bits that say which of its ends are Envoy's. */
#ifndef WEFT_PROXY_H
#define WEFT_PROXY_H

#include "policy.h"
#include "trip.h"

INLINE __u8 phase_of_mark(__u32 mark)
{
	__u32 phase = ((mark & MARK_MASK) - MARK_PROXY_ANSWER) >> 8;

	return phase <= PHASE_INGRESS ? phase : PHASE_NONE;
}

/* ---- what a leg needs ---- */

/* The listener of the routes that a client meets at an address, 0 if none is routed there. */
SUBPROGRAM __u32 route_find(const struct addr *address, __be16 port, __u32 scope)
{
	struct service_key key = {.address = *address, .port = port, .protocol = IPPROTO_TCP};
	struct service *service = bpf_map_lookup_elem(&services, &key);
	struct route_key route = {.scope = scope};
	__u32 *listener;

	if (!service || !service->routed)
		return 0;
	route.service = service->id;
	listener = bpf_map_lookup_elem(&routes, &route);
	if (!listener && route.scope) {
		route.scope = 0;
		listener = bpf_map_lookup_elem(&routes, &route);
	}
	return listener ? *listener : 0;
}

/* Policy's decision about a leg, and the listener that it has to pass next: fills t->decision. `reply`: the packet is
 * the answering end's; `port`: of the other. `phase`: done already, because Envoy asks in the name of the client. A
 * routed address is no pod's, so policy is asked when Envoy has picked a backend. Returns the reason. */
GLOBAL int leg_decide(struct trip *t, __u32 reply, __u32 port, __u32 phase)
{
	struct policy_question question;
	struct decision *decision;

	if (!t)
		return VERDICT_INVALID_PACKET;
	decision = &t->decision;
	question.from = reply ? &t->to : &t->from;
	question.to = reply ? &t->from : &t->to;
	question.port = port;
	question.protocol = t->packet.protocol;
	__builtin_memset(decision, 0, sizeof(*decision));
	if (question.protocol == IPPROTO_TCP && !phase && question.from->pod.id && !question.to->pod.id) {
		decision->l7 =
			route_find(reply ? &t->packet.source : &t->packet.destination, port, question.from->pod.scope);
		if (decision->l7) {
			decision->next = PHASE_ROUTE;
			return VERDICT_FORWARDED;
		}
	}
	if (question.to->flags & IPCACHE_SERVICE)
		return decision->reason = VERDICT_IS_A_CLUSTERIP;
	if (question.from->pod.id && question.from->pod.id == question.to->pod.id)
		return VERDICT_FORWARDED; /* a pod may always speak to itself, as Kubernetes rules */
	policy_decide(&question, decision);
	if (decision->reason)
		return decision->reason;
	if (decision->egress_l7 && phase < PHASE_EGRESS) {
		decision->l7 = decision->egress_l7;
		decision->next = PHASE_EGRESS;
	} else if (decision->ingress_l7 && phase < PHASE_INGRESS) {
		decision->l7 = decision->ingress_l7;
		decision->next = PHASE_INGRESS;
	}
	return VERDICT_FORWARDED;
}

/* ---- Envoy's sockets ---- */

/* Whether Envoy listens: asked before a connection is sent there, so that it is refused at once otherwise. */
INLINE int proxy_listens(const struct packet *p, __u16 listener)
{
	struct proxy_key key = {.family = is_v4(&p->source) ? PROXY_FAMILY_V4 : PROXY_FAMILY_V6, .port = listener};
	struct bpf_sock *found = bpf_map_lookup_elem(&proxy_sockets, &key);

	if (!found)
		return 0;
	bpf_sk_release(found);
	return 1;
}

/* The mark of Envoy's socket that a segment is for, or (`sent`) that it is of; 0 if there is none. */
SUBPROGRAM __u32 proxy_socket_mark(struct __sk_buff *skb, const struct trip *t, int sent)
{
	const struct packet *p = &t->packet;
	const struct addr *client = sent ? &p->destination : &p->source, *own = sent ? &p->source : &p->destination;
	__be16 client_port = sent ? p->destination_port : p->source_port;
	__be16 own_port = sent ? p->source_port : p->destination_port;
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *found;
	__u32 mark = 0, size = sizeof(tuple.ipv4);

	if (!t->proxy_ifindex)
		return 0;
	if (is_v4(&p->source)) {
		tuple.ipv4.saddr = v4_of(client);
		tuple.ipv4.daddr = v4_of(own);
		tuple.ipv4.sport = client_port;
		tuple.ipv4.dport = own_port;
	} else {
		size = sizeof(tuple.ipv6);
		__builtin_memcpy(tuple.ipv6.saddr, client, 16);
		__builtin_memcpy(tuple.ipv6.daddr, own, 16);
		tuple.ipv6.sport = client_port;
		tuple.ipv6.dport = own_port;
	}
	found = bpf_sk_lookup_tcp(skb, &tuple, size, t->proxy_netns, 0);
	if (!found)
		return 0;
	if (found->state != BPF_TCP_LISTEN)
		mark = found->mark & MARK_MASK;
	bpf_sk_release(found);
	return mark;
}

/* Count a packet that goes to Envoy; `next`: PHASE_* of the listener. */
INLINE void proxy_count(__u8 next, int begins, __u32 length)
{
	__u32 index = next - PHASE_ROUTE;
	struct proxy_count *counter = next ? bpf_map_lookup_elem(&proxied, &index) : 0;

	if (counter) {
		counter->connections += begins;
		counter->packets++;
		counter->bytes += length;
	}
}

#endif
