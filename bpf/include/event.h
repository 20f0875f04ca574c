/* What the agent learns: exact counters for everything, records for what is worth a line. */
#ifndef WEFT_EVENT_H
#define WEFT_EVENT_H

#include "base.h"
#include "maps.h"
#include "packet.h"

/* Records of one kind within a second; more are folded into the next one's `folded`. 64 kinds per device: a pod that
 * floods writes 512 records a second at most, and takes no other pod's share. */
#define RECORDS_PER_WINDOW 8

/* What a record says beside the packet. */
struct record {
	__u32 source_identity;
	__u32 destination_identity;
	__u32 source_endpoint;
	__u32 destination_endpoint;
	__u32 egress_rule;
	__u32 ingress_rule;
	__u32 revision;
	__u32 length;
	__u32 ifindex;
	__u32 folded;
	__u64 cgroup;
	__u16 flags;
	__u8 type;
	__u8 reason;
	__u32 pad;
};

/* Envoy's packets count as those to pods. */
INLINE void count(__u8 reason, __u32 door, __u32 bytes)
{
	__u32 index = (door != FROM_POD) << 8 | reason;
	struct counter *counter = bpf_map_lookup_elem(&counters, &index);

	if (counter) {
		counter->packets++;
		counter->bytes += bytes;
	}
}

/* Whether a refusal's record is to be written now, with the number of those left out before it. */
INLINE int fold(const struct packet *p, struct record *record)
{
	__u64 now = bpf_ktime_get_coarse_ns();
	__u64 kind = (p->destination.d[0] ^ p->destination.d[1] ^ (__u64)p->policy_port << 48 ^
		      (__u64)p->protocol << 8 ^ record->reason) *
		     0x9e3779b97f4a7c15ULL;
	__u32 slot = record->ifindex % FOLD_SOURCES * FOLD_KINDS + (kind >> 58);
	struct fold *window = bpf_map_lookup_elem(&folds, &slot);

	if (!window)
		return 1;
	if (now - window->start_ns >= NSEC_PER_SEC) {
		window->start_ns = now;
		window->written = 0;
	}
	if (window->written >= RECORDS_PER_WINDOW) {
		__sync_fetch_and_add(&window->folded, 1);
		return 0;
	}
	window->written++;
	record->folded = __sync_lock_test_and_set(&window->folded, 0);
	return 1;
}

/* Write a record, or count it as lost, with those that it speaks for. */
SUBPROGRAM void record_write(const struct packet *p, const struct record *record)
{
	struct flow_event *event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
	int icmp = p->protocol == IPPROTO_ICMP || p->protocol == IPPROTO_ICMPV6;

	if (!event) {
		__u32 zero = 0;
		__u64 *lost = bpf_map_lookup_elem(&events_lost, &zero);
		if (lost)
			*lost += 1 + record->folded;
		return;
	}
	/* Field by field: a whole value would be made on the stack first. */
	__builtin_memset(event, 0, sizeof(*event));
	event->time_ns = bpf_ktime_get_boot_ns();
	event->source = p->source;
	event->destination = p->destination;
	event->source_port = icmp ? 0 : p->source_port;
	event->destination_port = icmp ? p->policy_port : p->destination_port;
	event->protocol = p->protocol;
	event->tcp_flags = p->tcp_flags;
	event->type = record->type;
	event->reason = record->reason;
	event->source_identity = record->source_identity;
	event->destination_identity = record->destination_identity;
	event->source_endpoint = record->source_endpoint;
	event->destination_endpoint = record->destination_endpoint;
	event->egress_rule = record->egress_rule;
	event->ingress_rule = record->ingress_rule;
	event->revision = record->revision;
	event->length = record->length;
	event->folded = record->folded;
	event->ethertype = p->ethertype;
	event->flags = record->flags;
	event->ifindex = record->ifindex;
	event->cgroup = record->cgroup;
	mac_copy((struct mac *)event->source_mac, &p->source_mac);
	mac_copy((struct mac *)event->destination_mac, &p->destination_mac);
	bpf_ringbuf_submit(event, 0);
}

#endif
