/* ICMP errors about packets of sessions: they go where the session goes, and what they quote is
 * turned back into what its sender sent (RFC 5508 section 4). */
#pragma once
#include "bridge.h"
#include "flow.h"
#include "guard.h"

/* Where IP says that the packet ends: what follows fills up a short frame, and no sum counts it. */
inline_always u32 end_of_packet(void *data, void *end, const struct packet *p)
{
	u32 l3 = bounded(p->l3);
	if (p->family == 4) {
		struct ipv4 *ip = data + l3;
		return (void *)(ip + 1) > end ? 0 : l3 + be16(ip->len);
	}
	struct ipv6 *ip = data + l3;
	return (void *)(ip + 1) > end ? 0 : l3 + sizeof(*ip) + be16(ip->payload);
}

/* The quoted packet, as the key of the direction that answers it. `at` becomes the place of its
 * transport header. */
inline_always int quoted(void *data, void *end, const struct packet *p, struct flow_key *key, u32 *at)
{
	u32 l3 = bounded(p->l4) + sizeof(struct icmp);
	u32 l4, more = 0;
	if (p->family == 4) {
		struct ipv4 *ip = data + bounded(l3);
		if ((void *)(ip + 1) > end || ip->version_ihl >> 4 != 4 || (ip->version_ihl & 15) < 5 ||
		    be16(ip->fragment) & 0x1fff)
			return -1;
		map4(key->dst, ip->src);
		map4(key->src, ip->dst);
		key->proto = ip->proto;
		l4 = l3 + (ip->version_ihl & 15) * 4;
	} else {
		struct ipv6 *ip = data + bounded(l3);
		if ((void *)(ip + 1) > end || be32(ip->version_class_flow) >> 28 != 6)
			return -1;
		copy16(key->dst, ip->src);
		copy16(key->src, ip->dst);
		key->proto = ip->next;
		l4 = l3 + sizeof(*ip);
	}
	if (key->proto == PROTO_TCP || key->proto == PROTO_UDP) {
		struct ports *ports = data + bounded(l4);
		if ((void *)(ports + 1) > end)
			return -1;
		key->dport = ports->src;
		key->sport = ports->dst;
		more = sizeof(*ports);
	} else if (key->proto == (p->family == 4 ? PROTO_ICMP : PROTO_ICMP6)) {
		struct icmp *icmp = data + bounded(l4);
		if ((void *)(icmp + 1) > end)
			return -1;
		if (icmp_is_echo(key->proto, icmp->type))
			key->sport = key->dport = icmp->id;
		more = sizeof(*icmp);
	}
	*at = l4;
	return l4 + more > end_of_packet(data, end, p) ? -1 : 0;
}

/* Rewrites the outer destination and the quoted packet for `f`, the direction that the error takes.
 * The sum of the message changes by all that changes in it, and for ICMPv6 by the outer addresses. */
inline_always int rewrite_quoted(context *ctx, const struct packet *p, const struct flow *f,
				 const struct flow_key *key, u32 at)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	u32 l3 = bounded(p->l3), l4 = bounded(p->l4);
	struct icmp *icmp = data + l4;
	/* An error that the other end itself reports comes from the address that the client knows. */
	u32 from[4];
	u32 delta = 0;
	int own = p->key.src[0] == key->src[0] && p->key.src[1] == key->src[1] &&
		  p->key.src[2] == key->src[2] && p->key.src[3] == key->src[3];
	copy16(from, own ? f->src : p->key.src);
	/* In the quoted packet source and destination are those of `key` the other way around. */
	u32 addresses = fold(delta_address(key->src, f->src) + delta_address(key->dst, f->dst));

	if ((void *)(icmp + 1) > end)
		return -1;
	if (p->family == 4) {
		struct ipv4 *ip = data + l3, *inner = data + bounded(l4 + sizeof(*icmp));
		if ((void *)(ip + 1) > end || (void *)(inner + 1) > end)
			return -1;
		u32 outer = 0;
		u32 to[4];
		map4(to, ip->dst);
		outer += delta_address(to, f->dst) + delta_address(p->key.src, from);
		ip->src = from[3];
		ip->dst = f->dst[3];
		if (f->steps & STEP_TTL) {
			ip->ttl--;
			outer += 0xfffe;
		}
		add_to_sum(&ip->check, fold(outer));
		inner->src = f->dst[3];
		inner->dst = f->src[3];
		u16 old = inner->check;
		add_to_sum(&inner->check, addresses);
		delta = addresses + delta16(old, inner->check);
	} else {
		struct ipv6 *ip = data + l3, *inner = data + bounded(l4 + sizeof(*icmp));
		if ((void *)(ip + 1) > end || (void *)(inner + 1) > end)
			return -1;
		delta = delta_address(ip->dst, f->dst) + delta_address(p->key.src, from);
		copy16(ip->src, from);
		copy16(ip->dst, f->dst);
		if (f->steps & STEP_TTL)
			ip->hops--;
		copy16(inner->src, f->dst);
		copy16(inner->dst, f->src);
		delta = fold(delta) + addresses;
	}
	if (key->proto == PROTO_TCP || key->proto == PROTO_UDP) {
		struct ports *ports = data + bounded(at);
		if ((void *)(ports + 1) > end)
			return -1;
		ports->src = f->dport;
		ports->dst = f->sport;
		u32 moved = delta16(key->sport, f->sport) + delta16(key->dport, f->dport);
		delta += moved;
		/* The transport's own sum is quoted too, if the quotation is long enough. */
		u32 place = at + (key->proto == PROTO_TCP ? 16 : 6);
		u16 *check = data + bounded(place);
		if ((void *)(check + 1) <= end && place + sizeof(*check) <= end_of_packet(data, end, p) &&
		    !(key->proto == PROTO_UDP && *check == 0)) {
			u16 old = *check;
			add_to_sum(check, fold(addresses + moved));
			if (key->proto == PROTO_UDP && *check == 0)
				*check = 0xffff;
			delta += delta16(old, *check);
		}
	}
	add_to_sum(&icmp->check, fold(delta));
	return 0;
}

/* What a server of a spliced session sent is quoted with the number that its client got: the server knows only
 * its own, and believes no error with another (RFC 5927 section 4.1). */
apart int restore_number(context *ctx, const struct packet *p, const struct flow_key *key, u32 at)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (!p || !key)
		return 0;
	struct flow_key own = *key;
	struct splice *splice = map_lookup(&splices, &own);
	struct icmp *icmp = data + bounded(p->l4);
	u32 *seq = data + bounded(at + 4), last = end_of_packet(data, end, p);
	if (!splice || !splice->ready || (void *)(icmp + 1) > end || (void *)(seq + 1) > end || at + 8 > last)
		return 0;
	u32 to = be32(be32(*seq) - splice->delta);
	u32 delta = fold(delta32(*seq, to)), moved = delta;
	*seq = to;
	u16 *check = data + bounded(at + 16);
	if ((void *)(check + 1) <= end && at + 18 <= last) {
		u16 old = *check;
		add_to_sum(check, moved);
		delta += delta16(old, *check);
	}
	add_to_sum(&icmp->check, fold(delta));
	return 0;
}

/* Where the server turns the destination back itself, by the DSCP: what is quoted is what it sent. It is said in our
 * name, because a router on the way to the server would not pass on what it has said itself. */
out_of_line int mark_error(context *ctx, const struct packet *p, const struct flow *f, const struct server *server)
{
	u32 zero = 0;
	struct scratch *s = map_lookup(&scratch, &zero);
	if (!s)
		return -1;
	struct flow *to = &s->flow;
	*to = *f;
	int known = server->local[2] || server->local[3];
	copy16(to->src, known ? server->local : p->key.src);
	find_deltas(&p->key, to);
	return rewrite(ctx, p, to);
}

/* Beside the verdicts: the error goes through a tunnel, with the session that the packet's key is then. */
enum { CARRIED = -6 };

out_of_line int icmp_error(context *ctx, struct packet *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct flow_key key = {};
	u32 at = 0;
	key.vlan = p->key.vlan;
	if (quoted(data, end, p, &key, &at))
		return XDP_PASS;
	struct flow *f = map_lookup(&flows, &key);
	/* Somebody on the way may refuse what the server has not answered yet. */
	if (!f && expect_answer(&key) > 0)
		f = map_lookup(&flows, &key);
	if (!f || (f->steps & STEP_TTL && p->ttl <= 1))
		return XDP_PASS;
	u32 index = f->server;
	struct server *server = map_lookup(&servers, &index);
	if (!server)
		return XDP_PASS;
	count(EVENT_ICMP);
	if (uses(FEATURE_ROUTE) && f->steps & STEP_ROUTE) {
		if (!(f->state & FLOW_FORWARD) && !f->hop.ifindex)
			return XDP_PASS;
		if (rewrite(ctx, p, f))
			return XDP_DROP;
	}
	if (uses(FEATURE_SPLICE) && f->state & FLOW_SPLICED && f->state & FLOW_FORWARD)
		restore_number(ctx, p, &key, at);
	if (f->steps & STEP_ENCAP) {
		p->key = key;
		return CARRIED;
	}
	if (f->steps & STEP_ADDRESSES &&
	    (f->steps & STEP_DSCP ? mark_error(ctx, p, f, server) : rewrite_quoted(ctx, p, f, &key, at)))
		return XDP_DROP;
	const struct hop *hop = f->state & FLOW_FORWARD ? &server->hop : &f->hop;
	if (!hop->ifindex)
		return XDP_DROP;
	return f->steps & STEP_BRIDGE ? cross(ctx, p, f, server) : leave(ctx, hop, p->key.vlan);
}
