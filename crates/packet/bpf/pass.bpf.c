/* Lets every frame through. A veth whose peer has no program drops what is redirected to it: this is
 * for the peers in tests. */
#include "frame.h"

char licence[] SEC("license") = "Dual MIT/GPL";

SEC("xdp") int pass(context *ctx)
{
	(void)ctx;
	return XDP_PASS;
}
