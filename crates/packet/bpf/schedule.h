/* Which server a new session gets. */
#pragma once
#include "parse.h"
#include "tables.h"

/* Servers that one choice looks at when it compares them. */
#define COMPARED 64
/* Entries that one choice passes over because their servers are full. */
#define PROBES 16

inline_always u32 mix(u32 hash, u32 word)
{
	hash = (hash ^ word) * 0x9e3779b1;
	return hash ^ hash >> 15;
}

/* No seed: the choice is the same after a restart and on every balancer with the same servers. */
inline_always u32 hash_address(u32 hash, const u32 *address)
{
	for (int i = 0; i < 4; i++)
		hash = mix(hash, address[i]);
	return hash;
}

inline_always u32 hash_finish(u32 hash)
{
	hash = (hash ^ hash >> 16) * 0x85ebca6b;
	hash = (hash ^ hash >> 13) * 0xc2b2ae35;
	return hash ^ hash >> 16;
}

inline_always u32 hash_flow(const struct flow_key *key)
{
	u32 hash = hash_address(hash_address(key->proto, key->src), key->dst);
	return hash_finish(mix(hash, (u32)key->sport << 16 | key->dport));
}

/* Of some parts of a packet. */
inline_always u32 hash_parts(const struct flow_key *key, u8 by, u32 mac)
{
	u32 hash = mac;
	if (by & HASH_SRC)
		hash = hash_address(hash, key->src);
	if (by & HASH_DST)
		hash = hash_address(hash, key->dst);
	if (by & HASH_SPORT)
		hash = mix(hash, key->sport);
	if (by & HASH_DPORT)
		hash = mix(hash, key->dport);
	return hash_finish(hash);
}

/* Equal in both directions, and on every balancer. */
inline_always u32 hash_pair(const struct flow_key *key)
{
	u32 a = hash_finish(hash_address(0, key->src)), b = hash_finish(hash_address(0, key->dst));
	return hash_finish(a < b ? mix(a, b) : mix(b, a));
}

inline_always u32 live_of(u32 server)
{
	u32 *n = map_lookup(&live, &server);
	return n ? *n : 0;
}

inline_always int is_full(const struct server *s, u32 index)
{
	return s->maxconn && live_of(index) >= s->maxconn;
}

/* More than any load. */
#define FULL ~0ull

/* A server's sessions for its weight; FULL where it takes no more. */
apart u64 load_of(u32 server)
{
	struct server *s = map_lookup(&servers, &server);
	if (!s || is_full(s, server))
		return FULL;
	return (u64)live_of(server) * 65536 / (s->weight ? s->weight : 1);
}

/* Whose turn it is, of so many. Processors that choose at the same moment may give a turn twice: to prevent that
 * would cost each first packet more than it is worth. */
inline_always u32 take_turn(struct service *service, u32 size)
{
	u32 at = service->cursor;
	service->cursor = at + 1 < size ? at + 1 : 0;
	return at < size ? at : 0;
}

/* The index of a server, or -1. `mac` is a hash of who sent the frame, where that counts. */
apart int pick(struct service *service, const struct flow_key *key, u32 mac)
{
	if (!service || !key)
		return -1;
	u32 id = service->table, size = service->size, start = 0, index = 0;
	void *table = map_lookup(&tables, &id);
	if (!table || size == 0)
		return -1;

	if (service->schedule == SCHEDULE_LEAST || service->schedule == SCHEDULE_FIRST) {
		int best = -1;
		u64 least = FULL;
		/* Ties are broken in turn. */
		if (service->schedule == SCHEDULE_LEAST)
			start = take_turn(service, size);
		for (u32 i = 0; i < COMPARED; i++) {
			if (i >= size)
				break;
			u32 at = start + i < size ? start + i : start + i - size;
			u32 *entry = map_lookup(table, &at);
			if (!entry)
				break;
			u64 load = load_of(*entry);
			if (load >= least)
				continue;
			least = load;
			best = *entry;
			if (service->schedule == SCHEDULE_FIRST)
				break;
		}
		return best;
	}

	switch (service->schedule) {
	case SCHEDULE_TURN:
		start = take_turn(service, size);
		break;
	case SCHEDULE_HASH:
		start = hash_parts(key, service->by, mac);
		break;
	case SCHEDULE_RANDOM:
		start = random_u32();
		break;
	case SCHEDULE_PAIR:
		if (uses(FEATURE_ROUTE))
			start = hash_pair(key);
		break;
	default:
		start = hash_flow(key);
	}
	if (start >= size)
		start %= size;
	for (u32 i = 0; i < PROBES; i++) {
		u32 at = start + i;
		if (at >= size)
			at %= size;
		u32 *entry = map_lookup(table, &at);
		if (!entry)
			return -1;
		index = *entry;
		struct server *s = map_lookup(&servers, &index);
		if (s && !is_full(s, index))
			return index;
	}
	return -1;
}

/* The same, for a client that keeps the server that it had last. */
apart int choose(struct service *service, const struct flow_key *key, u32 mac)
{
	if (!service || !key)
		return -1;
	if (!uses(FEATURE_SOURCES) || !service->keep)
		return pick(service, key, mac);
	struct source_key who = {};
	u32 bits = service->source_bits;
	for (u32 i = 0; i < 4; i++) {
		u32 mask = bits >= 32 ? ~0u : bits ? ~0u << (32 - bits) : 0;
		who.address[i] = key->src[i] & be32(mask);
		bits = bits > 32 ? bits - 32 : 0;
	}
	who.keeper = service->keeper;
	struct kept *known = map_lookup(&sources, &who);
	if (known && known->until > now()) {
		struct seat_key at = { { known->member[0], known->member[1] }, service->frontend };
		u32 *seat = map_lookup(&seats, &at);
		u32 index = seat ? *seat : ~0u;
		struct server *s = map_lookup(&servers, &index);
		if (s && s->flags & SERVER_TAKES && !is_full(s, index)) {
			known->until = now() + service->keep;
			return index;
		}
	}
	int chosen = pick(service, key, mac);
	u32 index = chosen;
	struct server *s = chosen < 0 ? 0 : map_lookup(&servers, &index);
	if (s) {
		struct kept kept = { { s->member[0], s->member[1] }, now() + service->keep };
		/* Where there is no room its next session is scheduled anew. */
		map_update(&sources, &who, &kept, UPDATE_ANY);
	}
	return chosen;
}
