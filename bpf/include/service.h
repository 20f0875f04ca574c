/* Service address -> backend, for socket calls. Addresses are 128 bits wide here as everywhere. */
#ifndef WEFT_SERVICE_H
#define WEFT_SERVICE_H

#include "event.h"
#include "maps.h"

#define CALL_PASSES  1 /* what a hook returns; 0 makes the system call fail */
#define ECONNREFUSED 111

struct call {
	struct backend peer; /* address and port that the application named, or that a packet came from */
	__u8 protocol;
	__u8 pad[7];
};

INLINE int backend_equal(const struct backend *a, const struct backend *b)
{
	return addr_equal(&a->address, &b->address) && a->port == b->port;
}

INLINE struct service *service_find(const struct call *call)
{
	struct service_key key = {.address = call->peer.address, .port = call->peer.port, .protocol = call->protocol};

	return bpf_map_lookup_elem(&services, &key);
}

/* Whether a program of the node itself calls, not one in a pod. */
INLINE int caller_is_node(void *ctx)
{
	__u32 zero = 0;
	struct config *node = bpf_map_lookup_elem(&config, &zero);

	return node && node->node_netns == bpf_get_netns_cookie(ctx);
}

/* Whether a backend chosen from list `chosen_from` may still be used. */
INLINE int backend_serves(const struct backend *backend, __u32 chosen_from, const struct service *service)
{
	struct member_key key = {.address = backend->address, .port = backend->port, .backends = service->backends};

	return chosen_from == service->backends || bpf_map_lookup_elem(&backend_members, &key);
}

/* The backend that this client (its network namespace, that is: its pod, or the node) had last time, if affinity still
 * holds. */
INLINE struct affinity *affinity_find(const struct affinity_key *key, const struct service *service)
{
	struct affinity *last = bpf_map_lookup_elem(&affinity, key);

	if (!last || bpf_ktime_get_coarse_ns() - last->last_seen_ns > service->affinity_seconds * NSEC_PER_SEC)
		return 0;
	return backend_serves(&last->backend, 0, service) ? last : 0;
}

/* Pick a backend; 0 if there is none. */
INLINE int backend_pick(void *ctx, const struct service *service, struct backend *picked)
{
	struct backend_key key = {.backends = service->backends};
	struct affinity_key client = {.service = service->id};
	struct backend *backend;

	if (!service->count)
		return 0;
	if (service->affinity_seconds) {
		struct affinity *last;

		client.client = bpf_get_netns_cookie(ctx);
		last = affinity_find(&client, service);
		if (last) {
			last->last_seen_ns = bpf_ktime_get_coarse_ns();
			*picked = last->backend;
			return 1;
		}
	}
	key.slot = bpf_get_prandom_u32() % service->count;
	backend = bpf_map_lookup_elem(&backends, &key);
	if (!backend)
		return 0;
	*picked = *backend;
	if (service->affinity_seconds) {
		struct affinity now = {.backend = *backend, .last_seen_ns = bpf_ktime_get_coarse_ns()};

		bpf_map_update_elem(&affinity, &client, &now, BPF_ANY);
	}
	return 1;
}

/* A service without backends: the call fails at once, as a port that nobody listens on would. */
INLINE int call_refused(const struct call *call, int v4)
{
	struct packet p = {
		.destination = call->peer.address,
		.destination_port = call->peer.port,
		.policy_port = call->peer.port,
		.protocol = call->protocol,
		.ethertype = v4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6),
	};
	struct record record = {
		.type = EVENT_DROP,
		.reason = VERDICT_NO_BACKEND,
		.cgroup = bpf_get_current_cgroup_id(),
	};

	if (v4)
		p.source = wide_v4(0);
	count(VERDICT_NO_BACKEND, FROM_POD, 0);
	if (fold(&p, &record))
		record_write(&p, &record);
	bpf_set_retval(-ECONNREFUSED);
	return 0;
}

#endif
