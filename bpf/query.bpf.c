/* Asks the loaded policy: a pure function of the maps. Only PROG_TEST_RUN runs it. */
#include "admit.h"

#define QUERIES_MAX 64 /* a test run's packet is at most a page */

/* What the doors refuse before they ask policy: from_pod_ends and to_pod_ends. */
INLINE int ends_refused(const struct policy_query *q, const struct peer *from, const struct peer *to)
{
	int refused;

	if (from->pod.id) {
		refused = destination_refused(&q->destination);
		return refused ? refused : target_refused(to);
	}
	if (to->flags & IPCACHE_UNASSIGNED)
		return VERDICT_UNKNOWN_TARGET;
	if (to->pod.id && from->flags & (IPCACHE_SERVICE | IPCACHE_UNASSIGNED))
		return VERDICT_FORGED_HOST_SOURCE;
	return VERDICT_FORWARDED;
}

SUBPROGRAM int query_answer(struct policy_query *q)
{
	struct trip t = {.packet = {.source = q->source, .destination = q->destination, .protocol = q->protocol}};
	const struct decision *decision = &t.decision;

	peer_find(&q->destination, &t.to);
	peer_find(&q->source, &t.from);
	t.decision.reason = ends_refused(q, &t.from, &t.to);
	if (!t.decision.reason)
		leg_decide(&t, 0, q->port, PHASE_NONE);
	q->reason = decision->reason;
	q->flags = decision->flags;
	q->egress_rule = decision->egress_rule;
	q->ingress_rule = decision->ingress_rule;
	q->source_identity = t.from.pod.identity;
	q->destination_identity = t.to.pod.identity;
	q->route_l7 = decision->next == PHASE_ROUTE ? decision->l7 : 0;
	q->egress_l7 = decision->egress_l7;
	q->ingress_l7 = decision->ingress_l7;
	return 0;
}

/* The packet holds an Ethernet header of no meaning, then up to 64 struct policy_query; answers overwrite them in
 * place. Returns how many were answered. */
SEC("tc")
int query(struct __sk_buff *skb)
{
	int i;

	for (i = 0; i < QUERIES_MAX; i++) {
		__u32 at = ETH_SIZE + i * sizeof(struct policy_query);
		struct policy_query q;

		if (bpf_skb_load_bytes(skb, at, &q, sizeof(q)))
			break;
		query_answer(&q);
		if (bpf_skb_store_bytes(skb, at, &q, sizeof(q), 0))
			break;
	}
	return i;
}

char LICENSE[] SEC("license") = "GPL";
