/* The way out for a packet that may pass. */
#ifndef WEFT_DELIVER_H
#define WEFT_DELIVER_H

#include "base.h"
#include "event.h"
#include <linux/pkt_cls.h>

/* Towards the local pod (or Envoy) behind `ifindex`, or to the stack when that is 0. Returns the hook's code. */
INLINE int send(struct __sk_buff *skb, __u32 door, __u32 ifindex, const struct mac *pod)
{
	struct frame *frame = packet_start(skb);

	if (!ifindex)
		return TC_ACT_OK;
	if ((void *)(frame + 1) > packet_end(skb))
		return TC_ACT_SHOT;
	mac_copy(&frame->destination, pod);
	mac_copy(&frame->source, &gateway_mac);
	/* Straight into the pod's namespace; from the stack's side only its own device leads there. */
	return door == TO_POD ? bpf_redirect(ifindex, 0) : bpf_redirect_peer(ifindex, 0);
}

/* send(), and count it. */
INLINE int deliver(struct __sk_buff *skb, __u32 door, __u32 ifindex, const struct mac *pod)
{
	int code = send(skb, door, ifindex, pod);

	count(code == TC_ACT_SHOT ? VERDICT_WRITE_ERROR : VERDICT_FORWARDED, door, skb->len);
	return code;
}

#endif
