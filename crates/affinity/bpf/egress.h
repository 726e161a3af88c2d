/* What a server sends from a service address. */

/* The smallest value not below `value` whose low bits are the id: never back, never far ahead. */
INLINE __u32 stamp(const struct config *c, __u32 value)
{
	return ((value - c->me + c->id_mask) & ~c->id_mask) + c->me;
}

/* Replaces two octets that may lie at an odd place, where a sum sees them swapped. */
INLINE void replace16(struct __sk_buff *ctx, __u32 check, __u32 at, __u16 was, __u16 is, int odd)
{
	__u16 old = bpf_htons(was), new = bpf_htons(is);
	bpf_skb_store_bytes(ctx, at, &new, 2, 0);
	if (odd) {
		old = was;
		new = is;
	}
	bpf_l4_csum_replace(ctx, check, old, new, 2);
}

INLINE int egress(struct __sk_buff *ctx)
{
	const struct config *c = the_config();
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (!c || data + 54 > end)
		return TC_ACT_UNSPEC;
	__u32 l3 = 14, l4;
	__u16 type = *(__u16 *)(data + 12);
	if (TAGGED(type)) {
		type = *(__u16 *)(data + 16);
		l3 = 18;
		if (TAGGED(type)) {
			type = *(__u16 *)(data + 20);
			l3 = 22;
		}
	}
	const struct service *s;
	__u32 most;
	if (type == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + l3;
		if ((void *)(ip + 1) > end || ip->version != 4 || ip->ihl != 5 || ip->protocol != IPPROTO_TCP ||
		    ip->frag_off & bpf_htons(0x3fff))
			return TC_ACT_UNSPEC;
		s = service_at(c, 0, mapped4(ip->saddr));
		l4 = l3 + 20;
		most = c->mss4;
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data + l3;
		if ((void *)(ip + 1) > end || ip->version != 6 || ip->nexthdr != IPPROTO_TCP)
			return TC_ACT_UNSPEC;
		__u64 *from = (void *)&ip->saddr;
		s = service_at(c, from[0], from[1]);
		l4 = l3 + 40;
		most = c->mss6;
	} else {
		return TC_ACT_UNSPEC;
	}
	struct tcphdr *th = data + l4;
	if (!s || !(s->flags & SERVICE_TCP) || (void *)(th + 1) > end)
		return TC_ACT_UNSPEC;
	__u32 length = th->doff * 4 - 20, options = l4 + 20, check = l4 + 16;
	__u32 *word = (void *)(th + 1);
	int syn = th->syn;
	if (syn && !th->ack)
		return TC_ACT_UNSPEC;
	if (!syn && (void *)(word + 3) <= end && th->doff >= 8 && word[0] == bpf_htonl(0x0101080a)) {
		__u32 was = word[1], is = bpf_htonl(stamp(c, bpf_ntohl(was)));
		count(REASON_STAMPED);
		if (was == is)
			return TC_ACT_UNSPEC;
		/* Where the card is still to add up the packet, the helper leaves the field alone. */
		bpf_l4_csum_replace(ctx, check, was, is, 4);
		bpf_skb_store_bytes(ctx, options + 4, &is, 4, 0);
		return TC_ACT_UNSPEC;
	}
	struct walk w = {};
	if (length > 40 || length < 4 || bpf_skb_load_bytes(ctx, options, w.octets, length))
		return TC_ACT_UNSPEC;
	w.length = length;
	bpf_loop(40, walk_step, &w, 0);
	/* A SYN-ACK's TSval stays: SYN cookies keep options in it, and the kernel refuses an echo that
	 * it did not send itself (TSEcrRejected). Its MSS must leave room for a frame's headers. */
	__u32 at = syn ? w.mss : w.timestamp;
	if (at < 2 || at > 38)
		return TC_ACT_UNSPEC;
	if (syn) {
		__u16 was = (__u16)w.octets[at] << 8 | w.octets[at + 1], is = most;
		if (!most || was <= most)
			return TC_ACT_UNSPEC;
		replace16(ctx, check, options + at, was, is, at & 1);
		count(REASON_CLAMPED);
		return TC_ACT_UNSPEC;
	}
	if (at > 36)
		return TC_ACT_UNSPEC;
	__u32 was = (__u32)w.octets[at] << 24 | (__u32)w.octets[at + 1] << 16 |
		    (__u32)w.octets[at + 2] << 8 | w.octets[at + 3];
	__u32 is = stamp(c, was);
	count(REASON_STAMPED);
	if (was == is)
		return TC_ACT_UNSPEC;
	replace16(ctx, check, options + at, was >> 16, is >> 16, at & 1);
	replace16(ctx, check, options + at + 2, was, is, at & 1);
	return TC_ACT_UNSPEC;
}
