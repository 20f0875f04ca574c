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
	struct peer from, to;
	struct policy_question question = {&from, &to, q->port, q->protocol};
	struct decision decision = {};

	peer_find(&q->destination, &to);
	peer_find(&q->source, &from);
	if (!from.pod.id || from.pod.id != to.pod.id) { /* what a pod says to itself never leaves its namespace */
		decision.reason = ends_refused(q, &from, &to);
		if (!decision.reason)
			policy_decide(&question, &decision);
	}
	q->reason = decision.reason;
	q->flags = decision.flags;
	q->egress_rule = decision.egress_rule;
	q->ingress_rule = decision.ingress_rule;
	q->source_identity = from.pod.identity;
	q->destination_identity = to.pod.identity;
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
