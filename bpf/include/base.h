/* Small things that every header needs. */
#ifndef WEFT_BASE_H
#define WEFT_BASE_H

#include "types.h"
#include "verdicts.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <linux/in.h>
#include <linux/in6.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "wide_v4() is written for little-endian machines"
#endif

/* A function of its own in the kernel: keeps the programs short and the stack frames apart. */
#define SUBPROGRAM static __noinline __attribute__((unused))
/* The same, verified once and alone: for what is called from many states. Weak, because each .bpf.c brings its copy.
 * Pointers it gets may be NULL as far as the verifier knows. */
#define GLOBAL __weak __noinline
#define INLINE static __always_inline __attribute__((unused))

#define NSEC_PER_SEC 1000000000ULL
#define ETH_SIZE     14

#define PROXY_FAMILY_V4 2 /* AF_INET, AF_INET6; the C library's headers are not for BPF */
#define PROXY_FAMILY_V6 10

/* Where a program stands: at a pod's own device, before all pods, or at Envoy's device. */
enum door { FROM_POD = 0, TO_POD = 1, FROM_PROXY = 2 };

struct mac {
	__u16 w[3];
};

/* All host sides of pods' veths have this address, 02:77:65:66:74:01, so pods know their gateway without asking. */
static const struct mac gateway_mac = {{0x7702, 0x6665, 0x0174}};
/* Envoy's end of weft_proxy, 02:77:65:66:74:05. */
static const struct mac proxy_mac = {{0x7702, 0x6665, 0x0574}};

struct frame { /* struct ethhdr, but not packed: that would be read byte by byte */
	struct mac destination;
	struct mac source;
	__be16 type;
};
_Static_assert(sizeof(struct frame) == ETH_SIZE, "frame");

/* The packet's first byte and the one behind its last contiguous one. In assembly, because a compiler that keeps them
 * in the 32 bits that struct __sk_buff declares hides from the verifier that they are pointers. */
INLINE void *packet_start(const struct __sk_buff *skb)
{
	void *start;

	asm volatile("%0 = *(u32 *)(%1 + %2)"
		     : "=r"(start)
		     : "r"(skb), "i"(__builtin_offsetof(struct __sk_buff, data)));
	return start;
}

INLINE void *packet_end(const struct __sk_buff *skb)
{
	void *end;

	asm volatile("%0 = *(u32 *)(%1 + %2)"
		     : "=r"(end)
		     : "r"(skb), "i"(__builtin_offsetof(struct __sk_buff, data_end)));
	return end;
}

INLINE int mac_equal(const struct mac *a, const struct mac *b)
{
	return a->w[0] == b->w[0] && a->w[1] == b->w[1] && a->w[2] == b->w[2];
}

/* Word by word: clang 14 loses some copies of 6-byte structs into packets. */
INLINE void mac_copy(struct mac *to, const struct mac *from)
{
	to->w[0] = from->w[0];
	to->w[1] = from->w[1];
	to->w[2] = from->w[2];
}

INLINE int addr_equal(const struct addr *a, const struct addr *b)
{
	return a->d[0] == b->d[0] && a->d[1] == b->d[1];
}

INLINE int is_proxy_v6(const struct addr *a)
{
	return a->d[0] == bpf_cpu_to_be64(PROXY_V6_HIGH) && a->d[1] == bpf_cpu_to_be64(PROXY_V6_LOW);
}

#define V4_MAPPED 0xffff0000ULL /* first half of d[1] of ::ffff:a.b.c.d, as loaded */

INLINE struct addr wide_v4(__be32 v4)
{
	return (struct addr){{0, (__u64)v4 << 32 | V4_MAPPED}};
}

INLINE int is_v4(const struct addr *a)
{
	return a->d[0] == 0 && (__u32)a->d[1] == V4_MAPPED;
}

INLINE __be32 v4_of(const struct addr *a)
{
	return a->d[1] >> 32;
}

#endif
