/* Puts on and takes off tags of VLANs where a machine has no interface for them: for the ends in tests. */
#define TC
#include "frame.h"

char licence[] SEC("license") = "Dual MIT/GPL";

SEC("classifier/push100") int push100(context *ctx)
{
	return retag(ctx, 100) ? TC_SHOT : TC_NEXT;
}

SEC("classifier/push200") int push200(context *ctx)
{
	return retag(ctx, 200) ? TC_SHOT : TC_NEXT;
}

/* Frames of another VLAN are for others on the trunk. */
inline_always int pop_one(context *ctx, u16 vlan)
{
	return vlan_beside(ctx) != vlan || retag(ctx, 0) ? TC_SHOT : TC_NEXT;
}

SEC("classifier/pop100") int pop100(context *ctx)
{
	return pop_one(ctx, 100);
}

SEC("classifier/pop200") int pop200(context *ctx)
{
	return pop_one(ctx, 200);
}

/* Frames of no VLAN are nobody's there. */
SEC("classifier/pop") int pop(context *ctx)
{
	return !vlan_beside(ctx) || retag(ctx, 0) ? TC_SHOT : TC_NEXT;
}
