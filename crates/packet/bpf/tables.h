/* The tables of the balancer. */
#pragma once
#include "types.h"

/* What the tables use. Constant while a program is loaded: what is not used is not there, because
 * the verifier takes out what cannot be reached. `abi::feature` has the same bits. */
enum {
	FEATURE_PREFIX = 1 << 0, /* services of prefixes */
	FEATURE_ROUTE = 1 << 1,	 /* next hops for transit traffic */
	FEATURE_SNAT = 1 << 2,	 /* connections that servers open outward */
	FEATURE_SOURCES = 1 << 8, /* clients keep their servers */
	FEATURE_GUARD = 1 << 3,	 /* services have guards, */
	FEATURE_LISTS = 1 << 4,	 /* with lists of sources, */
	FEATURE_LIMITS = 1 << 5, /* limits, */
	FEATURE_COOKIES = 1 << 6, /* SYN cookies, */
	FEATURE_SPLICE = 1 << 7, /* with which clients connect at once */
};

const volatile u32 features SEC(".rodata") = 0;

#define uses(feature) (features & (feature))

struct {
	map_uint(type, MAP_HASH);
	map_uint(max_entries, 65536);
	map_uint(map_flags, MAP_NO_PREALLOC);
	map_type(key, struct address);
	map_type(value, u32);
} vips SEC(".maps");

struct {
	map_uint(type, MAP_HASH);
	map_uint(max_entries, 65536);
	map_uint(map_flags, MAP_NO_PREALLOC);
	map_type(key, struct service_key);
	map_type(value, struct service);
} services SEC(".maps");

struct {
	map_uint(type, MAP_ARRAY);
	map_uint(max_entries, 16384);
	map_type(key, u32);
	map_type(value, struct server);
} servers SEC(".maps");

struct table {
	map_uint(type, MAP_ARRAY);
	map_uint(max_entries, 1);
	map_uint(map_flags, MAP_INNER);
	map_type(key, u32);
	map_type(value, u32);
};

struct {
	map_uint(type, MAP_ARRAY_OF_MAPS);
	map_uint(max_entries, 16384);
	map_type(key, u32);
	struct table *values[];
} tables SEC(".maps");

struct {
	map_uint(type, MAP_HASH);
	map_uint(max_entries, 2097152);
	map_type(key, struct flow_key);
	map_type(value, struct flow);
} flows SEC(".maps");

/* Servers of clients; user space removes what is over. */
struct {
	map_uint(type, MAP_HASH);
	map_uint(max_entries, 1048576);
	map_uint(map_flags, MAP_NO_PREALLOC);
	map_type(key, struct source_key);
	map_type(value, struct kept);
} sources SEC(".maps");

/* Places of servers that clients keep, by frontend. */
struct {
	map_uint(type, MAP_HASH);
	map_uint(max_entries, 16384);
	map_uint(map_flags, MAP_NO_PREALLOC);
	map_type(key, struct seat_key);
	map_type(value, u32);
} seats SEC(".maps");

/* Whose answers these may be: a half-open connection takes one entry of `flows`, not two. */
struct {
	map_uint(type, MAP_HASH);
	map_uint(max_entries, 65536);
	map_uint(map_flags, MAP_NO_PREALLOC);
	map_type(key, struct origin_key);
	map_type(value, struct origin);
} origins SEC(".maps");

struct {
	map_uint(type, MAP_LPM_TRIE);
	map_uint(max_entries, 65536);
	map_uint(map_flags, MAP_NO_PREALLOC);
	map_type(key, struct prefix_key);
	map_type(value, struct prefix);
} prefixes SEC(".maps");

/* Next hops of transit traffic: indices in `servers`; the upper half is the VLAN of those who are not beyond. */
struct {
	map_uint(type, MAP_HASH);
	map_uint(max_entries, 16384);
	map_uint(map_flags, MAP_NO_PREALLOC);
	map_type(key, struct gateway_key);
	map_type(value, u32);
} gateways SEC(".maps");

/* Connections of each server; user space takes away those that it removes. */
struct {
	map_uint(type, MAP_ARRAY);
	map_uint(max_entries, 16384);
	map_uint(map_flags, MAP_MMAPABLE);
	map_type(key, u32);
	map_type(value, u32);
} live SEC(".maps");

struct {
	map_uint(type, MAP_PERCPU_ARRAY);
	map_uint(max_entries, 16384);
	map_type(key, u32);
	map_type(value, struct traffic);
} traffic SEC(".maps");

struct {
	map_uint(type, MAP_PERCPU_ARRAY);
	map_uint(max_entries, EVENTS);
	map_type(key, u32);
	map_type(value, u64);
} events SEC(".maps");

struct {
	map_uint(type, MAP_ARRAY);
	map_uint(max_entries, 1);
	map_type(key, u32);
	map_type(value, struct settings);
} settings SEC(".maps");

/* Both directions of a session while it is made: too large for the stack. */
struct scratch {
	struct flow flow, back;
	struct flow_key back_key, key;
	struct prefix_key prefix_key;
	struct gateway_key gateway_key;
	struct service_key service_key;
	struct splice splice;
};

struct {
	map_uint(type, MAP_PERCPU_ARRAY);
	map_uint(max_entries, 1);
	map_type(key, u32);
	map_type(value, struct scratch);
} scratch SEC(".maps");

/* The addresses of interfaces on their links, in the first six bytes. */
struct {
	map_uint(type, MAP_HASH);
	map_uint(max_entries, 1024);
	map_type(key, u32);
	map_type(value, u64);
} macs SEC(".maps");

/* The ports of datagrams that come in pieces. */
struct {
	map_uint(type, MAP_LRU_HASH);
	map_uint(max_entries, 16384);
	map_type(key, struct fragment_key);
	map_type(value, struct ports);
} fragments SEC(".maps");

struct {
	map_uint(type, MAP_HASH);
	map_uint(max_entries, 1024);
	map_type(key, u32);
	map_type(value, struct port);
} ports SEC(".maps");

struct {
	map_uint(type, MAP_HASH);
	map_uint(max_entries, 4096);
	map_type(key, struct lane);
	map_type(value, u32);
} lanes SEC(".maps");

/* By address on the link, in the first six bytes. Only of those that talk to this machine itself. */
struct {
	map_uint(type, MAP_LRU_HASH);
	map_uint(max_entries, 16384);
	map_type(key, u64);
	map_type(value, struct station);
} stations SEC(".maps");

/* The VLANs that servers, and the routers before them, are in. */
struct {
	map_uint(type, MAP_HASH);
	map_uint(max_entries, 65536);
	map_uint(map_flags, MAP_NO_PREALLOC);
	map_type(key, struct address);
	map_type(value, u32);
} tags SEC(".maps");

/* What user space tells another machine; read some hundred times a second, without being woken. */
struct {
	map_uint(type, MAP_RING);
	map_uint(max_entries, 8388608);
} news SEC(".maps");

/* How many did not fit there. */
struct {
	map_uint(type, MAP_ARRAY);
	map_uint(max_entries, 1);
	map_uint(map_flags, MAP_MMAPABLE);
	map_type(key, u32);
	map_type(value, u32);
} news_lost SEC(".maps");

/* Neighbours that user space is to look for. */
struct {
	map_uint(type, MAP_HASH);
	map_uint(max_entries, 1024);
	map_type(key, struct wanted);
	map_type(value, u32);
} wanted SEC(".maps");

inline_always void count(u32 event)
{
	u64 *n = map_lookup(&events, &event);
	if (n)
		*n += 1;
}

/* The second of the monotonic clock. A division of 64 bits would cost every packet; this is late by less than
 * a second in ten years. */
inline_always u32 now(void)
{
	return (ktime_coarse_ns() >> 26) * 144115188 >> 31;
}
