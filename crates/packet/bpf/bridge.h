/* Frames that are not balanced. Between the two ports of a bridge they go on as they are; those for this
 * machine go to the kernel's protocols, without the tag of a VLAN that it takes part in by us. */
#pragma once
#include "rewrite.h"
#include "tables.h"

inline_always u64 mac_key(const u8 *mac)
{
	u64 key = 0;
	copy_mac((u8 *)&key, mac);
	return key;
}

inline_always int same_mac(const u8 *a, const u8 *b)
{
	return ((const u16 *)a)[0] == ((const u16 *)b)[0] && ((const u16 *)a)[1] == ((const u16 *)b)[1] &&
	       ((const u16 *)a)[2] == ((const u16 *)b)[2];
}

/* Notes where somebody is who talks to this machine. */
inline_always void learn(const u8 *mac, u32 ifindex, u32 vlan)
{
	u64 key = mac_key(mac);
	struct station now = { ifindex, vlan }, *known = map_lookup(&stations, &key);
	if (!known || known->ifindex != ifindex || known->vlan != vlan)
		map_update(&stations, &key, &now, UPDATE_ANY);
}

/* A frame for this machine: whether the kernel gets it, and as what. */
inline_always int take_in(context *ctx, const struct port *port, u16 vlan)
{
	if (vlan) {
		struct lane lane = { arrived_at(ctx), vlan };
		/* Of a VLAN that is not ours, or that has an interface: the kernel knows what to do. */
		if (!map_lookup(&lanes, &lane))
			return XDP_PASS;
		if (retag(ctx, 0))
			return XDP_DROP;
	}
#ifdef TC
	if (port->home && port->home != ctx->ifindex) {
		ctx->mark = SEEN_MARK;
		return redirect(port->home, INGRESS);
	}
#else
	(void)port;
#endif
	return XDP_PASS;
}

/* A frame that nothing was done to. */
out_of_line int pass_on(context *ctx)
{
	u32 at = arrived_at(ctx);
	struct port *port = map_lookup(&ports, &at);
	if (likely(!port))
		return XDP_PASS;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct eth *eth = data;
	struct vlan *tag = (void *)(eth + 1);
	if ((void *)(tag + 1) > end)
		return XDP_PASS;
	u16 vlan = vlan_beside(ctx);
	u16 next = eth->type;
	if (!vlan && eth->type == be16(ETH_VLAN)) {
		vlan = be16(tag->tci) & 0xfff;
		next = tag->type;
	}
	/* A tag within a tag is for whoever knows both: nothing is taken off. */
	int nested = vlan && (next == be16(ETH_VLAN) || next == be16(ETH_QINQ));
	int to_all = eth->dst[0] & 1, to_us = same_mac(eth->dst, port->mac);
#ifdef TC
	if (port->other) {
		/* What we sent ourselves comes back only where there is another way around. */
		if (same_mac(eth->src, port->mac) || same_mac(eth->src, port->other_mac)) {
			count(EVENT_LOOP);
			return XDP_DROP;
		}
		to_us |= same_mac(eth->dst, port->other_mac);
		if (!to_us && !to_all)
			return send_to(ctx, port->other);
		if (nested)
			vlan = 0;
		else
			learn(eth->src, at, vlan);
		if (to_all) {
			ctx->mark = SEEN_MARK;
			clone_redirect(ctx, port->other, 0);
			ctx->mark = 0;
		}
		return take_in(ctx, port, vlan);
	}
#endif
	if (!vlan || nested || (!to_us && !to_all))
		return XDP_PASS;
	struct lane lane = { at, vlan };
	if (map_lookup(&lanes, &lane))
		learn(eth->src, at, vlan);
	return take_in(ctx, port, vlan);
}

/* A packet of a session between the ports: to `hop`, and the other end on the link stays who it was. */
out_of_line int cross(context *ctx, const struct packet *p, const struct flow *f, const struct server *server)
{
	int forward = f->state & FLOW_FORWARD;
	u16 vlan = f->hop.vlan;
	u32 to = forward ? server->hop.ifindex : f->hop.ifindex;
	if (vlan != p->key.vlan && retag(ctx, vlan))
		return XDP_DROP;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct eth *eth = data;
	if ((void *)(eth + 1) > end)
		return XDP_DROP;
	if (forward) {
		copy_mac(eth->dst, server->hop.dst);
		/* Beside a switch, which knows the client at another port, the frame is ours. */
		if (to == arrived_at(ctx))
			copy_mac(eth->src, server->hop.src);
	} else {
		/* To whom the server sends it, who may be another than the client came by; we, where we are the
		 * server's gateway. */
		if (same_mac(eth->dst, server->hop.src))
			copy_mac(eth->dst, f->hop.dst);
		copy_mac(eth->src, f->hop.src);
	}
	return to == arrived_at(ctx) ? XDP_TX : send_to(ctx, to);
}
