/* On a real server: what balancers send in tunnels or mark by DSCP becomes a packet to the virtual
 * address, which the server has on its loopback and answers from. */
#include "rewrite.h"

char licence[] SEC("license") = "Dual MIT/GPL";

/* Virtual addresses that tunnels bring, each with the largest segment that clients are told of. */
struct {
	map_uint(type, MAP_HASH);
	map_uint(max_entries, 4096);
	map_type(key, struct address);
	map_type(value, u32);
} tunnelled SEC(".maps");

/* UDP ports that GUE comes to. */
struct {
	map_uint(type, MAP_HASH);
	map_uint(max_entries, 64);
	map_type(key, u32);
	map_type(value, u32);
} gue_ports SEC(".maps");

struct point {
	u32 dscp;
	u32 family; /* 4 or 6 */
};

/* The virtual address of each code point. */
struct {
	map_uint(type, MAP_HASH);
	map_uint(max_entries, 128);
	map_type(key, struct point);
	map_type(value, struct address);
} marked SEC(".maps");

/* Takes the outer headers away where the inner packet is for a virtual address of ours. `at` is where
 * it begins, `proto` what it is. */
inline_always int decapsulate(context *ctx, const struct packet *p, u32 at, u8 proto)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	u32 l3 = bounded(p->l3);
	struct address inner;
	u16 type;
	if (proto == PROTO_IPIP) {
		struct ipv4 *ip = data + bounded(at);
		if ((void *)(ip + 1) > end || ip->version_ihl >> 4 != 4)
			return XDP_PASS;
		map4(inner.words, ip->dst);
		type = be16(ETH_IPV4);
	} else {
		struct ipv6 *ip = data + bounded(at);
		if ((void *)(ip + 1) > end || be32(ip->version_class_flow) >> 28 != 6)
			return XDP_PASS;
		copy16(inner.words, ip->dst);
		type = be16(ETH_IPV6);
	}
	if (!map_lookup(&tunnelled, &inner))
		return XDP_PASS;
	struct eth *eth = data;
	if ((void *)(eth + 1) > end)
		return XDP_PASS;
	u8 dst[6], src[6];
	copy_mac(dst, eth->dst);
	copy_mac(src, eth->src);
	/* A tag goes with the outer header: whose frames are tagged has no program on the bare link. */
	if (l3 != sizeof(*eth) || vlan_beside(ctx) ||
	    shed_outer(ctx, bounded(at) - l3, p->family == 4, proto == PROTO_IPIP))
		return XDP_PASS;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	eth = data;
	if ((void *)(eth + 1) > end)
		return XDP_DROP;
	copy_mac(eth->dst, dst);
	copy_mac(eth->src, src);
	eth->type = type;
	return XDP_PASS;
}

/* What a packet carries, if it is of a tunnel: IP's number of it, and where it begins; 0 is no tunnel. */
inline_always u8 tunnel_of(context *ctx, const struct packet *p, u32 *at)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *l4 = data + bounded(p->l4);
	*at = p->l4;
	if (p->pieces)
		return 0;
	if (p->key.proto == PROTO_IPIP || p->key.proto == PROTO_IPV6)
		return p->key.proto;
	if (p->key.proto == PROTO_GRE) {
		struct gre *gre = l4;
		if ((void *)(gre + 1) > end || gre->flags)
			return 0;
		*at += sizeof(*gre);
		return gre->type == be16(ETH_IPV4) ? PROTO_IPIP : gre->type == be16(ETH_IPV6) ? PROTO_IPV6 : 0;
	}
	if (p->key.proto == PROTO_UDP) {
		u32 port = be16(p->key.dport);
		struct gue *gue = l4 + sizeof(struct udp);
		if (!map_lookup(&gue_ports, &port) || (void *)(gue + 1) > end || gue->control || gue->flags)
			return 0;
		*at += sizeof(struct udp) + sizeof(*gue);
		return gue->proto == PROTO_IPIP || gue->proto == PROTO_IPV6 ? gue->proto : 0;
	}
	return 0;
}

/* Whether an error is about a packet that came from this virtual address. */
inline_always int is_about(context *ctx, const struct packet *p, const struct address *vip)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	void *quoted = data + bounded(p->l4) + sizeof(struct icmp);
	u32 from[4];
	if (p->family == 4) {
		struct ipv4 *ip = quoted;
		if ((void *)(ip + 1) > end)
			return 0;
		map4(from, ip->src);
	} else {
		struct ipv6 *ip = quoted;
		if ((void *)(ip + 1) > end)
			return 0;
		copy16(from, ip->src);
	}
	return from[0] == vip->words[0] && from[1] == vip->words[1] && from[2] == vip->words[2] &&
	       from[3] == vip->words[3];
}

inline_always int serve(context *ctx)
{
	struct packet p = {};
	enum parsed what = parse(ctx, &p);
	/* An error about what this machine sent as the virtual address is marked like the rest. */
	if (what != PARSED && what != PARSED_ERROR)
		return XDP_PASS;
	u32 at;
	u8 carried = tunnel_of(ctx, &p, &at);
	if (carried)
		return decapsulate(ctx, &p, at, carried);
	struct point point = { p.tos >> 2, p.family };
	if (!point.dscp)
		return XDP_PASS;
	struct address *vip = map_lookup(&marked, &point);
	if (!vip)
		return XDP_PASS;
	/* Routers mark errors of their own (RFC 1812 section 4.3.2.5): not all are of the balancer. */
	if (what == PARSED_ERROR && !is_about(ctx, &p, vip))
		return XDP_PASS;
	struct flow f = {};
	copy16(f.src, p.key.src);
	copy16(f.dst, vip->words);
	f.sport = p.key.sport;
	f.dport = p.key.dport;
	f.steps = STEP_ADDRESSES | STEP_DSCP;
	find_deltas(&p.key, &f);
	return rewrite(ctx, &p, &f) ? XDP_DROP : XDP_PASS;
}

#ifndef TC
SEC("xdp") int server(context *ctx)
{
	return serve(ctx);
}
#endif
