/* Ingress of weft_proxy: everything that Envoy sends, in the name of anybody. Nobody else is behind that device. */
#include "admit.h"
#include "fast.h"
#include "hairpin.h"
#include "refuse.h"

/* Finds both ends; 0 or the verdict that refuses the packet. */
INLINE int from_proxy_ends(struct trip *t)
{
	peer_find(&t->packet.source, &t->from);
	peer_find(&t->packet.destination, &t->to);
	return target_refused(&t->to);
}

/* t->decision.reason holds what parsing said. */
SUBPROGRAM int from_proxy_slow(struct __sk_buff *skb, struct trip *t)
{
	trip_start_slowly(t);
	t->from_proxy = 1;
	if (!t->decision.reason)
		t->decision.reason = from_proxy_ends(t);
	if (t->decision.reason)
		return refuse(skb, t);
	t->decision.reason = t->packet.icmp_error ? admit_error(skb, t) : admit(skb, t);
	if (!t->decision.reason && !t->packet.icmp_error && is_hairpin(&t->packet))
		t->decision.reason = hairpin_out(skb, &t->packet);
	return t->decision.reason ? refuse(skb, t) : slow_pass(skb, t);
}

SEC("tc")
int from_proxy(struct __sk_buff *skb)
{
	struct trip t;
	struct flow *flow;

	trip_start(&t);
	t.door = FROM_PROXY;
	t.device = skb->ifindex;
	trip_date(&t);
	t.decision.reason = parse(skb, &t.packet);
	if (t.decision.reason || t.packet.icmp_error)
		return from_proxy_slow(skb, &t);
	t.side = flow_key_of(&t.packet, &t.key);
	flow = bpf_map_lookup_elem(&flows, &t.key);
	if (flow && flow_decides(flow, &t) && flow->proxy >> (t.side & 1) & 1 && !is_hairpin(&t.packet))
		return flow_pass(skb, &t, flow);
	return from_proxy_slow(skb, &t);
}

char LICENSE[] SEC("license") = "GPL";
