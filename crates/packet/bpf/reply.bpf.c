/* On a real server that tunnels lead to: what it tells clients of segments it takes leaves room for the
 * outer headers (TC, on the way out). Answers do not go by the balancer, which could do it otherwise. */
#define TC
#include "rewrite.h"

char licence[] SEC("license") = "Dual MIT/GPL";

/* Virtual addresses that tunnels bring, each with its largest segment. */
struct {
	map_uint(type, MAP_HASH);
	map_uint(max_entries, 4096);
	map_type(key, struct address);
	map_type(value, u32);
} tunnelled SEC(".maps");

/* Options are looked at up to the end of the longest header (RFC 9293 section 3.1). */
#define OPTIONS 40

enum { OPTION_END = 0, OPTION_PAD = 1, OPTION_MSS = 2 };

SEC("classifier") int reply(context *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet p = {};
	if (parse(ctx, &p) != PARSED || p.key.proto != PROTO_TCP || !(p.tcp & TCP_SYN))
		return TC_NEXT;
	u32 *most = map_lookup(&tunnelled, p.key.src);
	u32 l4 = bounded(p.l4), at = sizeof(struct tcp);
	struct tcp *tcp = data + l4;
	if (!most || (void *)(tcp + 1) > end)
		return TC_NEXT;
	u32 header = (tcp->offset >> 4) * 4;
	for (u32 i = 0; i < OPTIONS && at + 4 <= header; i++) {
		u8 option[4];
		if (skb_load_bytes(ctx, l4 + at, option, sizeof(option)) || option[0] == OPTION_END)
			break;
		if (option[0] == OPTION_PAD) {
			at += 1;
			continue;
		}
		if (option[0] == OPTION_MSS && option[1] == 4) {
			u16 was = *(u16 *)(option + 2), now = be16((u16)*most);
			if (be16(was) <= *most)
				break;
			/* A sum counts in words that begin at even places. */
			u32 delta = delta16(was, now);
			if (at & 1)
				delta = be16(fold(delta));
			if (skb_store_bytes(ctx, l4 + at + 2, &now, sizeof(now), 0) ||
			    l4_sum_replace(ctx, l4 + 16, 0, delta, 0))
				return TC_SHOT;
			break;
		}
		if (option[1] < 2)
			break;
		at += option[1];
	}
	return TC_NEXT;
}
