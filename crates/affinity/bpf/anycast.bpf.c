/* The packet programs of one site. What they decide is written down in docs/affinity-wire.md, and
 * once more in Rust (src/model), which tests hold against these programs.
 *
 *   anycast_xdp      what comes in, at XDP
 *   anycast_ingress  the same decisions at tc, where XDP cannot be had
 *   anycast_egress   what leaves: the owner's id into TSval, MSS of SYN-ACKs */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the MAC's words are read as they lie in memory: little-endian machines only"
#endif

#include "shared.h"
#include "maps.h"
#include "siphash.h"
#include "aes.h"
#include "options.h"

#define TAGGED(type) ((type) == bpf_htons(ETH_P_8021Q) || (type) == bpf_htons(ETH_P_8021AD))

#include "frame.h"

static __noinline __u64 xdp_serve(struct xdp_md *ctx, __u32 l3, __u32 protocol, __u32 flags, __u32 from);
#include "checksum.h"
#include "xdp.h"
#define NAME(x) xdp_##x
#define CTX struct xdp_md
#define LOAD bpf_xdp_load_bytes
#define PASS XDP_PASS
#define ACT xdp_act
#define UNWRAP xdp_unwrap
#include "ingress.h"
#undef NAME
#undef CTX
#undef LOAD
#undef PASS
#undef ACT
#undef UNWRAP

SEC("xdp")
int anycast_xdp(struct xdp_md *ctx)
{
	return xdp_ingress(ctx);
}

static __noinline __u64 tc_serve(struct __sk_buff *ctx, __u32 l3, __u32 protocol, __u32 flags, __u32 from);
#include "tc.h"
#define NAME(x) tc_##x
#define CTX struct __sk_buff
#define LOAD bpf_skb_load_bytes
#define PASS TC_ACT_UNSPEC
#define ACT tc_act
#define UNWRAP tc_unwrap
#include "ingress.h"
#include "egress.h"

SEC("classifier")
int anycast_ingress(struct __sk_buff *ctx)
{
	/* What has a tag goes to the interface of its VLAN, and is looked at there; VLAN 0 is none (a priority
	 * alone, IEEE 802.1Q). */
	if (ctx->vlan_present && ctx->vlan_tci & 0xfff)
		return TC_ACT_UNSPEC;
	/* Headers may lie in pages; the decisions read them where they are. */
	bpf_skb_pull_data(ctx, ctx->len < 200 ? ctx->len : 200);
	return tc_ingress(ctx);
}

SEC("classifier")
int anycast_egress(struct __sk_buff *ctx)
{
	return egress(ctx);
}

#ifdef TEST_UNDO
#include "undo.h"
#endif

char _license[] SEC("license") = "Dual MIT/GPL";
