/* Sessions: found, made, followed to their end. User space removes what is over. */
#pragma once
#include "rewrite.h"
#include "schedule.h"

/* Ports of the pool that one new session tries. */
#define POOL_PROBES 32

inline_always int has_ports(u8 proto)
{
	return proto == PROTO_TCP || proto == PROTO_UDP;
}

/* The key of the other direction, as its packets come. */
inline_always void reverse_key(const struct flow *f, u8 proto, struct flow_key *key)
{
	move16(key->src, f->dst);
	move16(key->dst, f->src);
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
	n->pad = 0;
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

/* The direction of answers of a session that is over: what begins anew expects its own. */
out_of_line int forget_answers(const struct flow *f, u8 proto)
{
	struct flow_key key;
	if (!(f->steps & STEP_ADDRESSES))
		return 0;
	reverse_key(f, proto, &key);
	map_delete(&flows, &key);
	return 0;
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

/* Gives the session in `scratch` its address and port: the first of the pool that no other session with
 * that server has. Returns 0, or the event that says why there is none. */
apart int take_from_pool(const struct service *service, const struct flow_key *key)
{
	u32 zero = 0;
	struct scratch *s = map_lookup(&scratch, &zero);
	if (!s || !service || !key)
		return EVENT_POOL_EMPTY;
	struct flow *f = &s->flow, *back = &s->back;
	struct flow_key *back_key = &s->back_key;
	u32 ports = service->port_last - service->port_first + 1;
	u32 size = service->pool_size * ports;
	u32 start = hash_flow(key);
	if (ports == 0 || size == 0)
		return EVENT_POOL_EMPTY;
	copy16(f->src, service->pool_first);
	copy16(back_key->dst, f->src);
	/* Nothing but the end of one address and a port differs from place to place. */
	u32 same = delta_address(back_key->src, back->src);
	for (u32 i = 0; i < 3; i++)
		same += delta32(back_key->dst[i], back->dst[i]);
	for (u32 i = 0; i < POOL_PROBES; i++) {
		/* A stride coprime to most sizes spreads the probes over addresses and ports. */
		u32 at = (start + i * 7919) % size;
		f->src[3] = back_key->dst[3] = be32(be32(service->pool_first[3]) + at / ports);
		/* The number of an echo stays. */
		if (has_ports(key->proto))
			f->sport = be16((u16)(service->port_first + at % ports));
		back_key->dport = f->sport;
		back->ip_delta = back->address_delta = fold(same + delta32(back_key->dst[3], back->dst[3]));
		back->port_delta = fold(delta16(back_key->sport, back->sport) + delta16(f->sport, back->dport));
		int result = map_update(&flows, back_key, back, UPDATE_NOEXIST);
		if (result != ALREADY_THERE)
			return result ? EVENT_TABLE_FULL : 0;
	}
	return EVENT_POOL_EMPTY;
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

/* What is done to answers of a session whose first packet is `key`. */
inline_always void answers_of(const struct flow_key *key, const struct flow *f, struct flow *back)
{
	__builtin_memset(back, 0, sizeof(*back));
	back->server = f->server;
	back->born = f->born;
	back->seen = now();
	back->steps = f->steps;
	move16(back->src, key->dst);
	move16(back->dst, key->src);
	back->sport = key->dport;
	back->dport = key->sport;
	back->hop = f->hop;
	back->hop.vlan = key->vlan;
	back->epoch = ~0u;
}

/* The direction of answers of a session that has had none yet: 1 when it is there now, 0 when this answers
 * nothing, or -1 when the table is full. */
apart int expect_answer(const struct flow_key *key)
{
	if (!key)
		return 0;
	struct origin_key from = {};
	struct flow_key sent = {};
	u32 zero = 0;
	struct scratch *s = map_lookup(&scratch, &zero);
	copy16(from.address, key->src);
	from.port = key->sport;
	from.vlan = key->vlan;
	from.proto = key->proto;
	struct origin *origin = map_lookup(&origins, &from);
	if (!origin || !s)
		return 0;
	copy16(sent.src, key->dst);
	copy16(sent.dst, origin->address);
	sent.sport = key->dport;
	sent.dport = origin->port;
	sent.vlan = origin->vlan;
	sent.proto = key->proto;
	struct flow *f = map_lookup(&flows, &sent);
	/* It may be with another server of that service. */
	if (!f || is_over(f->state) || f->dport != key->sport || f->dst[0] != key->src[0] ||
	    f->dst[1] != key->src[1] || f->dst[2] != key->src[2] || f->dst[3] != key->src[3])
		return 0;
	answers_of(&sent, f, &s->back);
	s->back.state = f->state & FLOW_FIN ? FLOW_PEER_FIN : 0;
	find_deltas(key, &s->back);
	s->key = *key;
	return map_update(&flows, &s->key, &s->back, UPDATE_ANY) ? -1 : 1;
}

/* A new session, in `s->flow`. Returns -1, or the event that says why there is none. */
inline_always int open_flow(context *ctx, const struct packet *p, struct service *service,
			    struct scratch *s)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct eth *eth = data;
	struct flow *f = &s->flow, *back = &s->back;
	int late = service->late;
	u32 mac = 0;
	if ((void *)(eth + 1) > end)
		return EVENT_NO_SERVER;
	if (service->by & HASH_MAC)
		for (u32 i = 0; i < sizeof(eth->src); i++)
			mac = mix(mac, eth->src[i]);
	long chosen = choose(service, &p->key, mac);
	if (chosen < 0)
		return EVENT_NO_SERVER;
	u32 index = chosen;
	struct server *server = map_lookup(&servers, &index);
	if (!server)
		return EVENT_NO_SERVER;

	__builtin_memset(f, 0, sizeof(*f));
	f->server = index;
	f->born = f->seen = now();
	f->state = FLOW_FORWARD | FLOW_COUNTED;
	move16(f->src, p->key.src);
	move16(f->dst, p->key.dst);
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

		/* The way back is the way it came, unless the routes say better. */
		copy_mac(f->hop.dst, eth->src);
		copy_mac(f->hop.src, eth->dst);
		f->hop.ifindex = arrived_at(ctx);
		if (!late) {
			reverse_key(f, p->key.proto, &s->back_key);
			answers_of(&p->key, f, back);
		}
		if (late) {
			/* `expect_answer` makes that direction. */
		} else if (service->pool_size) {
			int none = take_from_pool(service, &p->key);
			if (none)
				return none;
		} else {
			find_deltas(&s->back_key, back);
			if (map_update(&flows, &s->back_key, back, UPDATE_ANY))
				return EVENT_TABLE_FULL;
		}
	}
	if (f->steps & STEP_ADDRESSES)
		find_deltas(&p->key, f);
	if (map_update(&flows, &p->key, f, UPDATE_ANY)) {
		if (!late && (service->forward == FORWARD_NAT || service->forward == FORWARD_BRIDGE ||
			      service->forward == FORWARD_ROUTE))
			map_delete(&flows, &s->back_key);
		return EVENT_TABLE_FULL;
	}
	count_session(index);
	if (p->key.proto != PROTO_TCP)
		tell(&p->key, f, 0);
	return -1;
}
