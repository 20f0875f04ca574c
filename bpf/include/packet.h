/* What the programs know of a packet once it is parsed. */
#ifndef WEFT_PACKET_H
#define WEFT_PACKET_H

#include "base.h"

/* Whether a packet can only go one way in a conversation. */
enum role {
	ROLE_ANY = 0,
	ROLE_OPENS = 1,   /* bare SYN, echo request: only from who starts it */
	ROLE_ANSWERS = 2, /* echo reply: only from the other end */
};

enum piece {
	PIECE_WHOLE = 0,
	PIECE_FIRST = 1,
	PIECE_LATER = 2,
};

struct packet {
	struct addr source;
	struct addr destination;
	__be16 source_port; /* ports as struct flow_key has them */
	__be16 destination_port;
	__be16 policy_port; /* what a rule's port means: destination port, or ICMP type << 8 | code */
	__be16 ethertype;
	__u32 fragment_id;
	__u32 piece_offset; /* where a later piece begins in the whole packet, in bytes */
	__u16 l4;           /* offset of the transport header in the frame */
	__u16 payload;      /* TCP: bytes behind its header */
	__u16 piece_length; /* bytes behind the IP header and its extensions */
	__u8 protocol;
	__u8 tcp_flags;
	__u8 role;
	__u8 piece;
	__u8 icmp_error; /* 1: speaks about another packet, whose header it carries */
	__u8 quiet;      /* 1: a kernel's routine chatter; counted when refused, but not recorded */
	struct mac source_mac;
	struct mac destination_mac;
};

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10

#endif
