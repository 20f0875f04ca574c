/* Ages the flow table without the agent: a timer that lives in a pinned map. */
#include "flow.h"

#define EXPIRY_INTERVAL_NS (2 * NSEC_PER_SEC)
#define CLOCK_MONOTONIC    1

struct sweep {
	__u64 now;
};

static long expire_one(void *map, const struct flow_key *key, struct flow *flow, struct sweep *sweep)
{
	if (flow_expired(flow, key->protocol, sweep->now)) {
		__u32 owner = flow->owner;
		if (!bpf_map_delete_elem(map, key))
			flow_uncount(owner);
	}
	return 0;
}

/* The clock that packets read. */
INLINE void tick(__u64 now)
{
	__u32 zero = 0;
	struct config *clock = bpf_map_lookup_elem(&config, &zero);

	if (clock)
		clock->now_ns = now;
}

static int expire_all(void *map, int *key, struct expiry_timer *expiry)
{
	struct sweep sweep = {.now = bpf_ktime_get_coarse_ns()};

	(void)map, (void)key;
	tick(sweep.now);
	bpf_for_each_map_elem(&flows, expire_one, &sweep, 0);
	bpf_timer_start(&expiry->timer, EXPIRY_INTERVAL_NS, 0);
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
	error = bpf_timer_set_callback(&timer->timer, expire_all);
	if (!error)
		error = bpf_timer_start(&timer->timer, EXPIRY_INTERVAL_NS, 0);
	return -error;
}

char LICENSE[] SEC("license") = "GPL";
