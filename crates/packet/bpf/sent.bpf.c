/* What this machine itself sends where packets of VLANs or of a bridge are balanced (TC, on the way
 * out): the frame gets its tag and leaves by the port that its receiver is behind. */
#define TC
#include "bridge.h"

char licence[] SEC("license") = "Dual MIT/GPL";

struct solicit {
	struct icmp icmp;
	u32 target[4];
} __attribute__((packed, aligned(2)));

/* Whom a frame is for in the end: its destination, or whom it asks for or tells all of. 0 where nobody is
 * named. */
inline_always int receiver(context *ctx, struct address *to)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct eth *eth = data;
	if ((void *)(eth + 1) > end)
		return 0;
	if (eth->type == be16(ETH_ARP)) {
		struct arp *arp = (void *)(eth + 1);
		if ((void *)(arp + 1) > end)
			return 0;
		map4(to->words, arp->target);
		return 1;
	}
	if (eth->type == be16(ETH_IPV4)) {
		struct ipv4 *ip = (void *)(eth + 1);
		if ((void *)(ip + 1) > end)
			return 0;
		map4(to->words, ip->dst);
		return 1;
	}
	if (eth->type != be16(ETH_IPV6))
		return 0;
	struct ipv6 *ip = (void *)(eth + 1);
	struct solicit *solicit = (void *)(ip + 1);
	if ((void *)(ip + 1) > end)
		return 0;
	copy16(to->words, ip->dst);
	/* Solicitations, and advertisements that nobody has asked for. */
	if (ip->next == PROTO_ICMP6 && (void *)(solicit + 1) <= end &&
	    (solicit->icmp.type == 135 || (solicit->icmp.type == 136 && eth->dst[0] & 1)))
		copy16(to->words, solicit->target);
	return 1;
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
	u32 *tag = receiver(ctx, &to) ? map_lookup(&tags, &to) : 0;
	u32 vlan = tag ? *tag : station ? station->vlan : 0;

	if (vlan && !ctx->vlan_present && retag(ctx, vlan))
		return TC_SHOT;
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
