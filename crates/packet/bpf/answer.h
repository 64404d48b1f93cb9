/* What is answered here: ARP and neighbour solicitations for addresses that no interface has, and
 * resets. */
#pragma once
#include "flow.h"

inline_always void swap_macs(struct eth *eth)
{
	u8 mac[6];
	copy_mac(mac, eth->dst);
	copy_mac(eth->dst, eth->src);
	copy_mac(eth->src, mac);
}

/* A segment of TCP without data; all numbers as on the wire. */
struct segment {
	u32 seq, ack;
	u16 window, mss; /* 0: without that option */
	u8 flags;
	u8 back; /* to where the packet came from */
	u16 pad;
};

/* Turns a TCP packet into this segment. 0, or -1 when that cannot be. */
apart int write_segment(context *ctx, const struct packet *p, const struct segment *segment)
{
	if (!p || !segment)
		return -1;
	u8 family = p->family;
	u32 l3 = bounded(p->l3);
	/* Headers between IP's and TCP's would have to be taken out. */
	u32 plain = l3 + (family == 4 ? sizeof(struct ipv4) : sizeof(struct ipv6));
	u32 bytes = sizeof(struct tcp) + (segment->mss ? 4 : 0);
	if (p->pieces || bounded(p->l4) != plain || frame_bytes(ctx) < plain + sizeof(struct tcp))
		return -1;
	int pending = sum_is_pending(ctx, plain + 16);
	if (fit_to(ctx, plain + bytes))
		return -1;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct eth *eth = data;
	struct tcp *tcp = data + plain;
	u16 *option = (void *)(tcp + 1);
	if ((void *)(eth + 1) > end || (void *)(tcp + 1) > end)
		return -1;
	if (segment->back) {
		u16 port = tcp->src;
		swap_macs(eth);
		tcp->src = tcp->dst;
		tcp->dst = port;
	}
	tcp->seq = segment->seq;
	tcp->ack = segment->ack;
	tcp->offset = bytes << 2;
	tcp->flags = segment->flags;
	tcp->window = segment->window;
	tcp->check = 0;
	tcp->urgent = 0;

	u32 sum = be16(PROTO_TCP) + be16(bytes);
	if (family == 4) {
		struct ipv4 *ip = data + l3;
		if ((void *)(ip + 1) > end)
			return -1;
		if (segment->back) {
			u32 address = ip->src;
			ip->src = ip->dst;
			ip->dst = address;
			ip->tos = 0;
			ip->id = 0;
			ip->fragment = be16(0x4000);
			ip->ttl = 64;
		}
		ip->len = be16(sizeof(*ip) + bytes);
		ip->check = 0;
		u32 header = 0;
		u16 *half = (u16 *)ip;
		for (u32 i = 0; i < sizeof(*ip) / 2; i++)
			header += half[i];
		ip->check = ~fold(header);
		for (u32 i = 6; i < 10; i++)
			sum += half[i];
	} else {
		struct ipv6 *ip = data + l3;
		if ((void *)(ip + 1) > end)
			return -1;
		if (segment->back) {
			u32 address[4];
			copy16(address, ip->src);
			copy16(ip->src, ip->dst);
			copy16(ip->dst, address);
			ip->hops = 64;
		}
		ip->payload = be16(bytes);
		u16 *half = (u16 *)ip;
		for (u32 i = 4; i < 20; i++)
			sum += half[i];
	}
	u32 rest = 0;
	if (segment->mss) {
		if ((void *)(option + 2) > end)
			return -1;
		option[0] = be16(0x0204);
		option[1] = segment->mss;
		rest = option[0] + (u32)option[1];
	}
	if (pending) {
		tcp->check = fold(sum);
		return 0;
	}
	u16 *words = (u16 *)tcp;
	for (u32 i = 0; i < sizeof(*tcp) / 2; i++)
		sum += words[i];
	tcp->check = ~fold(sum + rest);
	return 0;
}

/* Answers a TCP packet; the numbers are as on the wire. */
inline_always int answer_tcp(context *ctx, const struct packet *p, u8 flags, u32 seq, u32 ack)
{
	struct segment segment = { .seq = seq, .ack = ack, .flags = flags, .back = 1 };
	return write_segment(ctx, p, &segment) ? XDP_DROP : XDP_TX;
}

/* Turns a TCP packet into the reset that answers it (RFC 9293 section 3.10.7.1). */
out_of_line int answer_reset(context *ctx, const struct packet *p)
{
	u32 l3 = bounded(p->l3), payload = 0;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct tcp *tcp = data + bounded(p->l4);
	if ((void *)(tcp + 1) > end || p->tcp & TCP_RST)
		return XDP_DROP;
	if (tcp->flags & TCP_ACK)
		return answer_tcp(ctx, p, TCP_RST, tcp->ack, 0);
	if (p->family == 4) {
		struct ipv4 *ip = data + l3;
		if ((void *)(ip + 1) > end)
			return XDP_DROP;
		payload = be16(ip->len) - sizeof(*ip);
	} else {
		struct ipv6 *ip = data + l3;
		if ((void *)(ip + 1) > end)
			return XDP_DROP;
		payload = be16(ip->payload);
	}
	u32 taken = payload - (tcp->offset >> 4) * 4;
	taken += (tcp->flags & TCP_SYN ? 1 : 0) + (tcp->flags & TCP_FIN ? 1 : 0);
	return answer_tcp(ctx, p, TCP_RST | TCP_ACK, 0, be32(be32(tcp->seq) + taken));
}

/* An ARP request for an address of ours (RFC 826). */
out_of_line int answer_arp(context *ctx, const struct packet *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct eth *eth = data;
	struct arp *arp = data + bounded(p->l3);
	if ((void *)(eth + 1) > end || (void *)(arp + 1) > end)
		return XDP_PASS;
	if (arp->operation != be16(1) || arp->protocol != be16(ETH_IPV4))
		return XDP_PASS;
	u32 address[4];
	map4(address, arp->target);
	u32 *kinds = map_lookup(&vips, address);
	if (!kinds || !(*kinds & VIP_ANSWER) || *kinds >> VIP_VLAN_SHIFT != p->key.vlan)
		return XDP_PASS;
	u32 ifindex = arrived_at(ctx);
	u64 *mac = map_lookup(&macs, &ifindex);
	if (!mac)
		return XDP_PASS;
	u8 own[8];
	*(u64 *)own = *mac;
	count(EVENT_ARP);
	arp->operation = be16(2);
	copy_mac(arp->target_mac, arp->sender_mac);
	arp->target = arp->sender;
	copy_mac(arp->sender_mac, own);
	arp->sender = address[3];
	copy_mac(eth->dst, eth->src);
	copy_mac(eth->src, own);
	return XDP_TX;
}

struct nd {
	struct icmp icmp;
	u32 target[4];
	u8 option, option_len, mac[6];
} __attribute__((packed, aligned(2)));

enum { ND_SOLICIT = 135, ND_ADVERTISE = 136 };

/* A neighbour solicitation for an address of ours (RFC 4861 section 7.2.4). */
out_of_line int answer_nd(context *ctx, const struct packet *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct eth *eth = data;
	u32 l3 = bounded(p->l3);
	struct ipv6 *ip = data + l3;
	struct nd *nd = data + l3 + sizeof(*ip);
	if ((void *)(eth + 1) > end || (void *)(nd + 1) > end)
		return XDP_PASS;
	/* Hop limit 255: nobody from afar. The option is the sender's address on the link. */
	if (ip->hops != 255 || ip->next != PROTO_ICMP6 || nd->option != 1 || nd->option_len != 1 ||
	    be16(ip->payload) != sizeof(*nd))
		return XDP_PASS;
	u32 target[4];
	copy16(target, nd->target);
	u32 *kinds = map_lookup(&vips, target);
	if (!kinds || !(*kinds & VIP_ANSWER) || *kinds >> VIP_VLAN_SHIFT != p->key.vlan)
		return XDP_PASS;
	u32 ifindex = arrived_at(ctx);
	u64 *mac = map_lookup(&macs, &ifindex);
	if (!mac)
		return XDP_PASS;
	u8 own[8];
	*(u64 *)own = *mac;
	count(EVENT_ARP);
	copy_mac(eth->dst, eth->src);
	copy_mac(eth->src, own);
	copy16(ip->dst, ip->src);
	copy16(ip->src, target);
	nd->icmp.type = ND_ADVERTISE;
	nd->icmp.code = 0;
	nd->icmp.check = 0;
	/* Solicited and override; the option is now the target's address on the link. */
	nd->icmp.id = be16(0x6000);
	nd->icmp.seq = 0;
	nd->option = 2;
	copy_mac(nd->mac, own);
	u32 sum = be16(PROTO_ICMP6) + be16(sizeof(*nd));
	u16 *half = (u16 *)ip;
	for (u32 i = 4; i < 20; i++)
		sum += half[i];
	half = (u16 *)nd;
	for (u32 i = 0; i < sizeof(*nd) / 2; i++)
		sum += half[i];
	nd->icmp.check = ~fold(sum);
	return XDP_TX;
}
