/* What this machine itself sends where packets of VLANs or of a bridge are balanced (TC, on the way
 * out): the frame gets its tag and leaves by the port that its receiver is behind. */
#define TC
#include "bridge.h"

char licence[] SEC("license") = "Dual MIT/GPL";

struct solicit {
	struct icmp icmp;
	u32 target[4];
} __attribute__((packed, aligned(2)));

/* What a frame says of its receiver. */
enum { UNNAMED, NAMED, SOUGHT };

/* Whom a frame is for in the end: its destination, or whom it asks for (SOUGHT) or tells all of. */
inline_always int receiver(context *ctx, struct address *to)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct eth *eth = data;
	if ((void *)(eth + 1) > end)
		return UNNAMED;
	if (eth->type == be16(ETH_ARP)) {
		struct arp *arp = (void *)(eth + 1);
		if ((void *)(arp + 1) > end)
			return UNNAMED;
		map4(to->words, arp->target);
		/* Who tells of an address of its own, or wants to know whether it may have it, means its own network. */
		return arp->operation == be16(1) && arp->sender && arp->sender != arp->target ? SOUGHT : NAMED;
	}
	if (eth->type == be16(ETH_IPV4)) {
		struct ipv4 *ip = (void *)(eth + 1);
		if ((void *)(ip + 1) > end)
			return UNNAMED;
		map4(to->words, ip->dst);
		return NAMED;
	}
	if (eth->type != be16(ETH_IPV6))
		return UNNAMED;
	struct ipv6 *ip = (void *)(eth + 1);
	struct solicit *solicit = (void *)(ip + 1);
	if ((void *)(ip + 1) > end)
		return UNNAMED;
	copy16(to->words, ip->dst);
	/* Solicitations, and advertisements that nobody has asked for. */
	if (ip->next == PROTO_ICMP6 && (void *)(solicit + 1) <= end &&
	    (solicit->icmp.type == 135 || (solicit->icmp.type == 136 && eth->dst[0] & 1))) {
		copy16(to->words, solicit->target);
		return solicit->icmp.type == 135 && (ip->src[0] | ip->src[1] | ip->src[2] | ip->src[3]) ? SOUGHT :
												    NAMED;
	}
	return NAMED;
}

/* A frame to many about somebody whom nobody has met: it leaves in every VLAN of ours, too. 0, or -1. */
out_of_line int seek(context *ctx, const struct port *port)
{
	u32 mark = ctx->mark;
	for (u32 i = 0; i < ASKED; i++) {
		u16 vlan = port->vlans[i];
		if (!vlan)
			break;
		if (vlan_push(ctx, be16(ETH_VLAN), vlan))
			return -1;
		ctx->mark = SEEN_MARK;
		clone_redirect(ctx, ctx->ifindex, 0);
		if (port->other)
			clone_redirect(ctx, port->other, 0);
		ctx->mark = mark;
		if (vlan_pop(ctx))
			return -1;
	}
	return 0;
}

SEC("classifier") int sent(context *ctx)
{
	if (ctx->mark == SEEN_MARK) {
		ctx->mark = 0;
		return TC_NEXT;
	}
	u32 at = ctx->ifindex;
	struct port *port = map_lookup(&ports, &at);
	u32 wanted = ctx->len < 80 ? ctx->len : 80;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (!port || (data + wanted > end && pull_data(ctx, wanted)))
		return TC_NEXT;

	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	struct eth *eth = data;
	if ((void *)(eth + 1) > end)
		return TC_NEXT;
	int to_all = eth->dst[0] & 1;
	u64 mac = mac_key(eth->dst);
	struct station *station = to_all ? 0 : map_lookup(&stations, &mac);
	u32 out = station ? station->ifindex : 0;
	/* The same router may be in several VLANs: who it is for says more than whom it is handed to. */
	struct address to = {};
	int named = receiver(ctx, &to);
	u32 *tag = named ? map_lookup(&tags, &to) : 0;
	u32 vlan = tag ? *tag : station ? station->vlan : 0;

	/* Whoever puts a tag before its frames itself has said where they go. */
	if (!ctx->vlan_present && eth->type != be16(ETH_VLAN)) {
		if (vlan ? retag(ctx, vlan) : to_all && named == SOUGHT && seek(ctx, port))
			return TC_SHOT;
	}
	if (!port->other || out == at)
		return TC_NEXT;
	if (out == port->other)
		return send_to(ctx, out);
	u32 mark = ctx->mark;
	ctx->mark = SEEN_MARK;
	clone_redirect(ctx, port->other, 0);
	ctx->mark = mark;
	return TC_NEXT;
}
