/* What a packet needs before XDP may send it elsewhere, or back. */

struct adding { struct xdp_md *ctx; __u32 at, end; __u64 sum; };

static long add_step(__u32 n, void *context)
{
	struct adding *a = context;
	__u32 words[8] = {};
	__u32 left = a->end - a->at;
	if (a->at >= a->end)
		return 1;
	if (left >= 32) {
		if (bpf_xdp_load_bytes(a->ctx, a->at, words, 32))
			return 1;
	} else {
		left &= 31;
		if (!left || bpf_xdp_load_bytes(a->ctx, a->at, words, left))
			return 1;
	}
	for (int i = 0; i < 8; i++)
		a->sum += words[i];
	a->at += 32;
	return 0;
}

INLINE __u16 fold64(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	return fold((__u32)(sum & 0xffff) + (__u32)(sum >> 16));
}

/* A packet from this machine (another namespace, a virtual machine) may have left its checksum to
 * a network card that it never met: the field holds only the pseudo-header's sum. Elsewhere it
 * would be thrown away, so it is completed here. A whole checksum has that value by chance once
 * in 65,536, and comes out as it was. */
static __noinline int complete_checksum(struct xdp_md *ctx, __u32 l3, __u32 inner6, __u32 protocol,
					__u32 length)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	__u32 header = inner6 ? 40 : 20, at = protocol == IPPROTO_TCP ? 16 : 6;
	if ((protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) || length < header + 20 || l3 > 22)
		return 0;
	void *ip = data + l3;
	if (ip + 40 > end)
		return 0;
	__u64 sum = bpf_htons(protocol) + (__u64)bpf_htons(length - header);
	const __u32 *address = ip + (inner6 ? 8 : 12);
	sum += address[0];
	sum += address[1];
	__u16 field;
	if (inner6) {
		if (ip + 60 > end)
			return 0;
		for (int i = 2; i < 8; i++)
			sum += address[i];
		field = *(__u16 *)(ip + 40 + at);
	} else {
		field = *(__u16 *)(ip + 20 + at);
	}
	if (field != fold64(sum))
		return 0;
	struct adding a = { .ctx = ctx, .at = l3 + header, .end = l3 + length };
	bpf_loop(2048, add_step, &a, 0);
	if (a.at < a.end)
		return -1;
	__u16 whole = ~fold64(a.sum);
	if (protocol == IPPROTO_UDP && !whole)
		whole = 0xffff;
	if (bpf_xdp_store_bytes(ctx, l3 + header + at, &whole, 2))
		return -1;
	count(REASON_COMPLETED_CHECKSUM);
	return 0;
}

/* Whether the sender of a packet that does not fit into a frame is told: no error about an error,
 * and never more errors than the budgets allow. */
INLINE int may_answer(const struct config *c, __u32 protocol, __u64 source)
{
	struct plan p = { .hops = 1, .site = c->me };
	return protocol != IPPROTO_ICMP && protocol != IPPROTO_ICMPV6 &&
	       affordable(c, &p, source, monotonic(c));
}

/* "Fragmentation needed" or "packet too big" (RFC 792, RFC 4443) from the service address to
 * where the packet came from. `ip` is the room before the start of that packet, which is quoted. */
INLINE int write_too_big(void *ip, void *end, int inner6, __u32 mtu)
{
	__u32 *w = ip;
	__u64 sum;
	if (inner6) {
		if (ip + 108 > end)
			return 0;
		const __u32 *was = ip + 48;
		w[0] = bpf_htonl(0x60000000);
		w[1] = bpf_htonl(68 << 16 | IPPROTO_ICMPV6 << 8 | 64);
		for (int i = 0; i < 4; i++) {
			w[2 + i] = was[6 + i];
			w[6 + i] = was[2 + i];
		}
		w[10] = bpf_htonl(2 << 24);
		w[11] = bpf_htonl(mtu);
		sum = bpf_htonl(68) + (__u64)bpf_htonl(IPPROTO_ICMPV6);
		for (int i = 2; i < 27; i++)
			sum += w[i];
		((__u16 *)ip)[21] = ~fold64(sum);
		return 1;
	}
	if (ip + 68 > end)
		return 0;
	const __u32 *was = ip + 28;
	w[0] = bpf_htonl(0x45000000 | 68);
	w[1] = 0;
	w[2] = bpf_htonl(64 << 24 | IPPROTO_ICMP << 16);
	w[3] = was[4];
	w[4] = was[3];
	sum = 0;
	for (int i = 0; i < 5; i++)
		sum += w[i];
	((__u16 *)ip)[5] = ~fold64(sum);
	w[5] = bpf_htonl(3 << 24 | 4 << 16);
	w[6] = bpf_htonl(mtu & 0xffff);
	sum = 0;
	for (int i = 5; i < 17; i++)
		sum += w[i];
	((__u16 *)ip)[11] = ~fold64(sum);
	return 1;
}

static __noinline int too_big(struct xdp_md *ctx, __u32 where, __u32 mtu)
{
	const struct config *c = the_config();
	__u32 l3 = where & 0xff;
	int inner6 = where >> 8 & 1;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct inner in;
	if (!c || (l3 != 14 && l3 != 18 && l3 != 22) || !read_inner(&in, data + l3, end, inner6))
		return XDP_DROP;
	count(REASON_TOO_BIG);
	if (!may_answer(c, where >> 16, in.source))
		return XDP_DROP;
	__u16 link[11];
	if (data + 22 > end)
		return XDP_DROP;
#pragma unroll
	for (int i = 0; i < 11; i++)
		link[i] = ((__u16 *)data)[i];
	__u32 room = inner6 ? 48 : 28, quoted = inner6 ? 60 : 40;
	long surplus = (end - data) - (long)(l3 + quoted);
	if (surplus < 0 || surplus > 65535 || bpf_xdp_adjust_tail(ctx, -(int)surplus) ||
	    bpf_xdp_adjust_head(ctx, -(int)room))
		return XDP_DROP;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	__u16 *to = data;
	if (data + 22 > end)
		return XDP_DROP;
	for (int i = 0; i < 3; i++) {
		to[i] = link[i + 3];
		to[i + 3] = link[i];
	}
	to[6] = link[6];
	if (l3 >= 18) {
		to[7] = link[7];
		to[8] = link[8];
	}
	if (l3 >= 22) {
		to[9] = link[9];
		to[10] = link[10];
	}
	return write_too_big(data + l3, end, inner6, mtu) ? XDP_TX : XDP_DROP;
}
