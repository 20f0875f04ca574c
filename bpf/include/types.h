/* The structs that the kernel and the agent share. Fixed widths, padding by name, size asserted; the Python
 * layouts (weft/datapath/layouts.py) are generated from this file's BTF, never written by hand.
 *
 * One address width: 128 bits everywhere, IPv4 as ::ffff:a.b.c.d, network byte order. */
#ifndef WEFT_TYPES_H
#define WEFT_TYPES_H

#include <linux/bpf.h>
#include <linux/types.h>

/* Layout version: written into the pin path, so that an agent never reads maps of another shape. */
#define WEFT_LAYOUT_VERSION 3

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
	__u32 scope; /* number of its namespace: whose consumer routes concern it */
	__u32 pad2;
};
_Static_assert(sizeof(struct endpoint) == 40, "endpoint");

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
#define IPCACHE_REMOTE     8u /* pod range of another node */

/* ---- nodes: who may send through the tunnel ------------------------------------------------------------------------
 */

/* nodes: address of another node -> the pods that it may speak for. */
struct node {
	struct addr range[2]; /* its pod CIDRs, IPv4 and IPv6; without one, no address & mask is equal to range */
	struct addr mask[2];
};
_Static_assert(sizeof(struct node) == 64, "node");

#define TUNNEL_ID   0x776566u /* VXLAN network identifier of all that weft sends */
#define TUNNEL_PORT 8472      /* as Cilium's and flannel's */

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
	__u16 l7;    /* with POLICY_ALLOW: the listener that has to see the requests; 0 = none. TCP only */
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
	__u16 l7;       /* listener that the other side's end belongs to; 0 = none */
	__u8 proxy;     /* bit per side: its end is a socket of this node's Envoy */
	__u8 phase;     /* PHASE_*: what the initiator has been through; PHASE_NONE unless it is Envoy */
	__u8 next;      /* PHASE_*: what `l7` is for */
	__u8 cut_why;   /* FLOW_CUT: verdict for its packets; 0 = POLICY_REVOKED */
	__u8 tunnel;    /* bit per side: its packets come through the tunnel only */
	__u8 pad;
};
_Static_assert(sizeof(struct flow) == 64, "flow");

enum flow_state {
	FLOW_NEW = 0,     /* nothing came back yet */
	FLOW_OPEN = 1,    /* both directions seen */
	FLOW_CLOSING = 2, /* FIN from both, or RST */
	FLOW_CUT = 3,     /* policy no longer allows it: packets are refused, TCP is reset */
};

/* A key of `flows` whose padding takes the answer. */
struct flow_review {
	struct addr address[2];
	__be16 port[2];
	__u8 protocol;
	__u8 answer; /* REVIEW_* */
	__u8 proxy;  /* struct flow's */
	__u8 pad;
};
_Static_assert(sizeof(struct flow_review) == sizeof(struct flow_key), "flow_review");

enum review {
	REVIEW_NEEDLESS = 0, /* gone, not TCP, over, or decided by the policy in force */
	REVIEW_ALLOWED = 1,
	REVIEW_REFUSED = 2,
};

/* flow_count: how many flows an endpoint has, and how many it may have. */
struct flow_count {
	__u32 live;  /* changed by programs only */
	__u32 limit; /* set when the agent adds the key */
};
_Static_assert(sizeof(struct flow_count) == 8, "flow_count");

/* ---- layer 7: docs/decisions/0007-layer-7.md --------------------------------------------------------------------- */

/* Envoy's listeners have these addresses, which nothing routes to, and their number as port. */
#define PROXY_V4      0x7f776566         /* 127.119.101.102 */
#define PROXY_V6_HIGH 0x0100000000000000 /* 100::7765:6674 */
#define PROXY_V6_LOW  0x77656674

/* Marks of Envoy's sockets. */
#define MARK_MASK          0xf00u
#define MARK_PROXY_ANSWER  0x900u /* its accepted sockets */
#define MARK_PROXY_ROUTED  0xa00u /* its upstream sockets: the phase that is done */
#define MARK_PROXY_EGRESS  0xb00u
#define MARK_PROXY_INGRESS 0xc00u

/* Source ports of Envoy's upstream connections, apart from those of pods' own. */
#define PROXY_PORT_FIRST 61000
#define PROXY_PORT_LAST  65535

/* A connection's ways through Envoy, in their order. (mark >> 8) - 9 of Envoy's sockets. */
enum proxy_phase {
	PHASE_NONE = 0,
	PHASE_ROUTE = 1,   /* the client dialled a routed service port */
	PHASE_EGRESS = 2,  /* http rules of the client's policy */
	PHASE_INGRESS = 3, /* http rules of the server's policy */
};

/* routes: which listener has the routes of a service port, for clients of a namespace */
struct route_key {
	__u32 service; /* service.id */
	__u32 scope;   /* endpoint.scope of the client; 0 = clients whose namespace has no routes of its own */
};
_Static_assert(sizeof(struct route_key) == 8, "route_key");

/* proxy_sockets: Envoy's listening sockets */
struct proxy_key {
	__u32 family; /* AF_INET, AF_INET6 */
	__u32 port;   /* the listener's number */
};
_Static_assert(sizeof(struct proxy_key) == 8, "proxy_key");

/* proxied: what went to Envoy for a phase, counted where it was sent there */
struct proxy_count {
	__u64 connections;
	__u64 packets;
	__u64 bytes;
};
_Static_assert(sizeof(struct proxy_count) == 24, "proxy_count");

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
	__u32 id;               /* stable number of the service port, for affinity and routes */
	__u32 routed;           /* 1: socket hooks leave TCP connections alone; they go to Envoy (map routes) */
	__u32 pad;
};
_Static_assert(sizeof(struct service) == 24, "service");

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

/* backend_members: is this backend still in the list? (only for lists with affinity or of UDP) */
struct member_key {
	struct addr address;
	__be16 port;
	__u8 pad[2];
	__u32 backends;
};
_Static_assert(sizeof(struct member_key) == 24, "member_key");

struct affinity_key {
	__u64 client; /* network-namespace cookie: the pod, or the node */
	__u32 service;
	__u32 pad;
};
_Static_assert(sizeof(struct affinity_key) == 16, "affinity_key");

struct affinity {
	struct backend backend;
	__u64 last_seen_ns;
};
_Static_assert(sizeof(struct affinity) == 32, "affinity");

/* peer_tcp, peers_udp: what a socket dialled, and where that went */
struct dialled {
	struct backend service;
	struct backend backend;
	__u32 backends; /* list the backend came from */
	__u32 pad;
};
_Static_assert(sizeof(struct dialled) == 56, "dialled");

/* One question to the `dialled` program (PROG_TEST_RUN only): the packet holds it, the answer overwrites it. */
struct udp_socket {
	struct backend local;
	struct backend peer;
	/* answer: */
	struct dialled dialled;
};
_Static_assert(sizeof(struct udp_socket) == 104, "udp_socket");

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
#define EVENT_F_PROXIED          32u /* the packet went to Envoy, or would have */
#define EVENT_F_FROM_PROXY       64u /* Envoy made it, in the name of its source */

/* ---- configuration and counters ---------------------------------------------------------------------------------- */

/* config: one element, read by every packet. The timer that ages flows changes `now_ns`, the agent the rest. */
struct config {
	__u32 revision;
	__u32 proxy_ifindex; /* of weft_proxy, which leads to Envoy; 0 = there is none */
	__u32 proxy_netns;   /* its namespace, as this one numbers it */
	__u32 tunnel;        /* ifindex of weft_vxlan: other nodes' pods send through it only; 0 = direct routing */
	__u64 now_ns; /* monotonic clock at the timer's last tick (2 s apart): a real clock would cost each packet 20 ns
		       */
	__u64 node_netns; /* cookie of the node's network namespace */
};
_Static_assert(sizeof(struct config) == 32, "config");

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
	__u16 egress_l7; /* listeners that it would pass, in this order: route_l7, egress_l7, ingress_l7; 0 = none */
	__u16 ingress_l7;
	__u16 route_l7; /* of a routed service's address; what policy says then is asked about the backend */
	__u16 pad3;
};
_Static_assert(sizeof(struct policy_query) == 64, "policy_query");

#endif
