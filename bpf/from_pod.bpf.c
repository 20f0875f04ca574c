/* Ingress of the host side of each pod's veth: everything that a pod sends. */
#include "admit.h"
#include "fast.h"
#include "hairpin.h"
#include "refuse.h"

/* Proves the sender and finds the receiver; 0 or the verdict that refuses the packet. */
INLINE int from_pod_ends(struct trip *t)
{
	struct packet *p = &t->packet;
	int refused;

	if (!peer_find(&p->source, &t->from) || t->from.pod.ifindex != t->device)
		return VERDICT_INVALID_SOURCE_IP;
	if (!mac_equal((struct mac *)t->from.pod.mac, &p->source_mac))
		return VERDICT_INVALID_SOURCE_MAC;
	refused = destination_refused(&p->destination);
	if (refused)
		return refused;
	if (!mac_equal(&p->destination_mac, &gateway_mac))
		return VERDICT_INVALID_DESTINATION_MAC;
	peer_find(&p->destination, &t->to);
	return target_refused(&t->to);
}

/* t->decision.reason holds what parsing said. */
SUBPROGRAM int from_pod_slow(struct __sk_buff *skb, struct trip *t)
{
	int hairpin;

	trip_start_slowly(t);
	hairpin = !t->decision.reason && hairpin_answers(t);
	if (!t->decision.reason)
		t->decision.reason = from_pod_ends(t);
	if (t->decision.reason)
		return refuse(skb, t);
	t->decision.reason = t->packet.icmp_error ? admit_error(skb, t) : admit(skb, t);
	if (!t->decision.reason && hairpin)
		t->decision.reason = hairpin_back(skb, &t->packet);
	return t->decision.reason ? refuse(skb, t) : slow_pass(skb, t);
}

SEC("tc")
int from_pod(struct __sk_buff *skb)
{
	struct trip t;
	struct flow *flow;

	trip_start(&t);
	t.door = FROM_POD;
	t.device = skb->ifindex;
	trip_date(&t);
	t.decision.reason = parse(skb, &t.packet);
	if (t.decision.reason || t.packet.icmp_error)
		return from_pod_slow(skb, &t);
	t.side = flow_key_of(&t.packet, &t.key);
	flow = bpf_map_lookup_elem(&flows, &t.key);
	if (flow && flow_decides(flow, &t) && flow->ifindex[t.side & 1] == t.device &&
	    mac_equal((struct mac *)flow->mac[t.side & 1], &t.packet.source_mac) &&
	    mac_equal(&t.packet.destination_mac, &gateway_mac))
		return flow_pass(skb, &t, flow);
	return from_pod_slow(skb, &t);
}

char LICENSE[] SEC("license") = "GPL";
