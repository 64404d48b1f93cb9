/* What a program gets of a frame, for both places where ours stand: in the driver (XDP) a buffer of bytes, before
 * the kernel's protocols (TC, `-DTC` by whoever includes) what the kernel knows of the frame too, so
 * that a tag or a sum may stand beside the bytes. Everything that differs is here; the way of a packet
 * is written once, in XDP's words. */
#pragma once
#include "kernel.h"

enum xdp_verdict { XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT };

static long (*const fib_lookup)(void *ctx, struct bpf_fib_lookup *params, int size, u32 flags) = (void *)69;
static long (*const redirect)(u32 ifindex, u64 flags) = (void *)23;

#ifndef TC

/* The kernel knows by the struct's own name that a function that is verified by itself gets a context. */
struct xdp_md {
	u32 data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex;
};
typedef struct xdp_md context;

static long (*const xdp_adjust_head)(context *ctx, int delta) = (void *)44;
static long (*const xdp_adjust_tail)(context *ctx, int delta) = (void *)65;

inline_always u32 arrived_at(const context *ctx)
{
	return ctx->ingress_ifindex;
}

inline_always u32 frame_bytes(const context *ctx)
{
	return ctx->data_end - ctx->data;
}

inline_always int send_to(context *ctx, u32 ifindex)
{
	(void)ctx;
	return redirect(ifindex, 0);
}

/* The VLAN whose tag stands beside the frame; 0 is none. */
inline_always u16 vlan_beside(const context *ctx)
{
	(void)ctx;
	return 0;
}

/* Whether more may be done with a frame that nothing was done to: in the driver, with one that has a tag. */
inline_always int is_watched(const context *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct eth *eth = data;
	return (void *)(eth + 1) <= end && unlikely(eth->type == be16(ETH_VLAN));
}

/* Gives a frame the tag of this VLAN, or with 0 none. */
out_of_line int retag(context *ctx, u16 vlan)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct eth *eth = data, kept;
	struct vlan *tag = (void *)(eth + 1);
	if ((void *)(tag + 1) > end)
		return -1;
	if (eth->type == be16(ETH_VLAN) && vlan) {
		tag->tci = (tag->tci & be16(0xf000)) | be16(vlan);
		return 0;
	}
	kept = *eth;
	if (kept.type == be16(ETH_VLAN))
		kept.type = tag->type;
	if (xdp_adjust_head(ctx, vlan ? -(int)sizeof(*tag) : (int)sizeof(*tag)))
		return -1;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	eth = data;
	tag = (void *)(eth + 1);
	if ((void *)(tag + 1) > end)
		return -1;
	*eth = kept;
	if (vlan) {
		eth->type = be16(ETH_VLAN);
		tag->tci = be16(vlan);
		tag->type = kept.type;
	}
	return 0;
}

/* Whether the transport's sum, which stands at `at`, is still to be computed by the device that sends: it
 * covers the pseudo header only so far. */
inline_always int sum_is_pending(context *ctx, u32 at)
{
	(void)ctx;
	(void)at;
	return 0;
}

/* Cuts the frame's end off. 0, or an error. */
inline_always long cut_to(context *ctx, u32 bytes)
{
	u32 have = frame_bytes(ctx);
	return have > bytes ? xdp_adjust_tail(ctx, -(int)(have - bytes)) : 0;
}

/* Gives the frame this size, at its end. 0, or an error. */
inline_always long fit_to(context *ctx, u32 bytes)
{
	u32 have = frame_bytes(ctx);
	return have == bytes ? 0 : xdp_adjust_tail(ctx, (int)(bytes - have));
}

/* Room before the frame. 0, or an error. */
inline_always long grow_head(context *ctx, u32 bytes)
{
	return xdp_adjust_head(ctx, -(int)bytes);
}

/* What stands between the outer and the inner IP header. */
enum { TUNNEL_IP, TUNNEL_GRE, TUNNEL_GUE };

/* Whether outer headers overwrite a tag. */
#define OUTER_TAKES_TAG 1

/* Room for outer headers after that of the link, which is not moved along: the first 14 bytes are
 * written anew when the frame leaves. 0, or an error. */
inline_always long grow_outer(context *ctx, u32 bytes, u32 l3, int outer4, int kind)
{
	(void)outer4;
	(void)kind;
	return xdp_adjust_head(ctx, -(int)(bytes - (l3 - sizeof(struct eth))));
}

/* Takes as many bytes of outer headers away after that of the link, which is to be written anew: the inner
 * packet is of IPv4 or not. 0, or an error. */
inline_always long shed_outer(context *ctx, u32 bytes, int outer4, int inner4)
{
	(void)outer4;
	(void)inner4;
	return xdp_adjust_head(ctx, bytes);
}

/* The size of the largest IP packet that a frame becomes on the link. */
inline_always u32 wire_bytes(context *ctx, u32 packet, u32 l3, u32 l4, u8 proto)
{
	(void)ctx;
	(void)l3;
	(void)l4;
	(void)proto;
	return packet;
}

#else

struct __sk_buff {
	u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto, priority;
	u32 ingress_ifindex, ifindex, tc_index, cb[5], hash, tc_classid, data, data_end, napi_id;
	u32 family, remote_ip4, local_ip4, remote_ip6[4], local_ip6[4], remote_port, local_port, data_meta;
	u64 flow_keys, tstamp;
	u32 wire_len, gso_segs;
	u64 sk;
	u32 gso_size;
};
typedef struct __sk_buff context;

enum tc_verdict {
	TC_NEXT = -1, /* whoever else looks at frames, and then the kernel's protocols */
	TC_SHOT = 2,
	TC_REDIRECT = 7,
};

enum {
	SUM_PSEUDO = 1 << 4,
	SUM_ZERO_IS_NONE = 1 << 5,

	ROOM_AFTER_LINK = 1,
	ROOM_KEEPS_SIZE = 1 << 0,
	ROOM_OUTER4 = 1 << 1,
	ROOM_OUTER6 = 1 << 2,
	ROOM_GRE = 1 << 3,
	ROOM_UDP = 1 << 4,
	ROOM_INNER4 = 1 << 7, /* these two from Linux 6.4 on */
	ROOM_INNER6 = 1 << 8,

	INGRESS = 1,
};

/* All headers that are looked at, errors with what they quote included, stand in one piece. */
#define HEADERS 192

static long (*const skb_load_bytes)(const void *ctx, u32 at, void *to, u32 len) = (void *)26;
static long (*const skb_store_bytes)(context *ctx, u32 at, const void *from, u32 len, u64 flags) = (void *)9;
static long (*const l4_sum_replace)(context *ctx, u32 at, u64 from, u64 to, u64 flags) = (void *)11;
static long (*const clone_redirect)(context *ctx, u32 ifindex, u64 flags) = (void *)13;
static long (*const vlan_push)(context *ctx, u16 proto, u16 tci) = (void *)18;
static long (*const vlan_pop)(context *ctx) = (void *)19;
static long (*const change_tail)(context *ctx, u32 len, u64 flags) = (void *)38;
static long (*const pull_data)(context *ctx, u32 len) = (void *)39;
static long (*const change_head)(context *ctx, u32 room, u64 flags) = (void *)43;
static long (*const adjust_room)(context *ctx, int delta, u32 mode, u64 flags) = (void *)50;

inline_always u32 arrived_at(const context *ctx)
{
	return ctx->ifindex;
}

inline_always u32 frame_bytes(const context *ctx)
{
	return ctx->len;
}

/* A mark says that a frame has been here: the programs on the interface that it goes to let it be. The
 * kernel takes marks off where a frame leaves its network namespace. */
#define SEEN_MARK 0x6d756c67

inline_always int send_to(context *ctx, u32 ifindex)
{
	ctx->mark = SEEN_MARK;
	return redirect(ifindex, 0);
}

/* A tag of providers (IEEE 802.1ad) is no VLAN of ours, whatever its number. */
inline_always u16 vlan_beside(const context *ctx)
{
	u16 foreign = ctx->vlan_proto == be16(ETH_VLAN) ? 0 : 0x1000;
	return ctx->vlan_present ? (ctx->vlan_tci & 0xfff) | foreign : 0;
}

inline_always int is_watched(const context *ctx)
{
	(void)ctx;
	return 1;
}

out_of_line int retag(context *ctx, u16 vlan)
{
	u16 priority = ctx->vlan_present ? ctx->vlan_tci & 0xf000 : 0;
	if (vlan_pop(ctx))
		return -1;
	return vlan ? vlan_push(ctx, be16(ETH_VLAN), priority | vlan) : 0;
}

/* The kernel's own means know; they do nothing to a sum that is pending. */
out_of_line int sum_is_pending(context *ctx, u32 at)
{
	u16 before = 0, after = 0;
	if (skb_load_bytes(ctx, at, &before, sizeof(before)) || l4_sum_replace(ctx, at, 0, 1, 0) ||
	    skb_load_bytes(ctx, at, &after, sizeof(after)))
		return 0;
	if (before == after)
		return 1;
	skb_store_bytes(ctx, at, &before, sizeof(before), 0);
	return 0;
}

inline_always long cut_to(context *ctx, u32 bytes)
{
	return ctx->len > bytes ? change_tail(ctx, bytes, 0) : 0;
}

inline_always long fit_to(context *ctx, u32 bytes)
{
	return ctx->len == bytes ? 0 : change_tail(ctx, bytes, 0);
}

inline_always long grow_head(context *ctx, u32 bytes)
{
	return change_head(ctx, bytes, 0);
}

enum { TUNNEL_IP, TUNNEL_GRE, TUNNEL_GUE };

#define OUTER_TAKES_TAG 0

/* The kernel is told what the headers are: it may have to cut the frame into segments later. */
inline_always long grow_outer(context *ctx, u32 bytes, u32 l3, int outer4, int kind)
{
	(void)l3;
	u64 flags = ROOM_KEEPS_SIZE | (outer4 ? ROOM_OUTER4 : ROOM_OUTER6);
	if (kind == TUNNEL_GRE)
		flags |= ROOM_GRE;
	if (kind == TUNNEL_GUE)
		flags |= ROOM_UDP;
	return adjust_room(ctx, bytes, ROOM_AFTER_LINK, flags);
}

/* The kernel must be told only where the family changes. */
inline_always long shed_outer(context *ctx, u32 bytes, int outer4, int inner4)
{
	u64 flags = ROOM_KEEPS_SIZE;
	if (outer4 != inner4)
		flags |= inner4 ? ROOM_INNER4 : ROOM_INNER6;
	return adjust_room(ctx, -(int)bytes, ROOM_AFTER_LINK, flags);
}

/* A frame of several segments is cut where it leaves. */
inline_always u32 wire_bytes(context *ctx, u32 packet, u32 l3, u32 l4, u8 proto)
{
	u32 segment = ctx->gso_size;
	u8 offset = 0;
	if (!segment)
		return packet;
	if (proto == PROTO_TCP && skb_load_bytes(ctx, l4 + 12, &offset, sizeof(offset)))
		return packet;
	return l4 - l3 + (proto == PROTO_TCP ? (offset >> 4) * 4u : 8) + segment;
}

#endif
