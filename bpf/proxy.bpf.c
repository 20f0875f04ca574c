/* Envoy's sockets: who they are, and which of them a connection is for. */
#include "flow.h"

/* Of a context's field, which may be read in words of 32 bits only. */
INLINE struct addr wide_v6(const volatile __u32 *field)
{
	__u64 word[4] = {field[0], field[1], field[2], field[3]};

	return (struct addr){{word[1] << 32 | word[0], word[3] << 32 | word[2]}};
}

INLINE int is_proxy(const struct addr *a)
{
	return is_proxy_v6(a) || (is_v4(a) && v4_of(a) == bpf_htonl(PROXY_V4));
}

/* Every connection that comes to the node's namespace, before its sockets are asked: those whose flow names a listener
 * are the listener's, whatever their address is. Nobody gets to a listener in another way. */
SEC("sk_lookup")
int proxy_listen(struct bpf_sk_lookup *ctx)
{
	struct packet p = {.protocol = IPPROTO_TCP};
	struct proxy_key wanted = {.family = ctx->family};
	struct flow_key key = {};
	struct flow *flow;
	struct bpf_sock *listener;
	long error;
	__u32 side;

	if (ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	if (ctx->family == PROXY_FAMILY_V4) {
		p.source = wide_v4(ctx->remote_ip4);
		p.destination = wide_v4(ctx->local_ip4);
	} else {
		p.source = wide_v6(ctx->remote_ip6);
		p.destination = wide_v6(ctx->local_ip6);
	}
	p.source_port = ctx->remote_port;
	p.destination_port = bpf_htons(ctx->local_port);
	if (is_proxy(&p.destination)) /* port 0 is no segment's: proxy_find asks */
		return p.source_port ? SK_DROP : SK_PASS;
	side = flow_key_of(&p, &key);
	flow = bpf_map_lookup_elem(&flows, &key);
	if (!flow || !flow->l7 || !(flow->proxy >> ((side & 1) ^ 1) & 1))
		return SK_PASS;
	wanted.port = flow->l7;
	listener = bpf_map_lookup_elem(&proxy_sockets, &wanted);
	if (!listener)
		return SK_DROP;
	error = bpf_sk_assign(ctx, listener, BPF_SK_LOOKUP_F_REPLACE);
	bpf_sk_release(listener);
	return error ? SK_DROP : SK_PASS;
}

/* On Envoy's cgroup: every socket that begins to listen on the listeners' address. */
SEC("sockops")
int proxy_opened(struct bpf_sock_ops *ctx)
{
	struct proxy_key key = {.family = ctx->family, .port = ctx->local_port};

	if (ctx->op != BPF_SOCK_OPS_TCP_LISTEN_CB)
		return 1;
	if (key.family == PROXY_FAMILY_V4) {
		if (ctx->local_ip4 != bpf_htonl(PROXY_V4))
			return 1;
	} else if (key.family == PROXY_FAMILY_V6) {
		struct addr address = wide_v6(ctx->local_ip6);

		if (!is_proxy_v6(&address))
			return 1;
	} else {
		return 1;
	}
	bpf_sock_hash_update(ctx, &proxy_sockets, &key, BPF_ANY);
	return 1;
}

#define FIND_MAX 64 /* ports in one run */

/* Enters one listener that was there before the map; 1 if it listens. */
GLOBAL int find_one(struct __sk_buff *skb, __u32 port, __u32 family)
{
	struct proxy_key key = {.family = family, .port = port};
	__u32 v4 = family == PROXY_FAMILY_V4;
	struct bpf_sock_tuple tuple = {};
	struct bpf_sock *found;
	int listens;

	if (v4) {
		tuple.ipv4.daddr = bpf_htonl(PROXY_V4);
		tuple.ipv4.dport = bpf_htons(port);
		found = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
	} else {
		tuple.ipv6.daddr[0] = bpf_htonl(PROXY_V6_HIGH >> 32);
		tuple.ipv6.daddr[3] = bpf_htonl(PROXY_V6_LOW);
		tuple.ipv6.dport = bpf_htons(port);
		found = bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
	}
	if (!found)
		return 0;
	/* Not one that listens everywhere on this port. */
	listens = found->state == BPF_TCP_LISTEN &&
		  (v4 ? found->src_ip4 == tuple.ipv4.daddr
		      : found->src_ip6[0] == tuple.ipv6.daddr[0] && found->src_ip6[3] == tuple.ipv6.daddr[3]);
	if (listens)
		listens = !bpf_map_update_elem(&proxy_sockets, &key, found, BPF_ANY);
	bpf_sk_release(found);
	return listens;
}

/* Run by PROG_TEST_RUN when an agent starts: the packet holds an Ethernet header of no meaning, then up to 64 listeners
 * (u16); returns how many of them listen, in both families together. */
SEC("tc")
int proxy_find(struct __sk_buff *skb)
{
	int found = 0;

	for (int i = 0; i < FIND_MAX; i++) {
		__u16 port;

		if (bpf_skb_load_bytes(skb, ETH_SIZE + i * sizeof(port), &port, sizeof(port)))
			break;
		if (!port)
			continue;
		found += find_one(skb, port, PROXY_FAMILY_V4);
		found += find_one(skb, port, PROXY_FAMILY_V6);
	}
	return found;
}

char LICENSE[] SEC("license") = "GPL";
