/* Packets inside packets: IP in IP (RFC 2003, RFC 2473), GRE (RFC 2784), GUE; and word to whoever sends
 * too large ones. */
#pragma once
#include "rewrite.h"
#include "schedule.h"

/* What is quoted of a packet that is too large: its header and the ports. */
#define QUOTED4 (sizeof(struct ipv4) + 8)
#define QUOTED6 (sizeof(struct ipv6) + 8)

inline_always int is_ipv4(const u32 *address)
{
	return address[0] == 0 && address[1] == 0 && address[2] == be32(0xffff);
}

inline_always u32 sum_words(const void *from, u32 words)
{
	const u16 *word = from;
	u32 sum = 0;
	for (u32 i = 0; i < words; i++)
		sum += word[i];
	return sum;
}

/* The device that sends the error will write the quoted packet's sum, over what is quoted of it: what the
 * error's own sum must count. `l4` is the quoted transport, `more` its bytes behind the first eight. */
inline_always int settle(void *l4, void *end, u32 more, u32 sum_at, u32 *sum)
{
	u16 *check = l4 + sum_at;
	u32 all = 0;
	if (more) {
		if (l4 + sizeof(struct tcp) > end)
			return -1;
		u32 behind = sum_words(l4 + 8, (sizeof(struct tcp) - 8) / 2);
		*sum += behind;
		all += behind;
	}
	if (l4 + 8 > end || (void *)(check + 1) > end)
		return -1;
	all += sum_words(l4, 4);
	u16 comes = ~fold(all);
	*sum += (u16)~*check + (u32)(comes ? comes : 0xffff);
	return 0;
}

/* Turns a packet into the error that says how large it may be: fragmentation needed (RFC 1191) or
 * packet too big (RFC 4443 section 3.2), in the name of its destination. */
apart int answer_too_big(context *ctx, const struct packet *p, u32 mtu)
{
	if (!p)
		return XDP_DROP;
	int four = p->family == 4;
	u32 l3 = bounded(p->l3), have = frame_bytes(ctx);
	u32 header = four ? sizeof(struct ipv4) : sizeof(struct ipv6);
	u32 quoted = four ? QUOTED4 : QUOTED6, more = 0;
	u32 sum_at = p->key.proto == PROTO_TCP ? 16 : p->key.proto == PROTO_UDP ? 6 : 0;
	int pending = sum_at && sum_is_pending(ctx, bounded(p->l4) + sum_at);
	/* What is pending cannot be cut off. */
	if (pending && p->key.proto == PROTO_TCP)
		more = sizeof(struct tcp) - 8;
	quoted += more;
	if (bounded(p->l4) != l3 + header || have < l3 + quoted)
		return XDP_DROP;
	if (cut_to(ctx, l3 + quoted) || grow_head(ctx, header + sizeof(struct icmp)))
		return XDP_DROP;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	/* The link's header, tag included, stands behind the room that was made. */
	struct eth *eth = data, *old = data + header + sizeof(struct icmp);
	if ((void *)(old + 1) > end || (void *)(eth + 1) > end)
		return XDP_DROP;
	u8 mac[6];
	copy_mac(mac, old->dst);
	copy_mac(eth->dst, old->src);
	copy_mac(eth->src, mac);
	if (l3 != sizeof(*eth)) {
		struct vlan *tag = (void *)(eth + 1), *old_tag = (void *)(old + 1);
		if ((void *)(old_tag + 1) > end)
			return XDP_DROP;
		eth->type = be16(ETH_VLAN);
		tag->tci = old_tag->tci;
		tag->type = old_tag->type;
	} else {
		eth->type = old->type;
	}
	if (four) {
		struct ipv4 *ip = data + l3;
		struct icmp *icmp = (void *)(ip + 1);
		void *rest = (void *)(icmp + 1) + QUOTED4;
		if (rest > end)
			return XDP_DROP;
		ip->version_ihl = 0x45;
		ip->tos = 0;
		ip->len = be16((u16)(sizeof(*ip) + sizeof(*icmp) + quoted));
		ip->id = 0;
		ip->fragment = be16(0x4000);
		ip->ttl = 64;
		ip->proto = PROTO_ICMP;
		ip->check = 0;
		ip->src = p->key.dst[3];
		ip->dst = p->key.src[3];
		ip->check = ~fold(sum_words(ip, sizeof(*ip) / 2));
		icmp->type = 3;
		icmp->code = 4;
		icmp->check = 0;
		icmp->id = 0;
		icmp->seq = be16(mtu);
		u32 sum = sum_words(icmp, (sizeof(*icmp) + QUOTED4) / 2);
		if (pending && settle(rest - 8, end, more, sum_at, &sum))
			return XDP_DROP;
		icmp->check = ~fold(sum);
		return XDP_TX;
	}
	struct ipv6 *ip = data + l3;
	struct icmp *icmp = (void *)(ip + 1);
	void *rest = (void *)(icmp + 1) + QUOTED6;
	if (rest > end)
		return XDP_DROP;
	u32 len = sizeof(*icmp) + quoted;
	ip->version_class_flow = be32(6u << 28);
	ip->payload = be16((u16)len);
	ip->next = PROTO_ICMP6;
	ip->hops = 64;
	copy16(ip->src, p->key.dst);
	copy16(ip->dst, p->key.src);
	icmp->type = 2;
	icmp->code = 0;
	icmp->check = 0;
	icmp->id = 0;
	icmp->seq = be16(mtu);
	u32 sum = be16(PROTO_ICMP6) + be16((u16)len) + sum_words(ip->src, 16);
	sum += sum_words(icmp, (sizeof(*icmp) + QUOTED6) / 2);
	if (pending && settle(rest - 8, end, more, sum_at, &sum))
		return XDP_DROP;
	icmp->check = ~fold(sum);
	return XDP_TX;
}

/* Puts a packet inside another, to the server. A verdict; the frame leaves by the server's hop. */
out_of_line int encapsulate(context *ctx, const struct packet *p, const struct flow *f,
			    const struct server *server)
{
	int outer4 = is_ipv4(server->address);
	/* What stands between the two IP headers. */
	u32 shim = f->steps & STEP_GRE ? sizeof(struct gre) :
		   f->steps & STEP_GUE ? sizeof(struct udp) + sizeof(struct gue) : 0;
	u32 header = (outer4 ? sizeof(struct ipv4) : sizeof(struct ipv6)) + shim;
	u32 l3 = bounded(p->l3);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	/* What IP says it is: the frame may be padded. */
	u32 inner;
	if (p->family == 4) {
		struct ipv4 *ip = data + l3;
		if ((void *)(ip + 1) > end)
			return XDP_DROP;
		inner = be16(ip->len);
	} else {
		struct ipv6 *ip = data + l3;
		if ((void *)(ip + 1) > end)
			return XDP_DROP;
		inner = sizeof(*ip) + be16(ip->payload);
	}
	if (inner + header > server->hop.mtu &&
	    wire_bytes(ctx, inner, l3, bounded(p->l4), p->key.proto) + header > server->hop.mtu) {
		count(EVENT_TOO_BIG);
		/* No error is sent about an error (RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e)): its key
		 * is the session's, and the client has not sent it. */
		if (icmp_is_error(p->family, p->icmp_type))
			return XDP_DROP;
		return answer_too_big(ctx, p, server->hop.mtu - header);
	}

	int kind = f->steps & STEP_GRE ? TUNNEL_GRE : f->steps & STEP_GUE ? TUNNEL_GUE : TUNNEL_IP;
	if (grow_outer(ctx, header, l3, outer4, kind))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	struct eth *eth = data;
	if ((void *)(eth + 1) > end)
		return XDP_DROP;
	u8 inner_proto = p->family == 4 ? PROTO_IPIP : PROTO_IPV6;
	u8 proto = f->steps & STEP_GRE ? PROTO_GRE : f->steps & STEP_GUE ? PROTO_UDP : inner_proto;
	void *after = (void *)(eth + 1) + (outer4 ? sizeof(struct ipv4) : sizeof(struct ipv6));
	if (f->steps & STEP_GRE) {
		struct gre *gre = after;
		if ((void *)(gre + 1) > end)
			return XDP_DROP;
		gre->flags = 0;
		gre->type = be16(p->family == 4 ? ETH_IPV4 : ETH_IPV6);
	} else if (f->steps & STEP_GUE) {
		struct udp *udp = after;
		struct gue *gue = (void *)(udp + 1);
		if ((void *)(gue + 1) > end)
			return XDP_DROP;
		/* The source port spreads sessions over paths and queues. No sum: the inner packet has
		 * its own (RFC 6935). */
		udp->src = be16(0xc000 | (hash_flow(&p->key) & 0x3fff));
		udp->dst = f->dport;
		udp->len = be16((u16)(inner + shim));
		udp->check = 0;
		gue->control = 0;
		gue->proto = inner_proto;
		gue->flags = 0;
	}
	if (outer4) {
		struct ipv4 *ip = (void *)(eth + 1);
		if ((void *)(ip + 1) > end)
			return XDP_DROP;
		eth->type = be16(ETH_IPV4);
		ip->version_ihl = 0x45;
		ip->tos = p->tos;
		ip->len = be16((u16)(inner + header));
		ip->id = 0;
		ip->fragment = be16(0x4000);
		ip->ttl = 64;
		ip->proto = proto;
		ip->check = 0;
		ip->src = server->local[3];
		ip->dst = server->address[3];
		ip->check = ~fold(sum_words(ip, sizeof(*ip) / 2));
	} else {
		struct ipv6 *ip = (void *)(eth + 1);
		if ((void *)(ip + 1) > end)
			return XDP_DROP;
		eth->type = be16(ETH_IPV6);
		ip->version_class_flow = be32(6u << 28 | (u32)p->tos << 20);
		ip->payload = be16((u16)(inner + shim));
		ip->next = proto;
		ip->hops = 64;
		copy16(ip->src, server->local);
		copy16(ip->dst, server->address);
	}
	u16 vlan = server->hop.vlan;
	/* The outer headers may have taken the tag, with its priority. */
	if (unlikely(vlan != (OUTER_TAKES_TAG ? 0 : p->key.vlan)) && retag(ctx, vlan ? vlan | p->priority : 0))
		return XDP_DROP;
	return leave(ctx, &server->hop, vlan);
}
