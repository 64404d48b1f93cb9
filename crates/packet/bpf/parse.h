/* From a frame to what is known of it. Nothing else reads headers to find out what they are. */
#pragma once
#include "frame.h"
#include "types.h"

struct packet {
	struct flow_key key;
	u32 frame;    /* bytes of the frame */
	u32 id;	      /* of a datagram in pieces */
	u16 l3, l4;   /* where those headers begin */
	u16 priority; /* of a tag in the frame, where it stands there */
	u8 family;
	u8 tcp;	      /* its flags */
	u8 tos, ttl;
	u8 pieces;    /* PIECE_… */
	u8 icmp_type;
};

enum {
	PIECE_FIRST = 1,
	PIECE_LATER = 2,
};

enum parsed { PARSED, PARSED_ARP, PARSED_ERROR, NOT_IP, MALFORMED };

inline_always void map4(u32 *to, u32 address)
{
	to[0] = 0;
	to[1] = 0;
	to[2] = be32(0xffff);
	to[3] = address;
}

inline_always void copy16(u32 *to, const u32 *from)
{
	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

/* Destination unreachable, time exceeded, parameter problem; redirects are for routers. */
inline_always int icmp_is_error(u8 family, u8 type)
{
	return family == 4 ? type == 3 || type == 11 || type == 12 : type >= 1 && type <= 4;
}

/* Echo requests and replies, which have a number where others have ports. */
inline_always int icmp_is_echo(u8 proto, u8 type)
{
	return proto == PROTO_ICMP ? type == 8 || type == 0 : type == 128 || type == 129;
}

/* The header after IP's, when its beginning is in this frame. `rest` is how long IP says it is. */
inline_always enum parsed parse_l4(void *data, void *end, struct packet *p, u32 rest)
{
	void *l4 = data + p->l4;
	u8 proto = p->key.proto;

	if (proto == PROTO_TCP) {
		struct tcp *tcp = l4;
		if ((void *)(tcp + 1) > end || rest < sizeof(*tcp))
			return MALFORMED;
		u32 header = (tcp->offset >> 4) * 4;
		if (header < sizeof(*tcp) || (header > rest && p->pieces == 0))
			return MALFORMED;
		p->key.sport = tcp->src;
		p->key.dport = tcp->dst;
		p->tcp = tcp->flags;
	} else if (proto == PROTO_UDP) {
		struct udp *udp = l4;
		if ((void *)(udp + 1) > end || rest < sizeof(*udp))
			return MALFORMED;
		u32 len = be16(udp->len);
		if (len < sizeof(*udp) || (len > rest && p->pieces == 0))
			return MALFORMED;
		p->key.sport = udp->src;
		p->key.dport = udp->dst;
	} else if (proto == (p->family == 4 ? PROTO_ICMP : PROTO_ICMP6)) {
		struct icmp *icmp = l4;
		if ((void *)(icmp + 1) > end || rest < sizeof(*icmp))
			return MALFORMED;
		p->icmp_type = icmp->type;
		if (icmp_is_error(p->family, icmp->type) && p->pieces == 0)
			return PARSED_ERROR;
		if (icmp_is_echo(proto, icmp->type))
			p->key.sport = p->key.dport = icmp->id;
	}
	return PARSED;
}

inline_always enum parsed parse_ipv4(void *data, void *end, struct packet *p)
{
	struct ipv4 *ip = data + p->l3;
	if ((void *)(ip + 1) > end)
		return MALFORMED;
	u32 header = (ip->version_ihl & 15) * 4, len = be16(ip->len);
	if (ip->version_ihl >> 4 != 4 || header < sizeof(*ip) || len < header ||
	    len > p->frame - p->l3)
		return MALFORMED;
	p->family = 4;
	map4(p->key.src, ip->src);
	map4(p->key.dst, ip->dst);
	p->key.proto = ip->proto;
	p->tos = ip->tos;
	p->ttl = ip->ttl;
	p->l4 = p->l3 + header;
	u16 fragment = be16(ip->fragment);
	if (unlikely(fragment & 0x3fff)) {
		p->id = ip->id;
		p->pieces = fragment & 0x1fff ? PIECE_LATER : PIECE_FIRST;
		if (p->pieces == PIECE_LATER)
			return PARSED;
	}
	return parse_l4(data, end, p, len - header);
}

/* Extension headers that may stand before the transport's (RFC 8200 section 4). */
#define IPV6_EXTENSIONS 6

/* Hop-by-hop options, routing, fragment, destination options. */
inline_always int is_extension(u8 next)
{
	return next == 0 || next == 43 || next == 44 || next == 60;
}

/* Goes past what stands at `l4` and says what follows there; `rest` is how long IP says all of it is. What is left of
 * that, or -1. Few packets come here, so that it is verified apart from the way of all others. */
apart int skip_extensions(context *ctx, struct packet *p, u32 rest)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (!p)
		return -1;
	u32 at = p->l4;
	u8 next = p->key.proto;
	for (int i = 0; i < IPV6_EXTENSIONS; i++) {
		if (!is_extension(next))
			break;
		if (at > 1024)
			return -1;
		u8 *extension = data + at;
		if ((void *)(extension + 8) > end)
			return -1;
		u32 len = next == 44 ? 8 : 8 + extension[1] * 8;
		if (len > rest)
			return -1;
		/* It goes on to somebody else, whose address the transport's sum counts (RFC 8200 section 8.1). */
		if (next == 43 && extension[3])
			break;
		if (next == 44) {
			u16 offset = be16(*(u16 *)(extension + 2));
			p->id = *(u32 *)(extension + 4);
			if (offset & ~7)
				p->pieces = PIECE_LATER;
			else if (offset & 1)
				p->pieces = PIECE_FIRST;
		}
		next = extension[0];
		at += len;
		rest -= len;
		if (p->pieces == PIECE_LATER)
			break;
	}
	p->key.proto = next;
	p->l4 = at;
	return rest;
}

inline_always enum parsed parse_ipv6(context *ctx, struct packet *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ipv6 *ip = data + p->l3;
	if ((void *)(ip + 1) > end)
		return MALFORMED;
	u32 payload = be16(ip->payload);
	if ((be32(ip->version_class_flow) >> 28) != 6 ||
	    payload > p->frame - p->l3 - sizeof(*ip))
		return MALFORMED;
	p->family = 6;
	copy16(p->key.src, ip->src);
	copy16(p->key.dst, ip->dst);
	p->tos = be32(ip->version_class_flow) >> 20;
	p->ttl = ip->hops;
	p->l4 = p->l3 + sizeof(*ip);
	p->key.proto = ip->next;
	int rest = payload;
	if (unlikely(is_extension(ip->next))) {
		rest = skip_extensions(ctx, p, payload);
		if (rest < 0)
			return MALFORMED;
		if (p->pieces == PIECE_LATER)
			return PARSED;
		if (p->l4 > 2048)
			return MALFORMED;
		data = (void *)(long)ctx->data;
		end = (void *)(long)ctx->data_end;
	}
	return parse_l4(data, end, p, rest);
}

inline_always enum parsed parse(context *ctx, struct packet *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct eth *eth = data;
	if ((void *)(eth + 1) > end)
		return MALFORMED;
	u16 type = eth->type;
	p->frame = frame_bytes(ctx);
	p->l3 = sizeof(*eth);
	/* A second tag is not looked behind. */
	if (unlikely(type == be16(ETH_VLAN))) {
		struct vlan *vlan = (void *)(eth + 1);
		if ((void *)(vlan + 1) > end)
			return MALFORMED;
		if (p->key.vlan)
			return NOT_IP;
		p->key.vlan = be16(vlan->tci) & 0xfff;
		p->priority = be16(vlan->tci) & 0xf000;
		p->l3 += sizeof(*vlan);
		type = vlan->type;
	}
	if (likely(type == be16(ETH_IPV4)))
		return parse_ipv4(data, end, p);
	if (type == be16(ETH_IPV6))
		return parse_ipv6(ctx, p);
	return type == be16(ETH_ARP) ? PARSED_ARP : NOT_IP;
}
