/* Ages the flow table without the agent: a timer that lives in a pinned map. It looks at every flow once in a round, a
 * slice at a time, because no packet passes its CPU meanwhile. */
#include "flow.h"

#define EXPIRY_INTERVAL_NS (2 * NSEC_PER_SEC) /* from one round to the next, and of the clock that packets read */
#define EXPIRY_SLICE       1024               /* flows: 0.2 to 0.4 ms */
#define EXPIRY_PAUSE_NS    (10 * NSEC_PER_SEC / 1000)
#define CLOCK_MONOTONIC    1

struct slice {
	__u64 now;
	__u32 round;
	__u32 last; /* the round is over */
};

static long expire_next(__u32 index, struct slice *slice)
{
	struct flow_turn turn;
	struct flow *flow;
	__u32 owner;

	(void)index;
	if (bpf_map_pop_elem(&flow_turns, &turn)) {
		slice->last = 1;
		return 1;
	}
	flow = bpf_map_lookup_elem(&flows, &turn.key);
	if (!flow)
		return 0;
	if (turn.round == slice->round)
		slice->last = 1;
	turn.round = slice->round;
	owner = flow->owner;
	if ((flow_expired(flow, turn.key.protocol, slice->now) || bpf_map_push_elem(&flow_turns, &turn, 0)) &&
	    !bpf_map_delete_elem(&flows, &turn.key))
		flow_uncount(owner);
	return slice->last != 0;
}

/* The clock that packets read. Returns how long it is right. */
INLINE __u64 tick(__u64 now)
{
	__u32 zero = 0;
	struct config *clock = bpf_map_lookup_elem(&config, &zero);

	if (!clock)
		return EXPIRY_INTERVAL_NS;
	if (now - clock->now_ns >= EXPIRY_INTERVAL_NS)
		clock->now_ns = now;
	return clock->now_ns + EXPIRY_INTERVAL_NS - now;
}

static int expire_some(void *map, int *key, struct expiry_timer *expiry)
{
	struct slice slice = {.now = bpf_ktime_get_coarse_ns(), .round = expiry->rounds + 1};
	__u64 wait = tick(slice.now);

	(void)map, (void)key;
	bpf_loop(EXPIRY_SLICE, expire_next, &slice, 0);
	if (slice.last)
		expiry->rounds++;
	bpf_timer_start(&expiry->timer, slice.last && wait > EXPIRY_PAUSE_NS ? wait : EXPIRY_PAUSE_NS, 0);
	return 0;
}

/* Run once by PROG_TEST_RUN after each load. When the timer runs already, it goes on with this program's code.
 * Returns 0, or the positive errno of what failed. */
SEC("tc")
int start_expiry(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct expiry_timer *timer = bpf_map_lookup_elem(&expiry, &zero);
	long error;

	(void)skb;
	if (!timer)
		return 2; /* ENOENT */
	tick(bpf_ktime_get_coarse_ns());
	error = bpf_timer_init(&timer->timer, &expiry, CLOCK_MONOTONIC);
	if (error && error != -16) /* EBUSY: an earlier load armed it */
		return -error;
	error = bpf_timer_set_callback(&timer->timer, expire_some);
	if (!error)
		error = bpf_timer_start(&timer->timer, EXPIRY_PAUSE_NS, 0);
	return -error;
}

char LICENSE[] SEC("license") = "GPL";
