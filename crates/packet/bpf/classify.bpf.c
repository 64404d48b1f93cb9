/* The balancer where a driver takes no program (TC): the same way of a packet. */
#define TC
#include "forward.bpf.c"

SEC("classifier") int mulgil(context *ctx)
{
	if (ctx->mark == SEEN_MARK) {
		ctx->mark = 0;
		return TC_NEXT;
	}
	u32 wanted = ctx->len < HEADERS ? ctx->len : HEADERS;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (data + wanted > end && pull_data(ctx, wanted))
		return TC_SHOT;
	int verdict = balance(ctx);
	switch (verdict) {
	case XDP_DROP:
		return TC_SHOT;
	case XDP_PASS:
		return TC_NEXT;
	case XDP_TX:
		return send_to(ctx, ctx->ifindex);
	default:
		return verdict;
	}
}
