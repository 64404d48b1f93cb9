/* What is done to packets: sums, addresses, links. Sums change by what the rewrite changes (RFC 1624,
 * equation 3), never by reading the payload. */
#pragma once
#include "parse.h"

/* Offsets of headers for the verifier, which does not follow the arithmetic of `parse`. */
#define bounded(offset)                                   \
	({                                                \
		u32 bounded_ = (offset);                  \
		asm volatile("%0 &= 0xfff" : "+r"(bounded_)); \
		bounded_;                                 \
	})

inline_always u16 fold(u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	return (sum & 0xffff) + (sum >> 16);
}

/* What replacing `from` by `to` adds to a sum. */
inline_always u32 delta32(u32 from, u32 to)
{
	u32 gone = ~from;
	return (gone & 0xffff) + (gone >> 16) + (to & 0xffff) + (to >> 16);
}

inline_always u32 delta_address(const u32 *from, const u32 *to)
{
	u32 sum = 0;
	for (int i = 0; i < 4; i++)
		sum += delta32(from[i], to[i]);
	return sum;
}

inline_always u32 delta16(u16 from, u16 to)
{
	return (u16)~from + (u32)to;
}

inline_always void add_to_sum(u16 *check, u32 delta)
{
	*check = ~fold((u16)~*check + delta);
}

/* Fills the deltas of a flow that turns `key` into its own addresses. */
inline_always void find_deltas(const struct flow_key *key, struct flow *f)
{
	f->address_delta = fold(delta_address(key->src, f->src) + delta_address(key->dst, f->dst));
	/* The words of an IPv4 address that are not in the packet are equal on both sides. */
	f->ip_delta = f->address_delta;
	f->port_delta = fold(delta16(key->sport, f->sport) + delta16(key->dport, f->dport));
}

/* Where the transport keeps its sum: 0 where it has none. */
inline_always u32 sum_offset(u8 family, u8 proto)
{
	if (proto == PROTO_TCP)
		return 16;
	if (proto == PROTO_UDP)
		return 6;
	return family == 6 && proto == PROTO_ICMP6 ? 2 : 0;
}

/* Adds to the transport's sum what has changed in the pseudo header and behind it. 0, or -1. */
inline_always int replace_sum(context *ctx, const struct packet *p, u32 at, u32 pseudo, u32 rest)
{
#ifdef TC
	u64 flags = p->key.proto == PROTO_UDP ? SUM_ZERO_IS_NONE : 0;
	at += bounded(p->l4);
	if (l4_sum_replace(ctx, at, 0, pseudo, flags | SUM_PSEUDO) ||
	    (rest && l4_sum_replace(ctx, at, 0, rest, flags)))
		return -1;
#else
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	u16 *check = data + bounded(p->l4) + at;
	if ((void *)(check + 1) > end)
		return -1;
	/* Zero says that there is no sum (RFC 768); a sum that is zero is written as its other form. */
	if (p->key.proto == PROTO_UDP && *check == 0)
		return 0;
	add_to_sum(check, pseudo + rest);
	if (p->key.proto == PROTO_UDP && *check == 0)
		*check = 0xffff;
#endif
	return 0;
}

/* Addresses, ports, time to live, DSCP, in place. 0, or -1 when the frame is not what it was. */
inline_always int rewrite(context *ctx, const struct packet *p, const struct flow *f)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *l3 = data + bounded(p->l3), *l4 = data + bounded(p->l4);
	u8 steps = f->steps;

	if (p->family == 4) {
		struct ipv4 *ip = l3;
		if ((void *)(ip + 1) > end)
			return -1;
		u32 delta = 0;
		if (steps & STEP_ADDRESSES) {
			ip->src = f->src[3];
			ip->dst = f->dst[3];
			delta += f->ip_delta;
		}
		if (steps & STEP_DSCP) {
			u8 tos = f->dscp << 2 | (ip->tos & 3);
			delta += delta16((u16)ip->tos << 8, (u16)tos << 8);
			ip->tos = tos;
		}
		if (steps & STEP_TTL) {
			ip->ttl--;
			delta += 0xfffe; /* one less in the first byte of its word */
		}
		add_to_sum(&ip->check, delta);
	} else {
		struct ipv6 *ip = l3;
		if ((void *)(ip + 1) > end)
			return -1;
		if (steps & STEP_ADDRESSES) {
			copy16(ip->src, f->src);
			copy16(ip->dst, f->dst);
		}
		if (steps & STEP_DSCP) {
			u32 word = be32(ip->version_class_flow) & ~(0xfcu << 20);
			ip->version_class_flow = be32(word | (u32)f->dscp << 22);
		}
		if (steps & STEP_TTL)
			ip->hops--;
	}
	if (!(steps & STEP_ADDRESSES) || p->pieces == PIECE_LATER)
		return 0;

	u32 at = sum_offset(p->family, p->key.proto);
	if (at == 0)
		return 0;
	u32 delta = 0;
	if (p->key.proto != PROTO_ICMP6) {
		struct ports *ports = l4;
		if ((void *)(ports + 1) > end)
			return -1;
		ports->src = f->sport;
		ports->dst = f->dport;
		delta = f->port_delta;
	}
	return replace_sum(ctx, p, at, f->address_delta, delta);
}

inline_always void copy_mac(u8 *to, const u8 *from)
{
	((u16 *)to)[0] = ((const u16 *)from)[0];
	((u16 *)to)[1] = ((const u16 *)from)[1];
	((u16 *)to)[2] = ((const u16 *)from)[2];
}

/* Out by a hop that is known; `vlan` is that of the frame as it is. */
inline_always int leave(context *ctx, const struct hop *hop, u16 vlan)
{
	if (unlikely(hop->vlan != vlan) && retag(ctx, hop->vlan))
		return XDP_DROP;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct eth *eth = data;
	if ((void *)(eth + 1) > end)
		return XDP_DROP;
	copy_mac(eth->dst, hop->dst);
	copy_mac(eth->src, hop->src);
	if (hop->ifindex == arrived_at(ctx))
		return XDP_TX;
	return send_to(ctx, hop->ifindex);
}
