/* A real server where a driver takes no program, or where sums may be pending (TC): the same as in drivers. */
#define TC
#include "server.bpf.c"

SEC("classifier") int server(context *ctx)
{
	u32 wanted = ctx->len < HEADERS ? ctx->len : HEADERS;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (data + wanted > end && pull_data(ctx, wanted))
		return TC_SHOT;
	return serve(ctx) == XDP_DROP ? TC_SHOT : TC_NEXT;
}
