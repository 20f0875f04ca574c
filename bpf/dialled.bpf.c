/* What service a connected UDP socket dialled. Only PROG_TEST_RUN runs it. */
#include "base.h"
#include "maps.h"
#include "packet.h"

/* The packet holds an Ethernet header of no meaning, then a struct udp_socket of the caller's network namespace; what
 * it dialled overwrites it in place, zero if that was no service. Returns 1 if there is such a socket. */
SEC("tc")
int dialled(struct __sk_buff *skb)
{
	struct bpf_sock_tuple tuple = {};
	struct udp_socket asked;
	struct dialled *found;
	struct bpf_sock *sk;
	__u32 size;

	if (bpf_skb_load_bytes(skb, ETH_SIZE, &asked, sizeof(asked)))
		return 0;
	/* As a packet that comes for it. */
	if (is_v4(&asked.peer.address)) {
		tuple.ipv4.saddr = v4_of(&asked.peer.address);
		tuple.ipv4.daddr = v4_of(&asked.local.address);
		tuple.ipv4.sport = asked.peer.port;
		tuple.ipv4.dport = asked.local.port;
		size = sizeof(tuple.ipv4);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, &asked.peer.address, 16);
		__builtin_memcpy(tuple.ipv6.daddr, &asked.local.address, 16);
		tuple.ipv6.sport = asked.peer.port;
		tuple.ipv6.dport = asked.local.port;
		size = sizeof(tuple.ipv6);
	}
	sk = bpf_sk_lookup_udp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	found = bpf_sk_storage_get(&peer_tcp, sk, 0, 0);
	if (found)
		asked.dialled = *found;
	else
		__builtin_memset(&asked.dialled, 0, sizeof(asked.dialled));
	bpf_sk_release(sk);
	bpf_skb_store_bytes(skb, ETH_SIZE, &asked, sizeof(asked), 0);
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
