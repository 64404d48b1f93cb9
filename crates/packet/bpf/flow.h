/* Sessions: found, made, followed to their end. User space removes what is over. */
#pragma once
#include "rewrite.h"
#include "schedule.h"

/* Ports of the pool that one new session tries. */
#define POOL_PROBES 32

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

inline_always int has_ports(u8 proto)
{
	return proto == PROTO_TCP || proto == PROTO_UDP;
}

/* The key of the other direction, as its packets come. */
inline_always void reverse_key(const struct flow *f, u8 proto, struct flow_key *key)
{
	copy16(key->src, f->dst);
	copy16(key->dst, f->src);
	key->sport = f->dport;
	key->dport = f->sport;
	key->vlan = f->hop.vlan;
	key->proto = proto;
	key->pad = 0;
}

/* A session of its server less; each ends once. */
inline_always void uncount(struct flow *f)
{
	if (!(__sync_fetch_and_and(&f->state, ~FLOW_COUNTED) & FLOW_COUNTED))
		return;
	u32 *n = map_lookup(&live, &f->server);
	if (n)
		__sync_fetch_and_sub(n, 1);
}

/* Tells user space of a session, if another machine is to know. */
out_of_line int tell(const struct flow_key *key, const struct flow *f, u32 over)
{
	u32 zero = 0;
	struct settings *set = map_lookup(&settings, &zero);
	if (!set || !(set->flags & SETTING_TELL) || !key || !f)
		return 0;
	struct news *n = ring_reserve(&news, sizeof(*n), 0);
	if (!n) {
		u32 *lost = map_lookup(&news_lost, &zero);
		if (lost)
			__sync_fetch_and_add(lost, 1);
		return 0;
	}
	n->key = *key;
	n->flow = *f;
	n->over = over;
	ring_submit(n, RING_NO_WAKEUP);
	return 0;
}

/* A session that came from another machine counts here from its first packet on. */
out_of_line int adopt(struct flow *f)
{
	if (!f || __sync_fetch_and_or(&f->state, FLOW_COUNTED) & FLOW_COUNTED)
		return 0;
	u32 *n = map_lookup(&live, &f->server);
	if (n)
		__sync_fetch_and_add(n, 1);
	return 0;
}

/* FIN and RST, which are rare: the other direction is told. */
out_of_line int end_of_side(struct flow *f, const struct flow_key *key, u8 tcp)
{
	struct flow_key other_key;
	u32 own = tcp & TCP_RST ? FLOW_RESET : FLOW_FIN;
	u32 theirs = tcp & TCP_RST ? FLOW_RESET : FLOW_PEER_FIN;

	u32 before = __sync_fetch_and_or(&f->state, own);
	if (!(f->steps & (STEP_ADDRESSES | STEP_ROUTE))) {
		/* Answers go past us: what the client says last is the last we see. */
		uncount(f);
		return own == FLOW_RESET ? tell(key, f, 1) : 0;
	}
	reverse_key(f, key->proto, &other_key);
	struct flow *other = map_lookup(&flows, &other_key);
	if (other)
		__sync_fetch_and_or(&other->state, theirs);
	if (own == FLOW_RESET || before & FLOW_PEER_FIN) {
		uncount(f);
		if (other)
			uncount(other);
		if (f->state & FLOW_FORWARD)
			tell(key, f, 1);
		else if (other)
			tell(&other_key, other, 1);
	}
	return 0;
}

inline_always int is_over(u32 state)
{
	return state & FLOW_RESET || (state & (FLOW_FIN | FLOW_PEER_FIN)) == (FLOW_FIN | FLOW_PEER_FIN);
}

/* Notes a packet of a session. */
inline_always void follow(struct flow *f, const struct packet *p)
{
	u32 second = now();
	if (f->seen != second) {
		f->seen = second;
		if (unlikely((f->state & (FLOW_FORWARD | FLOW_COUNTED | FLOW_FIN | FLOW_PEER_FIN | FLOW_RESET)) ==
			     FLOW_FORWARD))
			adopt(f);
	}
	if (p->key.proto == PROTO_TCP && unlikely(p->tcp & (TCP_FIN | TCP_RST))) {
		end_of_side(f, &p->key, p->tcp);
	} else if (unlikely(!(f->state & FLOW_CONFIRMED) && !(p->key.proto == PROTO_TCP && p->tcp & TCP_SYN))) {
		__sync_fetch_and_or(&f->state, FLOW_CONFIRMED);
		/* A half-open connection is not worth telling: its client tries again. */
		if (f->state & FLOW_FORWARD && p->key.proto == PROTO_TCP)
			tell(&p->key, f, 0);
	}
}

/* Gives a session of full NAT its address and port: the first of the pool that no other session with
 * that server has. Returns 0, or -1 when there is none. */
inline_always int take_from_pool(const struct service *service, const struct flow_key *key,
				 struct flow *f, struct flow_key *back_key, struct flow *back)
{
	u32 ports = service->port_last - service->port_first + 1;
	u32 size = service->pool_size * ports;
	u32 start = hash_flow(key);
	if (ports == 0 || size == 0)
		return -1;
	for (u32 i = 0; i < POOL_PROBES; i++) {
		/* A stride coprime to most sizes spreads the probes over addresses and ports. */
		u32 at = (start + i * 7919) % size;
		copy16(f->src, service->pool_first);
		f->src[3] = be32(be32(service->pool_first[3]) + at / ports);
		/* The number of an echo stays. */
		if (has_ports(key->proto))
			f->sport = be16((u16)(service->port_first + at % ports));
		copy16(back_key->dst, f->src);
		back_key->dport = f->sport;
		find_deltas(back_key, back);
		if (map_update(&flows, back_key, back, UPDATE_NOEXIST) == 0)
			return 0;
	}
	return -1;
}

inline_always void count_session(u32 server)
{
	u32 *n = map_lookup(&live, &server);
	if (n)
		__sync_fetch_and_add(n, 1);
	struct traffic *t = map_lookup(&traffic, &server);
	if (t)
		t->sessions += 1;
}

/* A new session, in `s->flow`. Returns -1, or the event that says why there is none. */
inline_always int open_flow(struct xdp_md *ctx, const struct packet *p, struct service *service,
			    struct scratch *s)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct eth *eth = data;
	struct flow *f = &s->flow, *back = &s->back;
	long chosen = choose(service, &p->key);
	if (chosen < 0)
		return EVENT_NO_SERVER;
	u32 index = chosen;
	struct server *server = map_lookup(&servers, &index);
	if (!server || (void *)(eth + 1) > end)
		return EVENT_NO_SERVER;

	__builtin_memset(f, 0, sizeof(*f));
	f->server = index;
	f->born = f->seen = now();
	f->state = FLOW_FORWARD | FLOW_COUNTED;
	copy16(f->src, p->key.src);
	copy16(f->dst, p->key.dst);
	f->sport = p->key.sport;
	f->dport = p->key.dport;
	f->hop.vlan = server->hop.vlan;

	if (service->forward == FORWARD_IPIP) {
		f->steps = STEP_ENCAP;
	} else if (service->forward == FORWARD_GRE) {
		f->steps = STEP_ENCAP | STEP_GRE;
	} else if (service->forward == FORWARD_GUE) {
		f->steps = STEP_ENCAP | STEP_GUE;
		f->dport = be16(service->port_first);
	} else if (service->forward == FORWARD_DSCP) {
		copy16(f->dst, server->address);
		f->steps = STEP_ADDRESSES | STEP_TTL | STEP_DSCP;
		f->dscp = service->dscp;
	} else if (service->forward == FORWARD_NAT || service->forward == FORWARD_BRIDGE ||
		   (uses(FEATURE_ROUTE) && service->forward == FORWARD_ROUTE)) {
		if (uses(FEATURE_ROUTE) && service->forward == FORWARD_ROUTE) {
			f->steps = STEP_ROUTE | STEP_TTL;
		} else {
			copy16(f->dst, server->address);
			if (server->port && f->dport && has_ports(p->key.proto))
				f->dport = server->port;
			f->steps = STEP_ADDRESSES | STEP_TTL;
		}
		if (service->forward == FORWARD_BRIDGE) {
			f->steps = STEP_ADDRESSES | STEP_BRIDGE;
			/* One network: the client's VLAN, unless the server has another. */
			if (!f->hop.vlan)
				f->hop.vlan = p->key.vlan;
		}

		reverse_key(f, p->key.proto, &s->back_key);
		__builtin_memset(back, 0, sizeof(*back));
		back->server = index;
		back->born = back->seen = f->born;
		back->steps = f->steps;
		copy16(back->src, p->key.dst);
		copy16(back->dst, p->key.src);
		back->sport = p->key.dport;
		back->dport = p->key.sport;
		/* The way back is the way it came, unless the routes say better. */
		copy_mac(back->hop.dst, eth->src);
		copy_mac(back->hop.src, eth->dst);
		back->hop.vlan = p->key.vlan;
		back->hop.ifindex = arrived_at(ctx);
		back->epoch = ~0u;
		if (service->pool_size) {
			if (take_from_pool(service, &p->key, f, &s->back_key, back))
				return EVENT_POOL_EMPTY;
		} else {
			find_deltas(&s->back_key, back);
			if (map_update(&flows, &s->back_key, back, UPDATE_ANY))
				return EVENT_TABLE_FULL;
		}
	}
	if (f->steps & STEP_ADDRESSES)
		find_deltas(&p->key, f);
	if (map_update(&flows, &p->key, f, UPDATE_ANY)) {
		if (service->forward == FORWARD_NAT || service->forward == FORWARD_BRIDGE ||
		    service->forward == FORWARD_ROUTE)
			map_delete(&flows, &s->back_key);
		return EVENT_TABLE_FULL;
	}
	count_session(index);
	if (p->key.proto != PROTO_TCP)
		tell(&p->key, f, 0);
	return -1;
}
