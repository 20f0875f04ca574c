/* The structs that the kernel and the agent share. Fixed widths, padding by name, size asserted; the Python
 * layouts (weft/datapath/layouts.py) are generated from this file's BTF, never written by hand.
 *
 * One address width: 128 bits everywhere, IPv4 as ::ffff:a.b.c.d, network byte order. */
#ifndef WEFT_TYPES_H
#define WEFT_TYPES_H

#include <linux/bpf.h>
#include <linux/types.h>

/* Layout version: written into the pin path, so that an agent never reads maps of another shape. */
#define WEFT_LAYOUT_VERSION 1

struct addr {
	__u64 d[2]; /* network byte order */
};
_Static_assert(sizeof(struct addr) == 16, "addr");

/* ---- endpoints: the pods of this node ------------------------------------------------------------------- */

/* endpoints: address -> local pod. One entry per address, so two for a dual-stack pod. */
struct endpoint {
	__u32 id;            /* endpoint number, unique on the node while the pod lives */
	__u32 ifindex;       /* host side of the pod's veth */
	__u32 identity;      /* number of its labels */
	__u32 class;         /* peer class: which selectors in force match it */
	__u32 ingress_table; /* policy table for what it receives; TABLE_OPEN = not enforced */
	__u32 egress_table;  /* policy table for what it sends; TABLE_OPEN = not enforced */
	__u8 mac[6];         /* the pod's own MAC */
	__u8 pad[2];
};
_Static_assert(sizeof(struct endpoint) == 32, "endpoint");

#define TABLE_OPEN 0 /* no policy selects the pod in this direction: everything passes */

/* ---- ipcache: every address that is not a local pod -------------------------------------------------------- */

struct ipcache_key {
	__u32 prefixlen; /* IPCACHE_PAD_BITS + 0..128 over the mapped address (an IPv4 /8 is 32 + 96 + 8) */
	__u32 pad;       /* 0. The trie compares everything after prefixlen, so these bits belong to each prefix */
	struct addr address;
};
_Static_assert(sizeof(struct ipcache_key) == 24, "ipcache_key");

struct ipcache_entry {
	__u32 identity;
	__u32 class;
	__u32 flags; /* IPCACHE_* */
	__u32 pad;
};
_Static_assert(sizeof(struct ipcache_entry) == 16, "ipcache_entry");

#define IPCACHE_PAD_BITS 32

#define IPCACHE_HOST       1u /* an address of this node */
#define IPCACHE_SERVICE    2u /* service range: only socket hooks may translate it */
#define IPCACHE_UNASSIGNED 4u /* pod range, but no pod has the address */

/* ---- policy: one trie for all tables ------------------------------------------------------------------------ */

/* Key bits, most significant first: table 32, class 32, protocol 8, port 16. The longest match is the verdict.
 *   /32  the table's default            /64  the class, any protocol
 *   /72  class and protocol             /73../88  class, protocol and a prefix of ports
 * ICMP and ICMPv6: port = type << 8, so a type is a /80. */
struct policy_key {
	__u32 prefixlen;
	__be32 table;
	__be32 class;
	__u8 protocol;
	__u8 port[2]; /* network byte order; bytes, so that nothing is padded inside the key */
	__u8 pad;
};
_Static_assert(sizeof(struct policy_key) == 16, "policy_key");

struct policy_entry {
	__u32 rule;  /* which rule decided; 0 = none (default deny) */
	__u8 action; /* POLICY_* */
	__u8 flags;  /* POLICY_F_* */
	__u16 l7;    /* reserved: rule set of a layer-7 redirect */
};
_Static_assert(sizeof(struct policy_entry) == 8, "policy_entry");

enum policy_action {
	POLICY_NONE = 0, /* no rule allows it */
	POLICY_ALLOW = 1,
	POLICY_DENY = 2, /* a deny rule matched */
};

/* Set on a table's /32 default only: peers whose class the table does not list share the entries of CLASS_OTHER;
 * look again there. Without it the default is the verdict and one lookup was enough. */
#define POLICY_F_OTHER 1u
#define CLASS_OTHER    0

/* ---- flows ----------------------------------------------------------------------------------------------------- */

/* One entry for both directions: side 0 is the numerically smaller (address, port). ICMP echo: the requester's port
 * is the id, the other's 0. Other ICMP messages: both ports are type << 8 | code. Other protocols: 0. */
struct flow_key {
	struct addr address[2];
	__be16 port[2];
	__u8 protocol;
	__u8 pad[3];
};
_Static_assert(sizeof(struct flow_key) == 40, "flow_key");

struct flow {
	__u64 last_seen_ns; /* coarse monotonic clock */
	__u32 revision;     /* policy revision of the verdict; another one means: decide again */
	__u32 ifindex[2];   /* host side of each side's veth; 0 = reached through the stack */
	__u32 identity[2];
	__u32 rule[2]; /* [0] egress rule of the initiator's pod, [1] ingress rule of the other's */
	__u32 owner;   /* endpoint whose quota the entry counts against */
	__u8 mac[2][6];
	__u8 initiator; /* side that sent the first packet: 0 or 1 */
	__u8 state;     /* FLOW_* */
	__u8 closing;   /* bit per side: FIN seen */
	__u8 cut_by;    /* FLOW_CUT: EVENT_F_INGRESS if the ingress side refused */
	__u8 pad[8];
};
_Static_assert(sizeof(struct flow) == 64, "flow");

enum flow_state {
	FLOW_NEW = 0,     /* nothing came back yet */
	FLOW_OPEN = 1,    /* both directions seen */
	FLOW_CLOSING = 2, /* FIN from both, or RST */
	FLOW_CUT = 3,     /* policy no longer allows it: packets are refused, TCP is reset */
};

/* flow_count: how many flows an endpoint has, and how many it may have. */
struct flow_count {
	__u32 live;  /* changed by programs only */
	__u32 limit; /* set when the agent adds the key */
};
_Static_assert(sizeof(struct flow_count) == 8, "flow_count");

/* ---- services -------------------------------------------------------------------------------------------------- */

struct service_key {
	struct addr address;
	__be16 port;
	__u8 protocol;
	__u8 pad[5];
};
_Static_assert(sizeof(struct service_key) == 24, "service_key");

struct service {
	__u32 backends;         /* number of the backend list in force; lists are never edited, only replaced */
	__u32 count;            /* its length; 0 = refuse at once */
	__u32 affinity_seconds; /* 0 = none, else sessionAffinity ClientIP */
	__u32 id;               /* stable number of the service port, for affinity */
};
_Static_assert(sizeof(struct service) == 16, "service");

struct backend_key {
	__u32 backends;
	__u32 slot; /* 0..count-1 */
};
_Static_assert(sizeof(struct backend_key) == 8, "backend_key");

struct backend {
	struct addr address;
	__be16 port;
	__u8 pad[6];
};
_Static_assert(sizeof(struct backend) == 24, "backend");

/* backend_members: is this backend still in the list? (only for lists with affinity) */
struct member_key {
	struct addr address;
	__be16 port;
	__u8 pad[2];
	__u32 backends;
};
_Static_assert(sizeof(struct member_key) == 24, "member_key");

struct affinity_key {
	__u64 client; /* network-namespace cookie: the pod */
	__u32 service;
	__u32 pad;
};
_Static_assert(sizeof(struct affinity_key) == 16, "affinity_key");

struct affinity {
	struct backend backend;
	__u64 last_seen_ns;
};
_Static_assert(sizeof(struct affinity) == 32, "affinity");

/* ---- events ---------------------------------------------------------------------------------------------------- */

/* 120 bytes: with the ring buffer's 8-byte header a record is 128, so the agent copies whole stretches. */
struct flow_event {
	__u64 time_ns; /* CLOCK_BOOTTIME */
	struct addr source;
	struct addr destination;
	__be16 source_port;      /* ICMP: 0 */
	__be16 destination_port; /* ICMP: type << 8 | code */
	__u8 protocol;
	__u8 tcp_flags;
	__u8 type;   /* EVENT_* */
	__u8 reason; /* enum verdict_code; FORWARDED unless dropped */
	__u32 source_identity;
	__u32 destination_identity;
	__u32 source_endpoint;      /* 0 = not a pod of this node */
	__u32 destination_endpoint; /* 0 = not a pod of this node */
	__u32 egress_rule;          /* rule of the source's egress policy; 0 = none or not enforced */
	__u32 ingress_rule;         /* rule of the destination's ingress policy; 0 = none or not enforced */
	__u32 revision;
	__u32 length; /* bytes of the packet */
	__u32 folded; /* equal records left out since the last one of this kind */
	__be16 ethertype;
	__u16 flags; /* EVENT_F_* */
	__u32 ifindex;
	__u8 source_mac[6];
	__u8 destination_mac[6];
	__u64 cgroup; /* refused by a socket hook: cgroup of the caller, whose address is not known yet; else 0 */
	__u8 pad[8];
};
_Static_assert(sizeof(struct flow_event) == 120, "flow_event");

enum event_type {
	EVENT_POLICY_VERDICT = 1, /* a new flow (or one decided again) and its verdict */
	EVENT_DROP = 2,           /* a packet refused for another reason than a policy verdict */
	EVENT_TRACE = 3,          /* a flow's end: FIN or RST */
};

#define EVENT_F_REPLY            1u /* packet goes from the flow's answerer to its initiator */
#define EVENT_F_INGRESS          2u /* the destination's ingress side decided (else: the source's egress side) */
#define EVENT_F_EGRESS_ENFORCED  4u
#define EVENT_F_INGRESS_ENFORCED 8u
#define EVENT_F_AGAIN            16u /* an existing flow decided again under a new revision */

/* ---- configuration and counters ---------------------------------------------------------------------------------- */

/* config: one element. `revision` is the only field the agent changes while programs run. */
struct config {
	__u32 revision;
	__u32 pad;
};
_Static_assert(sizeof(struct config) == 8, "config");

struct counter {
	__u64 packets;
	__u64 bytes;
};
_Static_assert(sizeof(struct counter) == 16, "counter");

/* One query of the `query` program (PROG_TEST_RUN only): the packet holds queries, answers overwrite them. */
struct policy_query {
	struct addr source; /* also the address whose class is looked up for ingress */
	struct addr destination;
	__be16 port; /* destination port, or type << 8 | code */
	__u8 protocol;
	__u8 pad;
	/* answer: */
	__u8 reason; /* VERDICT_FORWARDED, POLICY_DENIED, POLICY_DENY, ... */
	__u8 flags;  /* EVENT_F_INGRESS when the ingress side refused */
	__u8 pad2[2];
	__u32 egress_rule;
	__u32 ingress_rule;
	__u32 source_identity;
	__u32 destination_identity;
	__u32 pad3[2];
};
_Static_assert(sizeof(struct policy_query) == 64, "policy_query");

#endif
