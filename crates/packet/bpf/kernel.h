/* What we use of the kernel: types, helpers, headers on the wire. Our own small set, because with
 * `-target bpf` the system's headers pull in the C library. Numbers: include/uapi/linux/bpf.h. */
#pragma once

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define inline_always static inline __attribute__((always_inline))
#define out_of_line static __attribute__((noinline, unused))
/* Verified by itself, once: what calls it does not grow by it. What it is given may not be a table's key
 * (Linux before 6.4): keys are copied. */
#define apart __attribute__((noinline))
#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define be16(x) ((u16)__builtin_bswap16(x))
#define be32(x) ((u32)__builtin_bswap32(x))

/* BTF-defined maps. */
#define map_uint(name, value) int(*name)[value]
#define map_type(name, type) type *name

enum {
	MAP_HASH = 1,
	MAP_ARRAY = 2,
	MAP_PERCPU_ARRAY = 6,
	MAP_LRU_HASH = 9,
	MAP_LPM_TRIE = 11,
	MAP_ARRAY_OF_MAPS = 12,
	MAP_RING = 27,

	MAP_NO_PREALLOC = 1,
	MAP_MMAPABLE = 1 << 10,
	MAP_INNER = 1 << 12,

	UPDATE_ANY = 0,
	UPDATE_NOEXIST = 1,
	ALREADY_THERE = -17, /* EEXIST */

	RING_NO_WAKEUP = 1,
};

enum { FIB_NO_NEIGHBOUR = 7 };

struct bpf_fib_lookup {
	u8 family, l4_protocol;
	u16 sport, dport, tot_len;
	u32 ifindex;
	u32 flowinfo; /* tos for IPv4 */
	u32 src[4];
	u32 dst[4];
	u16 h_vlan_proto, h_vlan_TCI;
	u8 smac[6], dmac[6];
};

static void *(*const map_lookup)(void *map, const void *key) = (void *)1;
/* Before Linux 6.4 what tables return has 32 bits, and the upper half of the register is anything. */
static int (*const map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static int (*const map_delete)(void *map, const void *key) = (void *)3;
static u32 (*const random_u32)(void) = (void *)7;
static u64 (*const ktime_coarse_ns)(void) = (void *)160;
static void *(*const ring_reserve)(void *ring, u64 size, u64 flags) = (void *)131;
static void (*const ring_submit)(void *record, u64 flags) = (void *)132;

/* Headers on the wire. Fields are in network order. */

enum {
	ETH_IPV4 = 0x0800,
	ETH_ARP = 0x0806,
	ETH_VLAN = 0x8100,
	ETH_IPV6 = 0x86dd,
	ETH_QINQ = 0x88a8,

	PROTO_ICMP = 1,
	PROTO_IPIP = 4,
	PROTO_TCP = 6,
	PROTO_UDP = 17,
	PROTO_IPV6 = 41,
	PROTO_GRE = 47,
	PROTO_ICMP6 = 58,

	AF_INET = 2,
	AF_INET6 = 10,

	TCP_FIN = 1,
	TCP_SYN = 2,
	TCP_RST = 4,
	TCP_ACK = 16,
};

struct eth {
	u8 dst[6], src[6];
	u16 type;
} __attribute__((packed));

struct vlan {
	u16 tci, type;
} __attribute__((packed));

struct arp {
	u16 hardware, protocol;
	u8 hardware_len, protocol_len;
	u16 operation;
	u8 sender_mac[6];
	u32 sender;
	u8 target_mac[6];
	u32 target;
} __attribute__((packed));

struct ipv4 {
	u8 version_ihl, tos;
	u16 len, id, fragment;
	u8 ttl, proto;
	u16 check;
	u32 src, dst;
} __attribute__((packed, aligned(2)));

struct ipv6 {
	u32 version_class_flow;
	u16 payload;
	u8 next, hops;
	u32 src[4], dst[4];
} __attribute__((packed, aligned(2)));

struct ports {
	u16 src, dst;
} __attribute__((packed, aligned(2)));

struct tcp {
	u16 src, dst;
	u32 seq, ack;
	u8 offset, flags;
	u16 window, check, urgent;
} __attribute__((packed, aligned(2)));

struct udp {
	u16 src, dst, len, check;
} __attribute__((packed, aligned(2)));

struct gre {
	u16 flags, type;
} __attribute__((packed, aligned(2)));

/* Generic UDP encapsulation, variant 0 without options (draft-ietf-intarea-gue). */
struct gue {
	u8 control, proto;
	u16 flags;
} __attribute__((packed, aligned(2)));

struct icmp {
	u8 type, code;
	u16 check;
	u16 id, seq;
} __attribute__((packed, aligned(2)));
