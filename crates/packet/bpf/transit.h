/* Services, by an address or by a prefix; and transit traffic, which meets the same firewall in both
 * directions. */
#pragma once
#include "flow.h"

/* Beside the verdicts: what is done with a packet of no session. */
enum { OPENED = -1, RESET = -2, OPENED_OUT = -3, OPENED_BACK = -4, OPENED_SPLICED = -5, SERVED = -7 };

inline_always int comes_in_at(const struct service *service, u32 ifindex)
{
	if (!service->ifindex[0])
		return 1;
	for (u32 i = 0; i < INTERFACES; i++)
		if (service->ifindex[i] == ifindex)
			return 1;
	return 0;
}

inline_always struct service *service_of(struct service_key *key, const struct packet *p, u32 kinds)
{
	struct service *service = 0;
	key->port = p->key.dport;
	key->proto = p->key.proto;
	if (kinds & VIP_PORT)
		service = map_lookup(&services, key);
	if (!service && kinds & VIP_PROTO) {
		key->port = 0;
		service = map_lookup(&services, key);
	}
	if (!service && kinds & VIP_ANY) {
		key->port = 0;
		key->proto = 0;
		service = map_lookup(&services, key);
	}
	return service;
}

/* The service of a destination that is one of our addresses. */
inline_always struct service *find_service(const struct packet *p, u32 kinds)
{
	struct service_key key;
	copy16(key.address, p->key.dst);
	key.place = 0;
	key.bits = 0;
	return service_of(&key, p, kinds);
}

/* The service of exactly this address, port and protocol, as most connections have it. */
inline_always struct service *find_exact(const struct packet *p)
{
	struct service_key key;
	copy16(key.address, p->key.dst);
	key.place = 0;
	key.port = p->key.dport;
	key.proto = p->key.proto;
	key.bits = 0;
	return map_lookup(&services, &key);
}

inline_always struct prefix *find_prefix(struct scratch *s, u8 family, u32 place)
{
	s->prefix_key.place = place;
	struct prefix *prefix = map_lookup(&prefixes, &s->prefix_key);
	/* An IPv4 address stands within the prefixes of IPv6 that have no bits. */
	if (prefix && !(prefix->kinds & VIP_PASS) && (family == 4) != (prefix->address[2] == be32(0xffff)))
		return 0;
	return prefix;
}

inline_always int is_served(struct scratch *s, const struct prefix *prefix, const struct packet *p, u32 place)
{
	copy16(s->service_key.address, prefix->address);
	s->service_key.place = place;
	s->service_key.bits = prefix->bits;
	return service_of(&s->service_key, p, prefix->kinds) != 0;
}

/* A tag of providers counts as no VLAN of ours; nor does a number that no VLAN has. */
inline_always int is_foreign(const struct packet *p)
{
	return p->key.vlan >= 0xfff;
}

/* A packet that a firewall let through belongs to a session that crosses this one: its answers go
 * there, whatever they would be given otherwise. */
inline_always void open_from_gateway(struct scratch *s, const struct packet *p, u32 gateway)
{
	struct flow *f = &s->flow, *back = &s->back;
	u32 server = gateway & 0xffff;
	__builtin_memset(f, 0, sizeof(*f));
	__builtin_memset(back, 0, sizeof(*back));
	f->server = back->server = server;
	f->born = f->seen = back->born = back->seen = now();
	f->state = FLOW_FORWARD | FLOW_COUNTED | FLOW_ARRIVED;
	back->state = FLOW_ROUTED;
	f->hop.vlan = p->key.vlan;
	back->hop.vlan = gateway >> 16;
	f->steps = back->steps = STEP_ROUTE | STEP_TTL;
	copy16(f->src, p->key.dst);
	copy16(f->dst, p->key.src);
	f->sport = p->key.dport;
	f->dport = p->key.sport;
	copy16(back->src, p->key.src);
	copy16(back->dst, p->key.dst);
	back->sport = p->key.sport;
	back->dport = p->key.dport;
	back->epoch = ~0u;
	reverse_key(f, p->key.proto, &s->key);
	reverse_key(back, p->key.proto, &s->back_key);
	if (map_update(&flows, &s->key, back, UPDATE_ANY) || map_update(&flows, &s->back_key, f, UPDATE_ANY)) {
		map_delete(&flows, &s->key);
		count(EVENT_TABLE_FULL);
		return;
	}
	count_session(server);
}

/* Whether a firewall that is thought dead has just let a packet of this session through: checks from
 * beyond it must be answered, or neither side would ever find it alive again. */
out_of_line int has_just_come(const struct flow *f, u8 proto)
{
	struct flow_key key;
	if (!(f->state & FLOW_ARRIVED))
		return 0;
	reverse_key(f, proto, &key);
	struct flow *other = map_lookup(&flows, &key);
	return other && now() - other->seen <= 1;
}

/* A connection that a server opens outward leaves with an address of a pool: both directions find
 * their way by the routes. OPENED_OUT, with the session in `scratch`, or what becomes of the packet. */
apart int open_outward(context *ctx, const struct packet *p)
{
	u32 zero = 0;
	struct scratch *s = map_lookup(&scratch, &zero);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct eth *eth = data;
	if (!s || !p || (void *)(eth + 1) > end || eth->dst[0] & 1 || is_foreign(p))
		return XDP_PASS;
	u32 sources = p->key.vlan ? place_of(SOURCES_IFINDEX, p->key.vlan) : SOURCES;
	s->prefix_key.bits = 32 + 128;
	copy16(s->prefix_key.address, p->key.src);
	struct prefix *from = find_prefix(s, p->family, sources);
	if (!from)
		return XDP_PASS;
	copy16(s->service_key.address, from->address);
	s->service_key.place = sources;
	s->service_key.bits = from->bits;
	struct service *service = service_of(&s->service_key, p, from->kinds);
	/* What stays among them, or is for this machine, keeps its address. */
	copy16(s->prefix_key.address, p->key.dst);
	struct prefix *own = find_prefix(s, p->family, 0);
	if (!service || find_prefix(s, p->family, sources) || (own && own->kinds & VIP_PASS))
		return XDP_PASS;
	int begins = p->key.proto == PROTO_TCP ? (p->tcp & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN :
		     p->key.proto == PROTO_UDP || p->key.sport;
	if (!begins || p->pieces == PIECE_LATER)
		return XDP_PASS;
	struct flow *f = &s->flow, *back = &s->back;
	__builtin_memset(f, 0, sizeof(*f));
	__builtin_memset(back, 0, sizeof(*back));
	f->server = back->server = OUTWARD;
	f->born = f->seen = back->born = back->seen = now();
	f->steps = back->steps = STEP_ADDRESSES | STEP_TTL;
	f->epoch = back->epoch = ~0u;
	f->state = FLOW_ROUTED;
	f->hop.vlan = service->vlan;
	copy16(f->src, p->key.src);
	copy16(f->dst, p->key.dst);
	f->sport = p->key.sport;
	f->dport = p->key.dport;
	reverse_key(f, p->key.proto, &s->back_key);
	copy16(back->src, p->key.dst);
	copy16(back->dst, p->key.src);
	back->sport = p->key.dport;
	back->dport = p->key.sport;
	/* The way back is the way it came. */
	copy_mac(back->hop.dst, eth->src);
	copy_mac(back->hop.src, eth->dst);
	back->hop.ifindex = arrived_at(ctx);
	back->hop.vlan = p->key.vlan;
	reverse_key(back, p->key.proto, &s->key);
	int none = take_from_pool(service, &s->key);
	if (none) {
		count(none);
		return XDP_DROP;
	}
	find_deltas(&s->key, f);
	if (map_update(&flows, &s->key, f, UPDATE_ANY)) {
		map_delete(&flows, &s->back_key);
		count(EVENT_TABLE_FULL);
		return XDP_DROP;
	}
	return OPENED_OUT;
}

/* Finds the service of what is for somebody beyond us: whether there is one, its key is in `scratch`
 * then. None is for what is for ourselves, or comes from a firewall, where `opens` asks for that
 * packet's session, too. */
apart int find_transit(context *ctx, const struct packet *p, int opens)
{
	u32 zero = 0;
	struct scratch *s = map_lookup(&scratch, &zero);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct eth *eth = data;
	if (!s || !p || (void *)(eth + 1) > end || eth->dst[0] & 1 || is_foreign(p))
		return 0;
	u32 place = place_of(arrived_at(ctx), p->key.vlan), anywhere = place_of(0, p->key.vlan);
	s->prefix_key.bits = 32 + 128;
	copy16(s->prefix_key.address, p->key.dst);
	struct prefix *any = find_prefix(s, p->family, 0);
	if (any && any->kinds & VIP_PASS)
		return 0;
	if (uses(FEATURE_ROUTE)) {
		copy_mac(s->gateway_key.mac, eth->src);
		s->gateway_key.family = p->family;
		s->gateway_key.place = place;
		u32 *server = map_lookup(&gateways, &s->gateway_key);
		if (server) {
			if (opens)
				open_from_gateway(s, p, *server);
			return 0;
		}
	}
	if (anywhere)
		any = find_prefix(s, p->family, anywhere);
	/* The narrower one first. */
	struct prefix *here = find_prefix(s, p->family, place);
	if (!here)
		return any ? is_served(s, any, p, anywhere) : 0;
	if (any && any->bits > here->bits && is_served(s, any, p, anywhere))
		return 1;
	if (is_served(s, here, p, place))
		return 1;
	return any ? is_served(s, any, p, anywhere) : 0;
}
