/* What stands in the tables that the programs share with user space. `src/abi.rs` says the same in Rust, field by
 * field; a change here is a change there and of ABI. Addresses are 16 bytes in network order, IPv4
 * as ::ffff:a.b.c.d; ports are in network order. */
#pragma once
#include "kernel.h"

/* Begins where eight bytes can be moved at once. */
#define in_words __attribute__((aligned(8)))
/* Moves an address between two of those. */
#define move16(to, from) __builtin_memcpy(to, from, 16)

struct address {
	u32 words[4];
};

/* A packet's addresses as it came: what a session is found by. */
struct flow_key {
	u32 src[4], dst[4];
	u16 sport, dport;
	u16 vlan; /* 0: no tag */
	u8 proto, pad;
} in_words;

/* Where a frame goes on its link. */
struct hop {
	u8 dst[6];
	u16 vlan; /* 0: no tag */
	u8 src[6];
	u16 mtu;
	u32 ifindex; /* 0: not known */
};

/* What is done to packets of one direction of a session. */
struct flow {
	u32 src[4], dst[4]; /* after the rewrite; of the outer header for tunnels */
	u16 sport, dport;   /* after the rewrite */
	struct hop hop;	    /* of answers; packets to servers take the server's, this has its VLAN, and else
			     * where the client is while no answer has come */
	u32 server;	    /* index in `servers` */
	u32 state;	    /* FLOW_… */
	u32 seen;	    /* second of the monotonic clock */
	u32 born;
	u32 epoch;	    /* of `settings` when `hop` was found */
	u16 ip_delta;	    /* what the rewrite adds to the sums of the IPv4 header */
	u16 address_delta;  /* … and to a pseudo header by its addresses */
	u16 port_delta;	    /* … and to TCP and UDP by their ports */
	u8 steps;	    /* STEP_… */
	u8 dscp;
	u32 pad;
} in_words;

enum {
	FLOW_FORWARD = 1 << 0,	  /* client to server */
	FLOW_CONFIRMED = 1 << 1,  /* more than the first packet has come */
	FLOW_FIN = 1 << 2,	  /* this side has said its last */
	FLOW_PEER_FIN = 1 << 3,	  /* … the other one */
	FLOW_RESET = 1 << 4,
	FLOW_COUNTED = 1 << 5,	  /* counts as a connection of its server */
	FLOW_ARRIVED = 1 << 6,	  /* begun by a packet that came through its firewall */
	FLOW_SPLICED = 1 << 7,	  /* its numbers are translated: `splices` */
	FLOW_ROUTED = 1 << 8,	  /* its hop is what the routes say, in a VLAN too */

	STEP_ADDRESSES = 1 << 0,  /* addresses and ports are replaced */
	STEP_TTL = 1 << 1,	  /* one hop less to live */
	STEP_DSCP = 1 << 2,
	STEP_ENCAP = 1 << 3,
	STEP_GRE = 1 << 4, /* inside GRE, */
	STEP_GUE = 1 << 5, /* or inside GUE to the port in `dport` */
	STEP_BRIDGE = 1 << 6, /* the other end on the link stays */
	STEP_ROUTE = 1 << 7, /* nothing but the next hop changes; answers come back this way */
};

/* An end that only one service leads to, */
struct origin_key {
	u32 address[4];
	u16 port, vlan;
	u8 proto, pad[3];
};

/* and that service, as clients name it. */
struct origin {
	u32 address[4];
	u16 port, vlan;
};

/* A client, or its network, */
struct source_key {
	u32 address[4];
	u32 keeper;
};

/* and the server that it had last, whichever frontend led to it. */
struct kept {
	u32 member[2]; /* as in `server` */
	u32 until; /* second of the monotonic clock */
};

/* A server of a backend, as sessions of one frontend have it: its place in `servers`. */
struct seat_key {
	u32 member[2];
	u32 frontend;
};

struct service_key {
	u32 address[4];
	u32 place; /* of a prefix that counts in one place; otherwise 0 */
	u16 port;  /* 0: all of them */
	u8 proto;  /* 0: all of them */
	u8 bits;   /* of a prefix; 0 of an address */
};

/* Addresses that services stand for by their beginning. */
struct prefix_key {
	u32 bits; /* those of the place included */
	u32 place;
	u32 address[4];
};

struct prefix {
	u32 address[4];
	u32 kinds; /* VIP_… */
	u32 bits;
};

/* Where a prefix counts: at an interface (0: at all of them), or in a VLAN there. The number of an interface with a
 * VLAN has 19 bits; the last one of those is for prefixes of sources (`snat`), which count at all interfaces. */
#define SOURCES_IFINDEX 0x7ffffu
#define SOURCES 0xffffffffu /* without a tag: there is no VLAN 4095 */

inline_always u32 place_of(u32 ifindex, u16 vlan)
{
	return vlan ? 1u << 31 | (u32)vlan << 19 | (ifindex & SOURCES_IFINDEX) : ifindex;
}

/* The place of all sessions that servers have opened outward. */
#define OUTWARD 16383

/* Who a frame comes from, where that is a next hop of transit traffic. */
struct gateway_key {
	u8 mac[6];
	u16 family;
	u32 place;
};

/* Interfaces that one service may name. */
#define INTERFACES 4

struct service {
	u32 table;  /* in `tables` */
	u32 size;   /* entries of that table; 0: nobody may be chosen */
	u32 cursor; /* of the round robin */
	u32 ifindex[INTERFACES]; /* only what comes in at one of these; all 0: anywhere */
	u32 pool_first[4];
	u32 pool_size; /* addresses; 0: the client's stays */
	u16 port_first, port_last; /* of the pool; in our own order. The first is that of GUE, too */
	u8 forward; /* FORWARD_… */
	u8 schedule; /* SCHEDULE_… */
	u8 no_flow; /* NO_FLOW_… */
	u8 dscp;
	u8 late; /* the direction of answers is made when the first one comes: see `origins` */
	u8 source_bits; /* of a client's 16 bytes, that `sources` knows it by */
	u8 by;   /* HASH_…, for SCHEDULE_HASH */
	u8 pad;
	u32 keep; /* seconds that a client's server is remembered for new sessions; 0: not at all */
	u32 keeper; /* whose memory that is: of a backend */
	u32 frontend; /* whose sessions these are, for `seats` */
	u32 guard; /* in `guards`; 0: none */
	u32 vlan; /* of its address, or of those of `snat`; 0: none */
};

enum {
	FORWARD_NAT,
	FORWARD_DSR,
	FORWARD_IPIP,
	FORWARD_DSCP,
	FORWARD_GRE,
	FORWARD_GUE,
	FORWARD_BRIDGE,
	FORWARD_ROUTE,
};

enum {
	SCHEDULE_TURN,	 /* a table in order of turns */
	SCHEDULE_FLOW,	 /* a table by a hash of addresses and ports */
	SCHEDULE_HASH,	 /* a table by a hash of what `by` names */
	SCHEDULE_LEAST,	 /* the server with the fewest connections for its weight */
	SCHEDULE_FIRST,	 /* the first server with room */
	SCHEDULE_RANDOM,
	SCHEDULE_PAIR, /* a table by both addresses, whichever comes first */
};

/* What is hashed. */
enum {
	HASH_SRC = 1 << 0,
	HASH_DST = 1 << 1,
	HASH_SPORT = 1 << 2,
	HASH_DPORT = 1 << 3,
	HASH_MAC = 1 << 4, /* who sent the frame on its link */
};

enum {
	NO_FLOW_DROP,
	NO_FLOW_RESET,
	NO_FLOW_HASH,
};

/* Which kinds of service an address has; the upper half is the VLAN that it is in. */
enum {
	VIP_PORT = 1,
	VIP_PROTO = 2,
	VIP_ANY = 4,
	VIP_ANSWER = 8, /* no interface has it: ARP and ND are answered here */
	VIP_PASS = 16,	/* nobody's: for the stack, whatever wider prefixes say */

	VIP_VLAN_SHIFT = 16,
};

struct server {
	u32 address[4];
	u32 local[4];	/* of ours, towards it: the outer source of tunnels */
	struct hop hop;
	u32 flags;	/* SERVER_… */
	u32 weight;
	u32 maxconn;	/* 0: no limit */
	u16 port;	/* 0: the client's */
	u16 pad[3];
	u64 identity;	/* of proxies and server, for whoever starts next */
	u32 member[2];	/* of backend and server */
};

enum {
	SERVER_TAKES = 1, /* sessions that are there go on */
	SERVER_KEEPS = 2, /* at least those of TCP do */
};

/* What a server's sessions have brought; one per processor. */
struct traffic {
	u64 sessions;
	u64 packets_in, bytes_in;   /* from clients */
	u64 packets_out, bytes_out; /* from servers */
	u64 resets, refused;
};

struct settings {
	u32 epoch; /* counts changes of links, routes and neighbours */
	u32 flags; /* SETTING_… */
};

enum {
	SETTING_TELL = 1, /* what becomes of sessions goes to `news` */
};

/* A session that another machine should know, or its end. */
struct news {
	struct flow_key key; /* of the direction from the client */
	struct flow flow;
	u32 over, pad;
};

/* Somebody on a link whose address there is needed, and is not known. */
struct wanted {
	u32 ip[4];
	u32 ifindex;
};

/* What happened to packets that were not simply passed on. */
enum event {
	EVENT_MALFORMED,
	EVENT_NO_SERVER,
	EVENT_NO_FLOW,
	EVENT_TABLE_FULL,
	EVENT_POOL_EMPTY,
	EVENT_NO_NEIGHBOUR,
	EVENT_FRAGMENT_LOST,
	EVENT_TOO_BIG,
	EVENT_RESET,
	EVENT_ICMP,
	EVENT_ARP,
	EVENT_FAILED,
	EVENT_LOOP,
	EVENTS,
};

struct fragment_key {
	u32 src[4], dst[4];
	u32 id;
	u16 vlan;
	u8 proto, pad;
};

/* VLANs of one interface in which a receiver is looked for. */
#define ASKED 8

/* An interface that more is known of: one of two ports that are a bridge, or one with VLANs of ours. */
struct port {
	u32 other;	  /* of a bridge; 0: none */
	u32 home;	  /* where the kernel's protocols see what comes in at either port */
	u8 mac[6];	  /* its own address, */
	u8 other_mac[6];  /* and that of the other port */
	u16 vlans[ASKED]; /* in which who was not met yet is asked for; 0: no more */
};

/* A VLAN that this machine takes part in by these programs, without an interface for it. In `lanes` its value is 1;
 * where the VLAN is 0, the interface is a VLAN's own, and the value is the one that it is on. */
struct lane {
	u32 ifindex;
	u32 vlan;
};

/* Where the owner of an address on the link is. */
struct station {
	u32 ifindex;
	u32 vlan;
};

/* A session whose client was answered by a cookie. */
struct splice {
	u32 isn;    /* the client's, */
	u32 cookie; /* and what it got for the server's */
	u32 delta;  /* from the server's to that, once `ready` */
	u16 mss;    /* of the client, as on the wire */
	u8 ready, pad;
};
