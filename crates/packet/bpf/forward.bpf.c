/* The way of a packet: parse, session, service, server, rewrite, out. */
#include "flow.h"
#include "answer.h"
#include "bridge.h"
#include "encap.h"
#include "guard.h"
#include "icmp.h"
#include "transit.h"

char licence[] SEC("license") = "Dual MIT/GPL";

inline_always int refuse(u32 event)
{
	count(event);
	return XDP_DROP;
}

/* Which way an answer goes, as the routes say. */
out_of_line int ask_way(context *ctx, const struct packet *p, struct flow *f, u32 epoch)
{
	struct bpf_fib_lookup fib = {};
	fib.family = p->family == 4 ? AF_INET : AF_INET6;
	fib.ifindex = arrived_at(ctx);
	if (p->family == 4) {
		fib.src[0] = f->src[3];
		fib.dst[0] = f->dst[3];
	} else {
		copy16(fib.src, f->src);
		copy16(fib.dst, f->dst);
	}
	/* Without an answer the way that the client's packets come stays; a session of another machine
	 * has none yet. */
	long result = fib_lookup(ctx, &fib, sizeof(fib), 0);
	if (result == FIB_NO_NEIGHBOUR && !f->hop.ifindex) {
		struct wanted who = {};
		u32 one = 1;
		copy16(who.ip, f->dst);
		if (p->family == 4)
			who.ip[3] = fib.dst[0];
		else
			copy16(who.ip, fib.dst);
		who.ifindex = fib.ifindex;
		map_update(&wanted, &who, &one, UPDATE_ANY);
	}
	if (result != 0 && !f->hop.ifindex)
		return 0;
	f->epoch = epoch;
	if (result != 0)
		return 0;
	copy_mac(f->hop.dst, fib.dmac);
	copy_mac(f->hop.src, fib.smac);
	f->hop.ifindex = fib.ifindex;
	/* A frame with a tag leaves by the interface that the VLAN's own one is on. */
	struct lane own = { fib.ifindex, 0 };
	u32 *beneath = f->hop.vlan ? map_lookup(&lanes, &own) : 0;
	if (beneath)
		f->hop.ifindex = *beneath;
	return 0;
}

/* That way, asked for once, and again when routes change. */
inline_always void find_way(context *ctx, const struct packet *p, struct flow *f)
{
	u32 zero = 0;
	struct settings *set = map_lookup(&settings, &zero);
	/* Routes know of no tags: where clients in VLANs are, their packets have said. */
	if (set && unlikely(f->epoch != set->epoch) &&
	    (!f->hop.vlan || !f->hop.ifindex || f->state & FLOW_ROUTED))
		ask_way(ctx, p, f, set->epoch);
}

/* A packet of a session. */
inline_always int deliver(context *ctx, const struct packet *p, struct flow *f, struct server *server)
{
	u32 index = f->server;
	struct traffic *t = map_lookup(&traffic, &index);
	u32 bytes = p->frame - p->l3;

	if (f->steps & STEP_TTL && unlikely(p->ttl <= 1))
		return XDP_PASS;
	if (f->state & FLOW_FORWARD) {
		if (t) {
			t->packets_in += 1;
			t->bytes_in += bytes;
		}
		if (f->steps & STEP_ENCAP && server->hop.ifindex)
			return encapsulate(ctx, p, f, server);
		if (f->steps && rewrite(ctx, p, f))
			return refuse(EVENT_FAILED);
		if (likely(server->hop.ifindex))
			return f->steps & STEP_BRIDGE ? cross(ctx, p, f, server) : leave(ctx, &server->hop, p->key.vlan);
		count(EVENT_NO_NEIGHBOUR);
		/* What is routed anyway finds its neighbour in the stack, which knows nothing of firewalls. */
		return (f->steps & (STEP_TTL | STEP_ROUTE)) == STEP_TTL ? XDP_PASS : XDP_DROP;
	}
	if (t) {
		t->packets_out += 1;
		t->bytes_out += bytes;
	}
	if (!(f->steps & STEP_BRIDGE))
		find_way(ctx, p, f);
	if (unlikely(!f->hop.ifindex))
		return uses(FEATURE_ROUTE) && f->steps & STEP_ROUTE ? XDP_PASS : refuse(EVENT_NO_NEIGHBOUR);
	if (rewrite(ctx, p, f))
		return refuse(EVENT_FAILED);
	return f->steps & STEP_BRIDGE ? cross(ctx, p, f, server) : leave(ctx, &f->hop, p->key.vlan);
}

/* The service of a packet that may be for any: SERVED with it in `service`, or what becomes of the packet. */
inline_always int find_served(context *ctx, const struct packet *p, struct scratch *s, struct service **service)
{
	/* Its first piece, which has the ports, may be for any service. */
	int lost = p->pieces == PIECE_LATER && !p->key.dport && has_ports(p->key.proto);
	u32 *kinds = map_lookup(&vips, p->key.dst);
	/* A first answer of TCP agrees or refuses. */
	if (!kinds && (p->key.proto != PROTO_TCP || p->tcp & (TCP_SYN | TCP_RST))) {
		int expected = expect_answer(&p->key);
		if (expected)
			return expected > 0 ? OPENED_BACK : refuse(EVENT_TABLE_FULL);
	}
	if (kinds) {
		if (*kinds >> VIP_VLAN_SHIFT != p->key.vlan)
			return XDP_PASS;
		if (lost)
			return refuse(EVENT_FRAGMENT_LOST);
		*service = find_service(p, *kinds);
	} else if (uses(FEATURE_PREFIX)) {
		if (find_transit(ctx, p, 1))
			*service = map_lookup(&services, &s->service_key);
	}
	if (uses(FEATURE_SNAT) && !kinds && !*service)
		return open_outward(ctx, p);
	if (!*service)
		return XDP_PASS;
	/* A firewall is chosen without ports. */
	if (uses(FEATURE_PREFIX) && lost && (*service)->forward != FORWARD_ROUTE)
		return comes_in_at(*service, arrived_at(ctx)) ? refuse(EVENT_FRAGMENT_LOST) : XDP_PASS;
	return SERVED;
}

/* A packet of no session: OPENED (or OPENED_SPLICED) with the session in `s`, RESET, or a verdict. */
out_of_line int first_packet(context *ctx, const struct packet *p, struct scratch *s)
{
	int begins = p->key.proto == PROTO_TCP && (p->tcp & (TCP_SYN | TCP_ACK | TCP_RST)) == TCP_SYN;
	/* Whoever begins a connection is mostly served by just this address and port. */
	struct service *service = begins ? find_exact(p) : 0;
	if (!service) {
		int found = find_served(ctx, p, s, &service);
		if (found != SERVED || !service)
			return found;
	} else if (service->vlan != p->key.vlan) {
		return XDP_PASS;
	}
	if (!comes_in_at(service, arrived_at(ctx)))
		return XDP_PASS;
	int spliced = uses(FEATURE_SPLICE) && service->guard && has_cookie(ctx, p, service->guard, s);
	if (!spliced && p->key.proto == PROTO_TCP && !begins && service->no_flow != NO_FLOW_HASH) {
		count(EVENT_NO_FLOW);
		return service->no_flow == NO_FLOW_RESET ? RESET : XDP_DROP;
	}
	int event = open_flow(ctx, p, service, s);
	if (event >= 0) {
		count(event);
		return event == EVENT_NO_SERVER ? RESET : XDP_DROP;
	}
	return spliced ? OPENED_SPLICED : OPENED;
}

/* Datagrams in pieces: only the first says which ports it is for. */
out_of_line int join_pieces(struct packet *p)
{
	struct fragment_key key = {};
	copy16(key.src, p->key.src);
	copy16(key.dst, p->key.dst);
	key.id = p->id;
	key.vlan = p->key.vlan;
	key.proto = p->key.proto;
	if (p->pieces == PIECE_FIRST) {
		struct ports ports = { p->key.sport, p->key.dport };
		map_update(&fragments, &key, &ports, UPDATE_ANY);
		return 0;
	}
	struct ports *ports = map_lookup(&fragments, &key);
	if (ports) {
		p->key.sport = ports->src;
		p->key.dport = ports->dst;
	}
	return 0;
}

/* Whether a session goes on with this packet; otherwise the packet begins another one, or is RESET. */
inline_always int goes_on(const struct packet *p, struct flow *f, const struct server *server)
{
	int begins = (p->tcp & (TCP_SYN | TCP_ACK)) == TCP_SYN;
	/* A client that uses a port again begins anew. */
	if (unlikely(begins && is_over(f->state))) {
		forget_answers(f, p->key.proto);
		return 0;
	}
	if (likely(server->flags & SERVER_TAKES))
		return 1;
	if (server->flags & SERVER_KEEPS && p->key.proto == PROTO_TCP && !begins)
		return 1;
	if (uses(FEATURE_ROUTE) && f->steps & STEP_ROUTE && has_just_come(f, p->key.proto))
		return 1;
	uncount(f);
	if (p->key.proto != PROTO_TCP || begins || (uses(FEATURE_ROUTE) && f->steps & STEP_ROUTE))
		return 0;
	count(EVENT_RESET);
	struct traffic *t = map_lookup(&traffic, &f->server);
	if (t)
		t->resets += 1;
	tell(&p->key, f, 1);
	map_delete(&flows, &p->key);
	return RESET;
}

/* An error about a session that goes through a tunnel goes there, too. */
inline_always int carry(context *ctx, const struct packet *p)
{
	struct flow *f = map_lookup(&flows, &p->key);
	if (!f)
		return XDP_DROP;
	u32 index = f->server;
	struct server *server = map_lookup(&servers, &index);
	return server && server->hop.ifindex ? encapsulate(ctx, p, f, server) : XDP_DROP;
}

inline_always int forward(context *ctx)
{
	struct packet p = {};

	p.key.vlan = vlan_beside(ctx);
	switch (parse(ctx, &p)) {
	case PARSED:
		break;
	case PARSED_ERROR: {
		int verdict = icmp_error(ctx, &p);
		return verdict == CARRIED ? carry(ctx, &p) : verdict;
	}
	case PARSED_ARP:
		return answer_arp(ctx, &p);
	case MALFORMED:
		return refuse(EVENT_MALFORMED);
	default:
		return XDP_PASS;
	}
	if (unlikely(p.pieces))
		join_pieces(&p);
	if (unlikely(p.icmp_type == ND_SOLICIT && p.key.proto == PROTO_ICMP6))
		return answer_nd(ctx, &p);

	int verdict = uses(FEATURE_GUARD) ? guard(ctx, &p) : 0;
	if (unlikely(verdict))
		return verdict;
	struct flow *f = map_lookup(&flows, &p.key);
	if (likely(f)) {
		u32 index = f->server;
		struct server *server = map_lookup(&servers, &index);
		if (unlikely(!server))
			return XDP_DROP;
		verdict = 1;
		if (f->state & FLOW_FORWARD)
			verdict = goes_on(&p, f, server);
		else if (uses(FEATURE_ROUTE) && f->steps & STEP_ROUTE && !(server->flags & SERVER_TAKES))
			verdict = 0; /* it may come through another one now */
		if (likely(verdict == 1)) {
			follow(f, &p);
			if (uses(FEATURE_SPLICE) && unlikely(f->state & FLOW_SPLICED)) {
				verdict = translate(ctx, &p, f->state & FLOW_FORWARD);
				if (verdict)
					return verdict;
			}
			return deliver(ctx, &p, f, server);
		}
	}
	if (likely(verdict == 0)) {
		u32 zero = 0;
		struct scratch *s = map_lookup(&scratch, &zero);
		if (!s)
			return XDP_DROP;
		verdict = first_packet(ctx, &p, s);
		if (uses(FEATURE_SPLICE) && verdict == OPENED_SPLICED)
			verdict = begin_splice(ctx, &p, s) ? refuse(EVENT_TABLE_FULL) : OPENED;
		if (verdict == OPENED) {
			u32 index = s->flow.server;
			struct server *server = map_lookup(&servers, &index);
			return server ? deliver(ctx, &p, &s->flow, server) : XDP_DROP;
		}
	}
	if (verdict == OPENED_BACK || (uses(FEATURE_SNAT) && verdict == OPENED_OUT)) {
		/* Its own entry keeps the way that is found now. */
		struct flow *own = map_lookup(&flows, &p.key);
		if (!own)
			return XDP_DROP;
		u32 index = own->server;
		struct server *server = map_lookup(&servers, &index);
		if (!server)
			return XDP_DROP;
		if (verdict == OPENED_BACK)
			follow(own, &p);
		return deliver(ctx, &p, own, server);
	}
	if (verdict != RESET)
		return verdict;
	return p.key.proto == PROTO_TCP ? answer_reset(ctx, &p) : XDP_DROP;
}

/* What is balanced, and what is not. */
inline_always int balance(context *ctx)
{
	int verdict = forward(ctx);
	return verdict == XDP_PASS && is_watched(ctx) ? pass_on(ctx) : verdict;
}

#ifndef TC
SEC("xdp") int mulgil(context *ctx)
{
	return balance(ctx);
}
#endif
