/* Helpers of the measurements with PROG_TEST_RUN; nothing of weft's own is in here. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <bpf/bpf_helpers.h>

/* Slot 0: the program under test. Slot 1: `nothing`. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} targets SEC(".maps");

/* The Ethernet addresses that each run begins with: a test run repeats on one packet, and delivery rewrites them. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u8[16]);
} ethernet SEC(".maps");

/* The node's own ring, put here by the loader. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} events SEC(".maps");

static __always_inline int jump(struct __sk_buff *skb, __u32 slot)
{
	__u32 zero = 0;
	void *addresses = bpf_map_lookup_elem(&ethernet, &zero);

	if (addresses)
		bpf_skb_store_bytes(skb, 0, addresses, 12, 0);
	bpf_tail_call(skb, &targets, slot);
	return -1;
}

SEC("tc")
int nothing(struct __sk_buff *skb)
{
	return 0;
}

SEC("tc")
int jump_tested(struct __sk_buff *skb)
{
	return jump(skb, 0);
}

SEC("tc")
int jump_nothing(struct __sk_buff *skb)
{
	return jump(skb, 1);
}

/* One record of the size of a flow event. */
SEC("tc")
int produce(struct __sk_buff *skb)
{
	static const char record[120];

	return bpf_ringbuf_output(&events, (void *)record, sizeof(record), 0) ? 1 : 0;
}

char LICENSE[] SEC("license") = "GPL";
