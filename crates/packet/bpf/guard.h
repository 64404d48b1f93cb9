/* What is not let in: the guard of services, before sessions are looked at. Lists of sources, packets that no
 * client means, limits for each source and each service, and SYN cookies. `src/guard/abi.rs` says the
 * structs in Rust, field by field. */
#pragma once
#include "answer.h"
#include "transit.h"

/* Frontends that may have a guard; 0 is none. */
#define GUARDS 1024

/* Lengths of prefixes that are looked up one by one: IPv4's beyond 24, and some of IPv6. */
#define LENGTHS4 7
#define LENGTHS6 24

/* A cell with this bit is the number of a chunk; another is a mask of lists. */
#define CELL_CHUNK 0x80000000u

/* A rate: a unit more is due after so many 2^-16 nanoseconds; units may come so many nanoseconds too
 * early. The virtual scheduling of ITU-T I.371, annex A. */
struct limit {
	u64 cost; /* 0: no limit */
	u64 burst;
};

enum { LIMIT_PACKETS, LIMIT_SYNS, LIMIT_BYTES, LIMITS };

struct guard {
	u32 deny, allow; /* lists, a bit each */
	u32 flags;	 /* GUARD_… */
	u32 pad;
	u64 key[2]; /* of cookies */
	struct limit source[LIMITS], service[LIMITS];
	struct limit calm; /* SYNs beyond this are pressure */
};

enum {
	GUARD_SOURCES = 1 << 0,
	GUARD_SERVICE = 1 << 1,
	GUARD_COOKIES = 1 << 2,
	GUARD_SPLICE = 1 << 3, /* clients connect by a cookie, and are spliced with a server */
};

/* A prefix's length as a mask. */
struct length {
	u32 mask[4];
	u32 bits; /* in 16 bytes */
};

struct guard_setup {
	u32 contents; /* HAS_… */
	u32 minute;   /* of the calendar: a pair has the same */
	u32 count4, count6;
	struct length lengths[LENGTHS4 + LENGTHS6]; /* those of IPv4 first */
};

enum {
	HAS_HOSTS = 1 << 0,
	HAS_CHUNKS = 1 << 1,
	HAS_NETS = 1 << 2,
};

/* Addresses of IPv4 by eight bits: the first 256 chunks are of those that begin so. */
struct chunk {
	u32 cells[256];
};

struct net {
	u32 address[4];
	u32 bits;
};

struct source {
	u32 address[4];
	u32 guard;
};

/* When the next unit is due, by limit. */
struct dues {
	u64 at[LIMITS];
	u64 calm;
};

/* What the guard did. */
enum guarded {
	GUARDED_DENIED,
	GUARDED_INVALID,
	GUARDED_SOURCE,
	GUARDED_SERVICE,
	GUARDED_CHALLENGED,
	GUARDED_PROVEN,
	GUARDED_SPLICED,
	GUARDED,
};

struct guard_counts {
	u64 n[GUARDED];
};

struct {
	map_uint(type, MAP_ARRAY);
	map_uint(max_entries, GUARDS);
	map_type(key, u32);
	map_type(value, struct guard);
} guards SEC(".maps");

struct {
	map_uint(type, MAP_ARRAY);
	map_uint(max_entries, 1);
	map_type(key, u32);
	map_type(value, struct guard_setup);
} guard_setup SEC(".maps");

/* Lists are replaced as a whole, or grow, without a packet between: each stands in one place. */
struct hosts {
	map_uint(type, MAP_HASH);
	map_uint(max_entries, 1);
	map_type(key, struct address);
	map_type(value, u32);
};

struct {
	map_uint(type, MAP_ARRAY_OF_MAPS);
	map_uint(max_entries, 1);
	map_type(key, u32);
	struct hosts *values[];
} guard_hosts SEC(".maps");

struct chunks {
	map_uint(type, MAP_ARRAY);
	map_uint(max_entries, 1);
	map_uint(map_flags, MAP_INNER);
	/* Types that only a table within a table names are not in BTF. */
	map_uint(key_size, sizeof(u32));
	map_uint(value_size, sizeof(struct chunk));
};

struct {
	map_uint(type, MAP_ARRAY_OF_MAPS);
	map_uint(max_entries, 1);
	map_type(key, u32);
	struct chunks *values[];
} guard_chunks SEC(".maps");

struct nets {
	map_uint(type, MAP_HASH);
	map_uint(max_entries, 1);
	map_uint(key_size, sizeof(struct net));
	map_uint(value_size, sizeof(u32));
};

struct {
	map_uint(type, MAP_ARRAY_OF_MAPS);
	map_uint(max_entries, 1);
	map_type(key, u32);
	struct nets *values[];
} guard_nets SEC(".maps");

struct {
	map_uint(type, MAP_LRU_HASH);
	map_uint(max_entries, 1);
	map_type(key, struct source);
	map_type(value, struct dues);
} guard_sources SEC(".maps");

struct {
	map_uint(type, MAP_ARRAY);
	map_uint(max_entries, GUARDS);
	map_type(key, u32);
	map_type(value, struct dues);
} guard_services SEC(".maps");

/* Sources that have answered a challenge, and when. */
struct {
	map_uint(type, MAP_LRU_HASH);
	map_uint(max_entries, 1);
	map_type(key, struct source);
	map_type(value, u32);
} guard_proven SEC(".maps");

struct {
	map_uint(type, MAP_PERCPU_ARRAY);
	map_uint(max_entries, GUARDS);
	map_type(key, u32);
	map_type(value, struct guard_counts);
} guard_counts SEC(".maps");

/* By the keys of both directions. */
struct {
	map_uint(type, MAP_HASH);
	map_uint(max_entries, 65536);
	map_uint(map_flags, MAP_NO_PREALLOC);
	map_type(key, struct flow_key);
	map_type(value, struct splice);
} splices SEC(".maps");

static u64 (*const ktime_ns)(void) = (void *)5;

inline_always void note_guarded(u32 guard, enum guarded what)
{
	struct guard_counts *counts = map_lookup(&guard_counts, &guard);
	if (counts)
		counts->n[what] += 1;
}

/* The lists that a source is in, a bit each. */
inline_always u32 lists_of(const struct packet *p, const struct guard_setup *setup)
{
	u32 zero = 0, listed = 0;
	if (setup->contents & HAS_HOSTS) {
		struct address source;
		copy16(source.words, p->key.src);
		void *hosts = map_lookup(&guard_hosts, &zero);
		u32 *mask = hosts ? map_lookup(hosts, &source) : 0;
		if (mask)
			listed = *mask;
	}
	if (setup->contents & HAS_CHUNKS && p->family == 4) {
		u32 source = be32(p->key.src[3]), at = source >> 24, cell = 0;
		void *chunks = map_lookup(&guard_chunks, &zero);
		struct chunk *chunk = chunks ? map_lookup(chunks, &at) : 0;
		if (chunk)
			cell = chunk->cells[source >> 16 & 255];
		if (cell & CELL_CHUNK) {
			at = cell & ~CELL_CHUNK;
			cell = 0;
			chunk = map_lookup(chunks, &at);
			if (chunk)
				cell = chunk->cells[source >> 8 & 255];
		}
		listed |= cell & ~CELL_CHUNK;
	}
	void *nets = setup->contents & HAS_NETS ? map_lookup(&guard_nets, &zero) : 0;
	if (nets) {
		u32 at = p->family == 4 ? 0 : LENGTHS4;
		u32 end = p->family == 4 ? setup->count4 : LENGTHS4 + setup->count6;
		for (; at < LENGTHS4 + LENGTHS6; at++) {
			if (at >= end)
				break;
			const struct length *length = &setup->lengths[at];
			struct net net = { .bits = length->bits };
			for (u32 w = 0; w < 4; w++)
				net.address[w] = p->key.src[w] & length->mask[w];
			u32 *mask = map_lookup(nets, &net);
			if (mask)
				listed |= *mask;
		}
	}
	return listed;
}

/* Flags that no connection has (RFC 9293 section 3.10.7): none that says what the segment is, or some that
 * exclude each other; and who sends from the address that it sends to. */
inline_always int is_invalid(const struct packet *p)
{
	const u32 *a = p->key.src, *b = p->key.dst;
	if (a[3] == b[3] && a[0] == b[0] && a[1] == b[1] && a[2] == b[2])
		return 1;
	if (p->key.proto != PROTO_TCP || p->pieces == PIECE_LATER)
		return 0;
	u8 flags = p->tcp;
	return !(flags & (TCP_SYN | TCP_ACK | TCP_RST)) ||
	       (flags & (TCP_SYN | TCP_RST)) == (TCP_SYN | TCP_RST) ||
	       (flags & TCP_FIN && flags & (TCP_SYN | TCP_RST));
}

/* Whether these units are too many; if not, they are counted. Processors that count at the same moment may let a
 * few more through. */
inline_always int exceeds(u64 *due, const struct limit *limit, u64 now, u64 units)
{
	u64 from = *due > now ? *due : now, next = from + (units * limit->cost >> 16);
	if (next - now > limit->burst)
		return 1;
	*due = next;
	return 0;
}

inline_always int are_over(struct dues *dues, const struct limit *limits, u64 now, u32 bytes, int begins)
{
	return (limits[LIMIT_PACKETS].cost && exceeds(&dues->at[LIMIT_PACKETS], &limits[LIMIT_PACKETS], now, 1)) ||
	       (begins && limits[LIMIT_SYNS].cost &&
		exceeds(&dues->at[LIMIT_SYNS], &limits[LIMIT_SYNS], now, 1)) ||
	       (limits[LIMIT_BYTES].cost && exceeds(&dues->at[LIMIT_BYTES], &limits[LIMIT_BYTES], now, bytes));
}

/* Who is counted together: an address, of IPv6 a network of 64 bits, which is what one customer has. */
inline_always void source_of(const struct packet *p, u32 guard, struct source *source)
{
	copy16(source->address, p->key.src);
	if (p->family == 6)
		source->address[2] = source->address[3] = 0;
	source->guard = guard;
}

/* Whether a source sends more than it may. */
inline_always int source_is_over(const struct packet *p, u32 at, const struct guard *g, u64 now, u32 bytes,
				 int begins)
{
	struct source source;
	source_of(p, at, &source);
	struct dues *dues = map_lookup(&guard_sources, &source);
	if (!dues) {
		struct dues fresh = {};
		map_update(&guard_sources, &source, &fresh, UPDATE_NOEXIST);
		dues = map_lookup(&guard_sources, &source);
	}
	return dues && are_over(dues, g->source, now, bytes, begins);
}

/* The guard of the service that a packet is for; 0 where there is none. */
inline_always u32 guard_of(context *ctx, const struct packet *p)
{
	struct service *service = 0;
	struct address vip;
	copy16(vip.words, p->key.dst);
	u32 *kinds = map_lookup(&vips, &vip);
	if (kinds) {
		if (*kinds >> VIP_VLAN_SHIFT == p->key.vlan)
			service = find_service(p, *kinds);
	} else if (uses(FEATURE_PREFIX) && find_transit(ctx, p, 0)) {
		u32 zero = 0;
		struct scratch *s = map_lookup(&scratch, &zero);
		service = s ? map_lookup(&services, &s->service_key) : 0;
	}
	return service && comes_in_at(service, arrived_at(ctx)) ? service->guard : 0;
}

/* Seconds that a source is taken to be where it says after it has answered. */
#define PROOF 600

#define rotate(x, n) ((x) << (n) | (x) >> (64 - (n)))
#define sip_round                                                                                     \
	({                                                                                            \
		v0 += v1, v1 = rotate(v1, 13), v1 ^= v0, v0 = rotate(v0, 32);                         \
		v2 += v3, v3 = rotate(v3, 16), v3 ^= v2;                                              \
		v0 += v3, v3 = rotate(v3, 21), v3 ^= v0;                                              \
		v2 += v1, v1 = rotate(v1, 17), v1 ^= v2, v2 = rotate(v2, 32);                         \
	})

#define sip_take(word)            \
	({                        \
		u64 taken = word; \
		v3 ^= taken;      \
		sip_round;        \
		sip_round;        \
		v0 ^= taken;      \
	})

/* A number that only who has the key can tell, and who gets an answer at this address: SipHash-2-4
 * (Aumasson, Bernstein 2012) of addresses, ports, the minute and something that it proves, too. */
out_of_line u32 cookie(const struct guard *g, const struct flow_key *k, u32 minute, u64 extra)
{
	u64 v0 = g->key[0] ^ 0x736f6d6570736575, v1 = g->key[1] ^ 0x646f72616e646f6d;
	u64 v2 = g->key[0] ^ 0x6c7967656e657261, v3 = g->key[1] ^ 0x7465646279746573;
	sip_take((u64)k->src[1] << 32 | k->src[0]);
	sip_take((u64)k->src[3] << 32 | k->src[2]);
	sip_take((u64)k->dst[1] << 32 | k->dst[0]);
	sip_take((u64)k->dst[3] << 32 | k->dst[2]);
	sip_take((u64)minute << 32 | (u32)k->sport << 16 | k->dport);
	sip_take(extra);
	sip_take(48ull << 56);
	v2 ^= 0xff;
	sip_round;
	sip_round;
	sip_round;
	sip_round;
	u64 all = v0 ^ v1 ^ v2 ^ v3;
	return (u32)all ^ (u32)(all >> 32);
}

/* Segments that clients can take, of which a cookie has room to say one; the common ones on Ethernet, in tunnels
 * and at least. */
inline_always u16 segment_size(u32 at)
{
	switch (at & 7) {
	case 7: return 1460;
	case 6: return 1440;
	case 5: return 1400;
	case 4: return 1380;
	case 3: return 1360;
	case 2: return 1300;
	case 1: return 1220;
	default: return 536;
	}
}

/* What a cookie proves beside addresses: the client's first number and its segments. Never 0. */
inline_always u64 proves(u32 isn, u32 segments)
{
	return (u64)(8 | segments) << 32 | isn;
}

#define COOKIE_HASH 0xfffffff8u

/* Answers a SYN so that the client is connected: all that must be known later is in the number that it gets (Bernstein
 * 1996; RFC 4987 section 3.6). */
inline_always int answer_cookie(context *ctx, const struct packet *p, const struct guard *g, u32 minute)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct tcp *tcp = data + bounded(p->l4);
	u16 *option = (void *)(tcp + 1);
	u32 size = 536, segments = 0;
	if ((void *)(tcp + 1) > end)
		return XDP_DROP;
	/* Everybody has it first. */
	if ((void *)(option + 2) <= end && tcp->offset >> 4 > 5 && option[0] == be16(0x0204))
		size = be16(option[1]);
	for (u32 at = 1; at < 8; at++)
		if (size >= segment_size(at))
			segments = at;
	u32 isn = be32(tcp->seq);
	u32 number = (cookie(g, &p->key, minute, proves(isn, segments)) & COOKIE_HASH) | segments;
	struct segment segment = {
		.seq = be32(number),
		.ack = be32(isn + 1),
		.window = 0xffff,
		.mss = be16(p->family == 4 ? 1460 : 1440),
		.flags = TCP_SYN | TCP_ACK,
		.back = 1,
	};
	return write_segment(ctx, p, &segment) ? XDP_DROP : XDP_TX;
}

/* Whether a packet of no session has a cookie of ours; what it says of its client is in `scratch`. */
out_of_line int has_cookie(context *ctx, const struct packet *p, u32 at, struct scratch *s)
{
	u32 zero = 0;
	struct guard_setup *setup = map_lookup(&guard_setup, &zero);
	struct guard *g = map_lookup(&guards, &at);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct tcp *tcp = data + bounded(p->l4);
	if (!setup || !g || !(g->flags & GUARD_SPLICE) || (void *)(tcp + 1) > end || p->key.proto != PROTO_TCP ||
	    p->pieces || (p->tcp & (TCP_SYN | TCP_ACK | TCP_RST | TCP_FIN)) != TCP_ACK)
		return 0;
	u32 number = be32(tcp->ack) - 1, isn = be32(tcp->seq) - 1;
	u64 proof = proves(isn, number & 7);
	if ((number ^ cookie(g, &p->key, setup->minute, proof)) & COOKIE_HASH &&
	    (number ^ cookie(g, &p->key, setup->minute - 1, proof)) & COOKIE_HASH)
		return 0;
	s->splice.isn = isn;
	s->splice.cookie = number;
	s->splice.delta = 0;
	s->splice.mss = be16(segment_size(number));
	s->splice.ready = s->splice.pad = 0;
	note_guarded(at, GUARDED_SPLICED);
	return 1;
}

/* Turns a client's packet into the SYN that its server has not had yet. 0, or -1. */
inline_always int write_syn(context *ctx, const struct packet *p, const struct splice *splice)
{
	struct segment segment = {
		.seq = be32(splice->isn),
		.window = 0xffff,
		.mss = splice->mss,
		.flags = TCP_SYN,
	};
	return write_segment(ctx, p, &segment);
}

/* Notes a splice for both directions of a session that has just been opened, and turns its first packet into a SYN.
 * 0; or -1, and there is no such session: without its splice nothing of it could be understood. */
out_of_line int begin_splice(context *ctx, const struct packet *p, struct scratch *s)
{
	struct flow *f = map_lookup(&flows, &p->key);
	reverse_key(&s->flow, p->key.proto, &s->back_key);
	struct flow *back = map_lookup(&flows, &s->back_key);
	if (f && back && !map_update(&splices, &p->key, &s->splice, UPDATE_ANY) &&
	    !map_update(&splices, &s->back_key, &s->splice, UPDATE_ANY)) {
		__sync_fetch_and_or(&f->state, FLOW_SPLICED);
		__sync_fetch_and_or(&back->state, FLOW_SPLICED);
		if (!write_syn(ctx, p, &s->splice))
			return 0;
	}
	map_delete(&splices, &p->key);
	map_delete(&splices, &s->back_key);
	if (f)
		uncount(f);
	map_delete(&flows, &p->key);
	map_delete(&flows, &s->back_key);
	return -1;
}

/* Replaces a number of a TCP header, at this place in it. 0, or -1. */
inline_always int replace_number(context *ctx, const struct packet *p, u32 at, u32 to)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	u32 *number = data + bounded(p->l4) + at;
	if ((void *)(number + 1) > end)
		return -1;
	u32 delta = delta32(*number, to);
	*number = to;
	return replace_sum(ctx, p, 16, 0, fold(delta));
}

/* A packet of a spliced session. 0 for one that goes its way, or a verdict. */
apart int translate(context *ctx, const struct packet *p, u32 forward)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (!p || p->pieces == PIECE_LATER)
		return XDP_DROP;
	struct tcp *tcp = data + bounded(p->l4);
	struct flow_key own = p->key;
	struct splice *splice = map_lookup(&splices, &own);
	if (!splice || (void *)(tcp + 1) > end)
		return XDP_DROP;
	u32 seq = be32(tcp->seq), ack = be32(tcp->ack);
	u8 flags = tcp->flags;
	if (forward) {
		if (splice->ready)
			return flags & TCP_ACK && replace_number(ctx, p, 8, be32(ack - splice->delta)) ? XDP_DROP : 0;
		/* Who gives up before the server has answered has nothing to say to it. */
		return flags & TCP_RST || write_syn(ctx, p, splice) ? XDP_DROP : 0;
	}
	if ((flags & (TCP_SYN | TCP_RST)) == TCP_SYN && flags & TCP_ACK && ack == splice->isn + 1) {
		struct flow *f = map_lookup(&flows, &own);
		struct flow_key other;
		if (!f)
			return XDP_DROP;
		reverse_key(f, p->key.proto, &other);
		struct splice *first = map_lookup(&splices, &other);
		if (!first)
			return XDP_DROP;
		first->delta = splice->delta = splice->cookie - seq;
		first->ready = splice->ready = 1;
		struct segment segment = {
			.seq = be32(splice->isn + 1),
			.ack = be32(seq + 1),
			.window = 0xffff,
			.flags = TCP_ACK,
			.back = 1,
		};
		return write_segment(ctx, p, &segment) ? XDP_DROP : XDP_TX;
	}
	/* A server that refuses has no number yet. */
	u32 delta = splice->ready ? splice->delta : splice->cookie + 1 - seq;
	return replace_number(ctx, p, 4, be32(seq + delta)) ? XDP_DROP : 0;
}

/* A segment of TCP while there is pressure. A SYN of a source that has proved nothing is answered with an
 * acknowledgement of what it has not sent; whoever is there resets that with this very number (RFC 9293
 * section 3.10.7.3), has proved where it is, and sends its SYN again. It works in every mode, because nothing
 * of it stays in the connection. 0, or a verdict. */
inline_always int challenge(context *ctx, const struct packet *p, u32 at, const struct guard *g,
			    struct dues *dues, u32 minute, u64 now_ns)
{
	if (p->pieces || p->tcp & TCP_ACK || !(p->tcp & (TCP_SYN | TCP_RST)))
		return 0;
	struct source source;
	copy16(source.address, p->key.src);
	source.guard = at;
	if (p->tcp & TCP_RST) {
		void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
		struct tcp *tcp = data + bounded(p->l4);
		if ((void *)(tcp + 1) > end)
			return 0;
		if (tcp->seq != cookie(g, &p->key, minute, 0) && tcp->seq != cookie(g, &p->key, minute - 1, 0))
			return 0;
		u32 second = now();
		map_update(&guard_proven, &source, &second, UPDATE_ANY);
		note_guarded(at, GUARDED_PROVEN);
		return XDP_DROP;
	}
	u32 *proven = map_lookup(&guard_proven, &source);
	if (proven && now() - *proven <= PROOF)
		return 0;
	if (g->calm.cost && !exceeds(&dues->calm, &g->calm, now_ns, 1))
		return 0;
	if (uses(FEATURE_SPLICE) && g->flags & GUARD_SPLICE) {
		/* What answers a cookie must find no session: a SYN of one that goes on is judged by its server. */
		struct flow_key own = p->key;
		struct flow *f = map_lookup(&flows, &own);
		if (f && !is_over(f->state))
			return 0;
		if (f) {
			uncount(f);
			forget_answers(f, p->key.proto);
			map_delete(&flows, &own);
		}
		note_guarded(at, GUARDED_CHALLENGED);
		return answer_cookie(ctx, p, g, minute);
	}
	note_guarded(at, GUARDED_CHALLENGED);
	return answer_tcp(ctx, p, TCP_SYN | TCP_ACK, 0, cookie(g, &p->key, minute, 0));
}

/* 0 for a packet that may go on, or its verdict. */
apart int guard(context *ctx, const struct packet *p)
{
	u32 zero = 0, listed = 0;
	struct guard_setup *setup = map_lookup(&guard_setup, &zero);
	if (!p || !setup)
		return 0;
	if (uses(FEATURE_LISTS) && setup->contents)
		listed = lists_of(p, setup);
	int invalid = is_invalid(p);
	if (!uses(FEATURE_LIMITS | FEATURE_COOKIES) && !listed && !invalid)
		return 0;
	u32 at = guard_of(ctx, p);
	if (!at)
		return 0;
	struct guard *g = map_lookup(&guards, &at);
	if (!g || g->allow & listed)
		return 0;
	if (g->deny & listed) {
		note_guarded(at, GUARDED_DENIED);
		return XDP_DROP;
	}
	if (invalid) {
		note_guarded(at, GUARDED_INVALID);
		return XDP_DROP;
	}
	if (!uses(FEATURE_LIMITS | FEATURE_COOKIES) || !g->flags)
		return 0;
	u64 now_ns = ktime_ns();
	u32 bytes = p->frame - p->l3;
	int begins = p->key.proto == PROTO_TCP && (p->tcp & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	if (uses(FEATURE_LIMITS) && g->flags & GUARD_SOURCES && source_is_over(p, at, g, now_ns, bytes, begins)) {
		note_guarded(at, GUARDED_SOURCE);
		return XDP_DROP;
	}
	struct dues *dues = map_lookup(&guard_services, &at);
	if (uses(FEATURE_LIMITS) && g->flags & GUARD_SERVICE && dues &&
	    are_over(dues, g->service, now_ns, bytes, begins)) {
		note_guarded(at, GUARDED_SERVICE);
		return XDP_DROP;
	}
	if (uses(FEATURE_COOKIES) && g->flags & GUARD_COOKIES && p->key.proto == PROTO_TCP && dues)
		return challenge(ctx, p, at, g, dues, setup->minute, now_ns);
	return 0;
}
