/* Wrapping and unwrapping at tc, and what leaves. */

/* Linux 6.3; older headers do not have them. */
#define DECAP_L3_IPV4 (1ULL << 7)
#define DECAP_L3_IPV6 (1ULL << 8)

/* The interface towards a site: by the routes of what is forwarded, where the kernel tells them (it does so if it
 * forwards itself), else by those of what this host sends, which the daemon has looked up. 0: neither is known. */
INLINE __u32 tc_way(struct __sk_buff *ctx, const struct config *c, const struct peer *peer)
{
	struct bpf_fib_lookup fib = { .l4_protocol = IPPROTO_UDP,
				      .ifindex = *(volatile __u32 *)&ctx->ingress_ifindex };
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
	return answer == BPF_FIB_LKUP_RET_SUCCESS || answer == BPF_FIB_LKUP_RET_NO_NEIGH
		       ? fib.ifindex : peer->exit;
}

/* Back to the router that a packet came from. */
INLINE int tc_back(struct __sk_buff *ctx, __u16 *link)
{
#pragma unroll
	for (int i = 0; i < 3; i++) {
		__u16 swap = link[i];
		link[i] = link[i + 3];
		link[i + 3] = swap;
	}
	return bpf_redirect(*(volatile __u32 *)&ctx->ingress_ifindex, 0);
}

/* The answer to a packet that does not fit into a frame. A packet of this machine may have left its
 * checksum to the card, which then fills it in wherever the packet goes, here in a quote that
 * our own checksum covers: so the field gets the one value that filling in leaves as it is. */
static __noinline int tc_too_big(struct __sk_buff *ctx, __u32 where, __u32 mtu)
{
	const struct config *c = the_config();
	int inner6 = where & 1;
	__u32 protocol = where >> 16, header = 14 + (inner6 ? 40 : 20);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct inner in;
	count(REASON_TOO_BIG);
	if (!c || !read_inner(&in, data + 14, end, inner6) || !may_answer(c, protocol, in.source))
		return TC_ACT_SHOT;
	if (bpf_skb_change_tail(ctx, header + 20, 0) ||
	    bpf_skb_adjust_room(ctx, inner6 ? 48 : 28, BPF_ADJ_ROOM_MAC, 0) ||
	    bpf_skb_pull_data(ctx, 0))
		return TC_ACT_SHOT;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	void *ip = data + 14;
	__u32 *l4 = ip + (inner6 ? 88 : 48);
	if (data + 82 > end || (void *)(l4 + 5) > end)
		return TC_ACT_SHOT;
	__u16 *check = (__u16 *)l4 + (protocol == IPPROTO_TCP ? 8 : 3);
	/* A datagram without one has none to be filled in. */
	if (protocol == IPPROTO_TCP || *check) {
		*check = 0;
		__u64 sum = (__u64)l4[0] + l4[1] + l4[2] + l4[3] + l4[4];
		__u16 twice = ~fold64(sum);
		*check = twice >> 1 | twice << 15;
	}
	if (!write_too_big(ip, end, inner6, mtu))
		return TC_ACT_SHOT;
	return tc_back(ctx, data);
}

static __noinline int tc_wrap(struct __sk_buff *ctx, __u32 l3, __u64 verdict)
{
	const struct config *c = the_config();
	struct plan p = {};
	unpack(&p, verdict, FRAME_LOOSE);
	__u32 reason = verdict >> 48 & 0xff;
	struct peer *peer = bpf_map_lookup_elem(&PEERS, &p.site);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (!c || !peer)
		return TC_ACT_UNSPEC;
	/* The kernel makes room only behind an Ethernet header without tags (it has taken one off). */
	if (l3 != 14) {
		count(REASON_FAILED);
		return TC_ACT_UNSPEC;
	}
	int outer6 = peer->outer6;
	__u32 room = outer6 ? OUTER6_LENGTH : OUTER4_LENGTH;
	struct inner in;
	if (!read_inner(&in, data + 14, end, p.inner6) || in.length + 14 > ctx->len) {
		count(REASON_MALFORMED);
		return TC_ACT_UNSPEC;
	}
	if (in.hop_limit <= 1) {
		count(REASON_HOP_LIMIT);
		return TC_ACT_SHOT;
	}
	/* TCP segments of one large packet are cut to fit when they leave; datagrams stay as long as they are. */
	__u32 segment = ctx->gso_size, longest = in.length;
	int datagrams = segment && p.protocol == IPPROTO_UDP;
	if (segment)
		longest = datagrams ? segment + (p.inner6 ? 48 : 28) : 0;
	if (longest + room > c->mtu || in.length + room > 65535)
		return tc_too_big(ctx, p.inner6 | p.protocol << 16, c->mtu - room);
	__u64 now = monotonic(c);
	if (!affordable(c, &p, in.source, now))
		return TC_ACT_SHOT;
	__u64 flags = BPF_F_ADJ_ROOM_ENCAP_L4_UDP | (datagrams ? BPF_F_ADJ_ROOM_FIXED_GSO : 0);
	if (outer6 ? bpf_skb_adjust_room(ctx, OUTER6_LENGTH, BPF_ADJ_ROOM_MAC,
					 flags | BPF_F_ADJ_ROOM_ENCAP_L3_IPV6)
		   : bpf_skb_adjust_room(ctx, OUTER4_LENGTH, BPF_ADJ_ROOM_MAC,
					 flags | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4)) {
		count(REASON_FAILED);
		return TC_ACT_SHOT;
	}
	bpf_skb_pull_data(ctx, ctx->len < 200 ? ctx->len : 200);
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	void *inner;
	struct frame *f;
	if (outer6) {
		struct outer6 *o = data + 14;
		inner = o + 1;
		if (inner + 40 > end)
			return TC_ACT_SHOT;
		write_outer6(c, peer, o, &in);
		f = &o->frame;
	} else {
		struct outer4 *o = data + 14;
		inner = o + 1;
		if (inner + 40 > end)
			return TC_ACT_SHOT;
		write_outer4(c, peer, o, &in);
		f = &o->frame;
	}
	*(__u16 *)(data + 12) = outer6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	if (!write_frame(c, f, inner, end, &p, now))
		return TC_ACT_SHOT;
	count_forwarded(&p, reason);
	__u32 way = tc_way(ctx, c, peer);
	return way ? bpf_redirect_neigh(way, 0, 0, 0) : tc_back(ctx, data);
}

INLINE int tc_act(struct __sk_buff *ctx, __u32 l3, __u64 verdict)
{
	if (verdict == HERE)
		return TC_ACT_UNSPEC;
	if (verdict == REFUSE)
		return TC_ACT_SHOT;
	return tc_wrap(ctx, l3, verdict);
}

static __noinline __u64 tc_unwrap(struct __sk_buff *ctx, __u32 where)
{
	const struct config *c = the_config();
	int outer6 = where >> 8;
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (!c || (where & 0xff) != 14)
		return HERE;
	struct opened o = {};
	int refused;
	/* What lies in pages is there all the same. */
	if (outer6) {
		struct outer6 *outer = data + 14;
		if ((void *)(outer + 1) > end || outer->ip.payload_len != outer->udp.len)
			refused = REASON_REJECTED_FORMAT;
		else
			refused = judge(c, &outer->frame, end, 1, outer, bpf_ntohs(outer->udp.len) - 8,
					ctx->len - (14 + OUTER6_LENGTH), &o);
	} else {
		struct outer4 *outer = data + 14;
		if ((void *)(outer + 1) > end || bpf_ntohs(outer->ip.tot_len) != bpf_ntohs(outer->udp.len) + 20)
			refused = REASON_REJECTED_FORMAT;
		else
			refused = judge(c, &outer->frame, end, 0, outer, bpf_ntohs(outer->udp.len) - 8,
					ctx->len - (14 + OUTER4_LENGTH), &o);
	}
	if (refused) {
		count(refused);
		return REFUSE;
	}
	int room = outer6 ? OUTER6_LENGTH : OUTER4_LENGTH;
	__u64 flags = o.protocol == IPPROTO_UDP && ctx->gso_size ? BPF_F_ADJ_ROOM_FIXED_GSO : 0;
	if (o.inner6 ? bpf_skb_adjust_room(ctx, -room, BPF_ADJ_ROOM_MAC, flags | DECAP_L3_IPV6)
		     : bpf_skb_adjust_room(ctx, -room, BPF_ADJ_ROOM_MAC, flags | DECAP_L3_IPV4)) {
		count(REASON_FAILED);
		return REFUSE;
	}
	bpf_skb_pull_data(ctx, ctx->len < 200 ? ctx->len : 200);
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	if (data + 54 > end)
		return REFUSE;
	*(__u16 *)(data + 12) = o.inner6 ? bpf_htons(ETH_P_IPV6) : bpf_htons(ETH_P_IP);
	if (o.congested)
		mark_congested(data + 14, o.inner6);
	if (is_noted(c, data + 14, end, &o))
		return HERE;
	return with_packet(tc_serve(ctx, 14, o.protocol, o.flags, o.from), o.protocol, o.inner6);
}
