/* Wrapping and unwrapping at XDP. */

struct link_layer { __u16 word[11]; };

INLINE void save_link(struct link_layer *to, const void *data, __u32 l3)
{
	const __u16 *from = data;
#pragma unroll
	for (int i = 0; i < 7; i++)
		to->word[i] = from[i];
	if (l3 >= 18) {
		to->word[7] = from[7];
		to->word[8] = from[8];
	}
	if (l3 >= 22) {
		to->word[9] = from[9];
		to->word[10] = from[10];
	}
}

/* Puts it back before a packet of another family: the last word is the type of what follows. */
INLINE void restore_link(void *data, const struct link_layer *from, __u32 l3, int family6)
{
	__u16 *to = data;
	__u16 type = family6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
#pragma unroll
	for (int i = 0; i < 6; i++)
		to[i] = from->word[i];
	if (l3 == 14) {
		to[6] = type;
		return;
	}
	to[6] = from->word[6];
	to[7] = from->word[7];
	if (l3 == 18) {
		to[8] = type;
		return;
	}
	to[8] = from->word[8];
	to[9] = from->word[9];
	to[10] = type;
}

/* Where frames for a site go: what the kernel's routing table and neighbors say, asked again ten
 * times a second. Where the kernel does not answer (forwarding is off, the neighbor is not
 * resolved), `resolved` is 0. */
static __noinline int find_next_hop(struct xdp_md *ctx, __u32 site)
{
	const struct config *c = the_config();
	struct peer *peer = bpf_map_lookup_elem(&PEERS, &site);
	struct next_hop *hop = bpf_map_lookup_elem(&NEXT_HOPS, &site);
	if (!c || !peer || !hop)
		return 0;
	struct bpf_fib_lookup fib = { .l4_protocol = IPPROTO_UDP, .dport = c->port_be,
				      .ifindex = ctx->ingress_ifindex };
	if (peer->outer6) {
		fib.family = 10;
		__builtin_memcpy(fib.ipv6_src, c->tunnel6, 16);
		__builtin_memcpy(fib.ipv6_dst, peer->v6, 16);
	} else {
		fib.family = 2;
		fib.ipv4_src = c->tunnel4_be;
		fib.ipv4_dst = peer->v4_be;
	}
	int answer = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	hop->resolved = answer == BPF_FIB_LKUP_RET_SUCCESS;
	hop->ifindex = fib.ifindex;
	__builtin_memcpy(hop->destination, fib.dmac, 6);
	__builtin_memcpy(hop->source, fib.smac, 6);
	hop->until = monotonic(c) + 100000000;
	return 0;
}

/* Whether a frame that came in at one interface is sent by another. From the generic hook any takes it.
 * A driver loses what a native program redirects to it, unless it has been made ready: by a native
 * program of its own. */
INLINE int leads(__u32 from, __u32 to)
{
	if (from == to)
		return 1;
	__u32 *hook = bpf_map_lookup_elem(&WAYS, &from);
	if (hook && *hook == WAY_GENERIC)
		return 1;
	hook = bpf_map_lookup_elem(&WAYS, &to);
	return hook && *hook == WAY_NATIVE;
}

static __noinline int xdp_wrap(struct xdp_md *ctx, __u32 l3, __u64 verdict)
{
	const struct config *c = the_config();
	struct plan p = {};
	unpack(&p, verdict, 0);
	__u32 reason = verdict >> 48 & 0xff;
	struct peer *peer = bpf_map_lookup_elem(&PEERS, &p.site);
	struct next_hop *hop = bpf_map_lookup_elem(&NEXT_HOPS, &p.site);
	if (!c || !peer || !hop || (l3 != 14 && l3 != 18 && l3 != 22))
		return XDP_PASS;
	int outer6 = peer->outer6;
	__u32 room = outer6 ? OUTER6_LENGTH : OUTER4_LENGTH;
	__u64 now = monotonic(c);
	if (now >= hop->until)
		find_next_hop(ctx, p.site);

	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct inner in;
	if (!read_inner(&in, data + l3, end, p.inner6) || data + l3 + in.length > end) {
		count(REASON_MALFORMED);
		return XDP_PASS;
	}
	if (in.hop_limit <= 1) {
		count(REASON_HOP_LIMIT);
		return XDP_DROP;
	}
	if (in.length + room > c->mtu)
		return too_big(ctx, l3 | p.inner6 << 8 | p.protocol << 16, c->mtu - room);
	if (!affordable(c, &p, in.source, now))
		return XDP_DROP;
	if (complete_checksum(ctx, l3, p.inner6, p.protocol, in.length) < 0)
		return XDP_DROP;

	struct link_layer link = {};
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + 22 > end)
		return XDP_DROP;
	save_link(&link, data, l3);
	if (bpf_xdp_adjust_head(ctx, -(int)room)) {
		count(REASON_FAILED);
		return XDP_DROP;
	}
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	void *outer = data + l3;
	if (data + 22 > end)
		return XDP_DROP;

	/* Back to the router that it came from, unless the kernel knows better. What it knows is for frames
	 * without tags: a tagged one would leave for a router of another VLAN. */
	__u16 *to = (void *)link.word;
	int known = hop->resolved && l3 == 14 && leads(ctx->ingress_ifindex, hop->ifindex);
	if (known) {
		__builtin_memcpy(to, hop->destination, 6);
		__builtin_memcpy(to + 3, hop->source, 6);
	} else {
		for (int i = 0; i < 3; i++) {
			__u16 swap = to[i];
			to[i] = to[i + 3];
			to[i + 3] = swap;
		}
	}
	restore_link(data, &link, l3, outer6);

	p.length = in.length;
	void *inner;
	struct frame *f;
	if (outer6) {
		struct outer6 *o = outer;
		inner = o + 1;
		if (inner + 40 > end)
			return XDP_DROP;
		write_outer6(c, peer, o, &in);
		f = &o->frame;
	} else {
		struct outer4 *o = outer;
		inner = o + 1;
		if (inner + 40 > end)
			return XDP_DROP;
		write_outer4(c, peer, o, &in);
		f = &o->frame;
	}
	if (!write_frame(c, f, inner, end, &p, now))
		return XDP_DROP;
	count_forwarded(&p, reason);
	if (known && hop->ifindex != ctx->ingress_ifindex)
		return bpf_redirect(hop->ifindex, 0);
	return XDP_TX;
}

INLINE int xdp_act(struct xdp_md *ctx, __u32 l3, __u64 verdict)
{
	if (verdict == HERE)
		return XDP_PASS;
	if (verdict == REFUSE)
		return XDP_DROP;
	return xdp_wrap(ctx, l3, verdict);
}

/* where: l3 | outer6 << 8. */
static __noinline __u64 xdp_unwrap(struct xdp_md *ctx, __u32 where)
{
	const struct config *c = the_config();
	__u32 l3 = where & 0xff;
	int outer6 = where >> 8;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (!c || (l3 != 14 && l3 != 18 && l3 != 22))
		return HERE;
	struct opened o = {};
	int refused;
	if (outer6) {
		struct outer6 *outer = data + l3;
		if ((void *)(outer + 1) > end)
			refused = REASON_REJECTED_FORMAT;
		else if (outer->ip.payload_len != outer->udp.len)
			refused = REASON_REJECTED_FORMAT;
		else
			refused = judge(c, &outer->frame, end, 1, outer, bpf_ntohs(outer->udp.len) - 8,
					end - (void *)(outer + 1), &o);
	} else {
		struct outer4 *outer = data + l3;
		if ((void *)(outer + 1) > end)
			refused = REASON_REJECTED_FORMAT;
		else if (bpf_ntohs(outer->ip.tot_len) != bpf_ntohs(outer->udp.len) + 20)
			refused = REASON_REJECTED_FORMAT;
		else
			refused = judge(c, &outer->frame, end, 0, outer, bpf_ntohs(outer->udp.len) - 8,
					end - (void *)(outer + 1), &o);
	}
	if (refused) {
		count(refused);
		return REFUSE;
	}
	struct link_layer link = {};
	if (data + 22 > end)
		return REFUSE;
	save_link(&link, data, l3);
	if (bpf_xdp_adjust_head(ctx, outer6 ? OUTER6_LENGTH : OUTER4_LENGTH)) {
		count(REASON_FAILED);
		return REFUSE;
	}
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + l3 + 40 > end)
		return REFUSE;
	restore_link(data, &link, l3, o.inner6);
	if (o.congested)
		mark_congested(data + l3, o.inner6);
	if (is_noted(c, data + l3, end, &o))
		return HERE;
	return with_packet(xdp_serve(ctx, l3, o.protocol, o.flags, o.from), o.protocol, o.inner6);
}
