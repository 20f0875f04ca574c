/* Egress of weft_host: everything that the node or the world sends to a pod. */
#include "admit.h"
#include "fast.h"
#include "refuse.h"

/* Finds both ends; 0 or the verdict that refuses the packet. */
INLINE int to_pod_ends(struct trip *t)
{
	int pod = peer_find(&t->packet.destination, &t->to);

	if (!pod)
		return VERDICT_UNKNOWN_TARGET;
	/* Local pods come through the other door; the node's own packets were received from nowhere. */
	if (peer_find(&t->packet.source, &t->from))
		return VERDICT_FORGED_HOST_SOURCE;
	if (t->from.flags & (IPCACHE_SERVICE | IPCACHE_UNASSIGNED))
		return t->from.flags & IPCACHE_REMOTE ? VERDICT_UNKNOWN_SENDER : VERDICT_FORGED_HOST_SOURCE;
	if (t->from.flags & IPCACHE_HOST && t->device)
		return VERDICT_FORGED_HOST_SOURCE;
	if (t->from.flags & IPCACHE_REMOTE && t->tunnel && t->device != t->tunnel)
		return VERDICT_FORGED_HOST_SOURCE;
	return VERDICT_FORWARDED;
}

/* t->decision.reason holds what parsing said. */
SUBPROGRAM int to_pod_slow(struct __sk_buff *skb, struct trip *t)
{
	trip_start_slowly(t);
	if (!t->decision.reason)
		t->decision.reason = to_pod_ends(t);
	if (t->decision.reason)
		return refuse(skb, t);
	t->decision.reason = t->packet.icmp_error ? admit_error(skb, t) : admit(skb, t);
	return t->decision.reason ? refuse(skb, t) : slow_pass(skb, t);
}

SEC("tc")
int to_pod(struct __sk_buff *skb)
{
	struct trip t;
	struct flow *flow;
	__u32 me;

	trip_start(&t);
	t.door = TO_POD;
	t.device = skb->ingress_ifindex;
	trip_date(&t);
	t.decision.reason = parse(skb, &t.packet);
	if (t.decision.reason || t.packet.icmp_error)
		return to_pod_slow(skb, &t);
	t.side = flow_key_of(&t.packet, &t.key);
	me = t.side & 1;
	flow = bpf_map_lookup_elem(&flows, &t.key);
	if (flow && flow_decides(flow, &t) && !flow->ifindex[me] && flow->ifindex[me ^ 1] && flow_device_fits(flow, &t))
		return flow_pass(skb, &t, flow);
	return to_pod_slow(skb, &t);
}

char LICENSE[] SEC("license") = "GPL";
