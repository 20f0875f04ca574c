/* Asks the loaded policy: pure functions of the maps. Only PROG_TEST_RUN runs them. */
#include "admit.h"

#define QUERIES_MAX 64 /* a test run's packet is at most a page */
#define REVIEWS_MAX 88
#define NO_MORE     -2

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

/* What to ask about the flow whose key is at `at`. Returns what it has passed (l7, then phase and proxy, as struct flow
 * has them), or -1: nothing to ask, or NO_MORE keys. In a frame of its own: Linux 6.1 has 512 bytes for a chain. */
SUBPROGRAM int review_find(struct __sk_buff *skb, __u32 at, struct policy_query *q)
{
	struct flow_key key;
	struct config *now;
	struct flow *flow;
	__u32 zero = 0;

	if (bpf_skb_load_bytes(skb, at, &key, sizeof(key)))
		return NO_MORE;
	flow = bpf_map_lookup_elem(&flows, &key);
	now = bpf_map_lookup_elem(&config, &zero);
	if (!flow || !now || key.protocol != IPPROTO_TCP || flow->state == FLOW_CLOSING ||
	    (flow->revision == now->revision && flow->state != FLOW_CUT))
		return -1;
	q->source = flow->initiator ? key.address[1] : key.address[0];
	q->destination = flow->initiator ? key.address[0] : key.address[1];
	q->port = flow_policy_port(&key, flow->initiator);
	q->protocol = key.protocol;
	return flow->l7 | flow->phase << 16 | flow->proxy << 24;
}

/* Whether a flow may go on that has passed so much: as admit_again() will say when its next packet comes. */
INLINE int review_allows(const struct policy_query *q, int passed)
{
	__u32 l7 = passed & 0xffff, phase = passed >> 16 & 0xff, next = 0;

	if (phase < PHASE_INGRESS)
		next = q->ingress_l7;
	if (phase < PHASE_EGRESS && q->egress_l7)
		next = q->egress_l7;
	if (phase < PHASE_ROUTE && q->route_l7)
		next = q->route_l7;
	return !q->reason && (!next || next == l7);
}

/* As `query`, with up to 88 struct flow_review: which flows does the policy in force refuse? Returns how many keys
 * there were. */
SEC("tc")
int review(struct __sk_buff *skb)
{
	int i;

	for (i = 0; i < REVIEWS_MAX; i++) {
		__u32 at = ETH_SIZE + i * sizeof(struct flow_review);
		struct policy_query q = {};
		__u8 answer[2] = {};
		int passed = review_find(skb, at, &q);

		if (passed == NO_MORE)
			break;
		if (passed < 0)
			continue;
		query_answer(&q);
		answer[0] = review_allows(&q, passed) ? REVIEW_ALLOWED : REVIEW_REFUSED;
		answer[1] = passed >> 24;
		if (bpf_skb_store_bytes(skb, at + __builtin_offsetof(struct flow_review, answer), answer,
					sizeof(answer), 0))
			break;
	}
	return i;
}

char LICENSE[] SEC("license") = "GPL";
