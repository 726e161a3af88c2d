/* Passes everything. On a veth pair, what a native XDP program sends back with XDP_TX is taken by
 * the other end only if that end polls by NAPI, which it does when it has an XDP program too. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("xdp")
int anycast_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char _license[] SEC("license") = "Dual MIT/GPL";
