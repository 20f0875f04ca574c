/* Socket calls of pods and of the node: a service's address becomes a backend's before the packet is made, and what the
 * application reads is the address it named. No packet is ever rewritten. */
#include "base.h"
#include <linux/if_ether.h>
#include "service.h"

/* connect(): on success call->peer is the address to use. Returns the hook's code. */
INLINE int dial(struct bpf_sock_addr *ctx, struct call *call, int v4)
{
	struct service *service = service_find(call);
	struct backend picked;
	struct dialled *dialled;

	/* A routed connection keeps the service's address: Envoy picks the backend. Only a pod's: no door of weft's
	 * sees what the node sends to a service. */
	if (service && service->routed && call->protocol == IPPROTO_TCP && !caller_is_node(ctx))
		service = 0;
	if (!service) { /* the socket may have dialled a service before */
		bpf_sk_storage_delete(&peer_tcp, ctx->sk);
		return CALL_PASSES;
	}
	if (!backend_pick(ctx, service, &picked))
		return call_refused(call, v4);
	dialled = bpf_sk_storage_get(&peer_tcp, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!dialled) /* out of memory: closed, not half translated */
		return 0;
	dialled->service = call->peer;
	dialled->backend = call->peer = picked;
	return CALL_PASSES;
}

/* sendto() without connect(): a socket stays with its backend for as long as that one serves. */
INLINE int send_to(struct bpf_sock_addr *ctx, struct call *call, int v4)
{
	struct service *service = service_find(call);
	struct dialled_many *many;
	struct dialled *dialled;
	struct backend picked;
	__u32 slot;

	if (!service)
		return CALL_PASSES;
	many = bpf_sk_storage_get(&peers_udp, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!many)
		return 0;
	for (slot = 0; slot < UDP_PEERS && slot < many->next; slot++)
		if (backend_equal(&many->peer[slot].service, &call->peer))
			break;
	if (slot == UDP_PEERS || slot == many->next)
		slot = many->next++;
	slot %= UDP_PEERS;
	many->last = slot;
	dialled = &many->peer[slot];
	if (backend_equal(&dialled->service, &call->peer) && service->count &&
	    backend_serves(&dialled->backend, dialled->backends, service)) {
		call->peer = dialled->backend;
		return CALL_PASSES;
	}
	if (!backend_pick(ctx, service, &picked))
		return call_refused(call, v4);
	dialled->service = call->peer;
	dialled->backend = call->peer = picked;
	dialled->backends = service->backends;
	return CALL_PASSES;
}

/* What the application should read instead of call->peer. Returns 1 if that is another address. */
INLINE int undial(struct bpf_sock_addr *ctx, struct call *call)
{
	struct dialled *dialled = bpf_sk_storage_get(&peer_tcp, ctx->sk, 0, 0);
	struct dialled_many *many;
	__u32 used;

	if (dialled && backend_equal(&dialled->backend, &call->peer)) {
		call->peer = dialled->service;
		return 1;
	}
	many = bpf_sk_storage_get(&peers_udp, ctx->sk, 0, 0);
	if (!many)
		return 0;
	/* From the last used on: two services may share a backend, and then the later question is the one answered. */
	used = many->next < UDP_PEERS ? many->next : UDP_PEERS;
	for (__u32 i = 0; i < UDP_PEERS && i < used; i++) {
		dialled = &many->peer[(many->last + used - i) % used % UDP_PEERS];
		if (backend_equal(&dialled->backend, &call->peer)) {
			call->peer = dialled->service;
			return 1;
		}
	}
	return 0;
}

INLINE struct call call_v4(const struct bpf_sock_addr *ctx)
{
	return (struct call){.peer = {.address = wide_v4(ctx->user_ip4), .port = ctx->user_port},
			     .protocol = ctx->protocol};
}

INLINE void set_v4(struct bpf_sock_addr *ctx, const struct call *call)
{
	ctx->user_ip4 = v4_of(&call->peer.address);
	ctx->user_port = call->peer.port;
}

/* An IPv6 socket may name an IPv4 address; in 128 bits that is the same address. */
INLINE struct call call_v6(const struct bpf_sock_addr *ctx)
{
	return (struct call){.peer = {.address = {{(__u64)ctx->user_ip6[1] << 32 | ctx->user_ip6[0],
						   (__u64)ctx->user_ip6[3] << 32 | ctx->user_ip6[2]}},
				      .port = ctx->user_port},
			     .protocol = ctx->protocol};
}

INLINE void set_v6(struct bpf_sock_addr *ctx, const struct call *call)
{
	ctx->user_ip6[0] = call->peer.address.d[0];
	ctx->user_ip6[1] = call->peer.address.d[0] >> 32;
	ctx->user_ip6[2] = call->peer.address.d[1];
	ctx->user_ip6[3] = call->peer.address.d[1] >> 32;
	ctx->user_port = call->peer.port;
}

#define CALL_HOOK(hook, family, body)                                                                                  \
	SEC("cgroup/" #hook)                                                                                           \
	int service_##hook(struct bpf_sock_addr *ctx)                                                                  \
	{                                                                                                              \
		struct call call = call_##family(ctx);                                                                 \
		body                                                                                                   \
	}
#define TRANSLATES(how, family, v4)                                                                                    \
	int passes = how(ctx, &call, v4);                                                                              \
	if (passes)                                                                                                    \
		set_##family(ctx, &call);                                                                              \
	return passes;
#define TRANSLATES_BACK(family)                                                                                        \
	if (undial(ctx, &call))                                                                                        \
		set_##family(ctx, &call);                                                                              \
	return CALL_PASSES;

CALL_HOOK(connect4, v4, TRANSLATES(dial, v4, 1))
CALL_HOOK(connect6, v6, TRANSLATES(dial, v6, 0))
CALL_HOOK(sendmsg4, v4, TRANSLATES(send_to, v4, 1))
CALL_HOOK(sendmsg6, v6, TRANSLATES(send_to, v6, 0))
CALL_HOOK(recvmsg4, v4, TRANSLATES_BACK(v4))
CALL_HOOK(recvmsg6, v6, TRANSLATES_BACK(v6))
CALL_HOOK(getpeername4, v4, TRANSLATES_BACK(v4))
CALL_HOOK(getpeername6, v6, TRANSLATES_BACK(v6))

char LICENSE[] SEC("license") = "GPL";
