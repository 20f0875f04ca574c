/* Every map of the node. The sizes here are defaults: the loader sets max_entries before it loads (docs/ARCHITECTURE.md
 * has the table). Weak, because each .bpf.c brings its own copy and the linker folds them into one. */
#ifndef WEFT_MAPS_H
#define WEFT_MAPS_H

#include "types.h"
#include <bpf/bpf_helpers.h>

#define WEFT_MAP(name) name __weak SEC(".maps")

/* Local pods by address. Written by the agent, one write per change; read by every new flow. Full: the agent refuses
 * the plan. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct addr);
	__type(value, struct endpoint);
} WEFT_MAP(endpoints);

/* Every other address by prefix. Written by the agent, read by every new flow. Allocates as it fills. Full: the agent
 * refuses the plan. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct ipcache_key);
	__type(value, struct ipcache_entry);
} WEFT_MAP(ipcache);

/* Other nodes by their addresses. Written by the agent, read for every packet from the tunnel. Full: the agent refuses
 * the plan. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct addr);
	__type(value, struct node);
} WEFT_MAP(nodes);

/* All policy tables. Written by the agent under table numbers that no endpoint uses yet, read by every new flow.
 * Allocates as it fills. Full: the agent refuses the plan. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct policy_key);
	__type(value, struct policy_entry);
} WEFT_MAP(policy);

/* Live flows, preallocated. Written by programs (from_pod, to_pod, expiry), read by every packet and by the agent's
 * sweep. Full: new flows are refused (FLOW_TABLE_FULL), established ones live. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 131072);
	__type(key, struct flow_key);
	__type(value, struct flow);
} WEFT_MAP(flows);

struct flow_turn {
	struct flow_key key;
	__u32 round; /* of the timer's, in which it came last; 0 = it is new */
	__u32 pad;
};
_Static_assert(sizeof(struct flow_turn) == 48, "flow_turn");

/* Each flow once, in the order in which the ageing timer looks at them: a hash can't be walked in parts. Sized as
 * `flows`, so it is never full before that. Written by programs: who adds a flow puts it at the end, the timer takes
 * from the front and puts back what lives on. */
struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 131072);
	__type(value, struct flow_turn);
} WEFT_MAP(flow_turns);

/* Flows per endpoint number. The agent adds a key (with its limit) before the endpoint and deletes it after; programs
 * change `live`. A pod without a key has no flows (ENDPOINT_NOT_READY). Full: the agent refuses the plan. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct flow_count);
} WEFT_MAP(flow_count);

struct fragment_key {
	struct addr source;
	struct addr destination;
	__u32 id;
	__u8 protocol; /* 0 for IPv6, whose later pieces do not know it */
	__u8 pad[3];
};

struct fragment {
	__be16 source_port;
	__be16 destination_port;
	__be16 policy_port;
	__u16 length; /* of the first piece's payload: later ones begin behind it */
	__u8 protocol;
	__u8 role;
	__u8 icmp_error;
	__u8 pad;
};

/* Ports of fragmented packets, from their allowed first piece. Written and read by programs. Full: the least recently
 * used goes, and its later pieces are dropped. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct fragment_key);
	__type(value, struct fragment);
} WEFT_MAP(fragments);

/* Service ports. Written by the agent, read by socket hooks. Full: the agent refuses the plan. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 18);
	__type(key, struct service_key);
	__type(value, struct service);
} WEFT_MAP(services);

/* Listeners of routed services. Written by the agent before a service becomes routed, read by every new flow to an
 * address that is not a pod's. Full: the agent refuses the plan. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, struct route_key);
	__type(value, __u32);
} WEFT_MAP(routes);

/* Envoy's listening sockets. Written by proxy_opened when Envoy listens and by proxy_find when an agent starts; a
 * socket that closes leaves by itself. Read by proxy_listen and by every new flow that needs Envoy. Full: the listener
 * stays unknown, and what needs it is refused. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 16384);
	__type(key, struct proxy_key);
	__type(value, __u64);
} WEFT_MAP(proxy_sockets);

/* phase of the listener - 1 -> what went to Envoy, exact. Written by programs, read by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 3);
	__type(key, __u32);
	__type(value, struct proxy_count);
} WEFT_MAP(proxied);

/* Backend lists: a list is written under a new number, then services point to it. Written by the agent, read by socket
 * hooks. Full: the agent refuses the plan. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct backend_key);
	__type(value, struct backend);
} WEFT_MAP(backends);

/* Is a backend in a list? Written by the agent, read by socket hooks that want to stay with a backend they have. Full:
 * the agent refuses the plan. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct member_key);
	__type(value, __u8);
} WEFT_MAP(backend_members);

/* sessionAffinity ClientIP. Written and read by socket hooks. Full: the least recently used goes, and that client gets
 * a new backend. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 65536);
	__type(key, struct affinity_key);
	__type(value, struct affinity);
} WEFT_MAP(affinity);

/* Connected sockets, TCP and UDP. Written and read by socket hooks, read by the agent when UDP backends go; freed with
 * the socket. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct dialled);
} WEFT_MAP(peer_tcp);

#define UDP_PEERS 64

struct dialled_many {
	__u32 next; /* where the next new pair goes: the oldest is overwritten */
	__u32 last; /* pair used last */
	struct dialled peer[UDP_PEERS];
};

/* Services that an unconnected UDP socket sent to. Written and read by socket hooks; freed with the socket. Full: the
 * oldest pair goes, and replies from it show the backend's address. */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct dialled_many);
} WEFT_MAP(peers_udp);

/* Records for the agent (struct flow_event). Written by programs, read by the agent. Full: the record is lost and
 * counted in events_lost. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} WEFT_MAP(events);

/* 0 -> records that did not fit into `events`. Written by programs, read by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} WEFT_MAP(events_lost);

/* One window of records of one kind from one device; see event.h. */
struct fold {
	__u64 start_ns;
	__u32 written; /* in this window */
	__u32 folded;  /* left out since the last one written */
};

#define FOLD_SOURCES 256 /* devices, by ifindex modulo this */
#define FOLD_KINDS   64  /* (destination, port, reason), hashed */

/* Limits how many refusals are recorded. Written and read by programs. Fixed size: kinds that meet in one slot share
 * its limit. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FOLD_SOURCES *FOLD_KINDS);
	__type(key, __u32);
	__type(value, struct fold);
} WEFT_MAP(folds);

/* direction * 256 + verdict code -> packets and bytes, exact. Written by programs, read by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 512);
	__type(key, __u32);
	__type(value, struct counter);
} WEFT_MAP(counters);

/* 0 -> policy revision in force, and the like. Written by the agent and the ageing timer, read by every packet. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct config);
} WEFT_MAP(config);

struct expiry_timer {
	struct bpf_timer timer;
	__u32 rounds; /* that are over */
	__u32 pad;
};

/* 0 -> the timer that ages `flows`. It lives as long as the map is pinned, agent or not. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct expiry_timer);
} WEFT_MAP(expiry);

#endif
