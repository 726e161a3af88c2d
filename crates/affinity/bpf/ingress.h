/* What is done with a packet that comes in. Included once for XDP and once for tc: NAME, CTX, LOAD,
 * PASS, ACT and UNWRAP are the context's. The decisions are those of src/model, in the
 * same order. A packet that belongs here is passed up unchanged. */

/* Whether this host knows the connection: a socket, or a handshake by SYN cookie. `header` is
 * NULL where there is no whole TCP packet to judge a cookie by (a packet quoted in an error). */
INLINE int NAME(known)(CTX *ctx, struct bpf_sock_tuple *tuple, int is6, void *l3, struct tcphdr *th)
{
	__u32 size = is6 ? sizeof(tuple->ipv6) : sizeof(tuple->ipv4);
	struct bpf_sock *sk = bpf_skc_lookup_tcp(ctx, tuple, size, BPF_F_CURRENT_NETNS, 0);
	if (!sk)
		return 0;
	int known = sk->state != BPF_TCP_LISTEN;
	if (!known && th && th->ack && !th->rst)
		known = is6 ? bpf_tcp_check_syncookie(sk, l3, sizeof(struct ipv6hdr), th, sizeof(*th)) == 0
			    : bpf_tcp_check_syncookie(sk, l3, sizeof(struct iphdr), th, sizeof(*th)) == 0;
	bpf_sk_release(sk);
	return known;
}

/* One of the two words of the timestamp option, wherever it lies among the options (RFC 7323):
 * word 0 is TSval, 1 is TSecr. 0 if there is none. */
static __noinline __u32 NAME(timestamp)(CTX *ctx, __u32 options, __u32 length, __u32 word)
{
	struct walk w = {};
	if (length > 40 || length < 10)
		return 0;
	if (LOAD(ctx, options, w.octets, length))
		return 0;
	w.length = length;
	bpf_loop(40, walk_step, &w, 0);
	__u32 at = w.timestamp;
	if (at < 2 || at > 32)
		return 0;
	at += word ? 4 : 0;
	if (at > 36)
		return 0;
	return (__u32)w.octets[at] << 24 | (__u32)w.octets[at + 1] << 16 |
	       (__u32)w.octets[at + 2] << 8 | w.octets[at + 3];
}

/* Where a packet goes that no socket here knows. `hint` is a site or 0. */
INLINE __u64 NAME(elsewhere)(const struct config *c, __u32 from, __u32 hint, __u32 reason)
{
	__u32 kind = from & 0xff, origin = from >> 8 & 0xff, asked = from >> 16 & 0xff, hops = from >> 24;
	__u32 me = c->me;

	if (kind == FROM_WIRE) {
		struct peer *p = bpf_map_lookup_elem(&PEERS, &hint);
		if (p && hint && hint != me && p->alive)
			return FORWARD(hint, 0, me, hint, 1, reason);
		if (c->next == me) {
			count(REASON_NO_PEER);
			return HERE;
		}
		return FORWARD(c->next, FRAME_RING, me, 0, 1, REASON_FORWARDED_RING);
	}
	/* The ring goes on. A site that was asked by hint begins it where the origin would have. */
	__u32 next = c->next;
	if (kind == FROM_HINT) {
		struct peer *p = bpf_map_lookup_elem(&PEERS, &origin);
		if (p)
			next = p->next;
		if (next == me)
			next = c->next;
	} else if (next == asked) {
		struct peer *p = bpf_map_lookup_elem(&PEERS, &asked);
		if (p)
			next = p->next;
	}
	if (next == origin || next == me || !next || hops > c->ring_size) {
		count(REASON_LAST_OF_RING);
		return HERE;
	}
	return FORWARD(next, FRAME_RING, origin, asked, hops + 1, REASON_FORWARDED_RING);
}

INLINE __u64 NAME(tcp)(CTX *ctx, const struct config *c, __u32 l3, int is6, __u32 from)
{
	__u32 l4 = l3 + (is6 ? 40 : 20);
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct tcphdr *th = data + l4;
	if ((void *)(th + 1) > end) {
		count(REASON_MALFORMED);
		return HERE;
	}
	if (th->syn) {
		count(REASON_SYN);
		return from ? REFUSE : HERE;
	}
	__u32 options = th->doff * 4 - 20, echoed = 0;
	if (th->ack && th->doff >= 8) {
		__u32 *word = (void *)(th + 1);
		if ((void *)(word + 3) <= end && word[0] == bpf_htonl(0x0101080a))
			echoed = bpf_ntohl(word[2]);
		else
			echoed = NAME(timestamp)(ctx, l4 + 20, options, 1);
	}
	__u32 hint = echoed ? echoed & c->id_mask : 0;
	data = (void *)(long)ctx->data;
	end = (void *)(long)ctx->data_end;
	void *ip = data + l3;
	th = data + l4;
	if ((void *)(th + 1) > end)
		return HERE;
	struct bpf_sock_tuple tuple = {};
	if (is6) {
		struct ipv6hdr *h = ip;
		__builtin_memcpy(tuple.ipv6.saddr, &h->saddr, 16);
		__builtin_memcpy(tuple.ipv6.daddr, &h->daddr, 16);
		tuple.ipv6.sport = th->source;
		tuple.ipv6.dport = th->dest;
	} else {
		struct iphdr *h = ip;
		tuple.ipv4.saddr = h->saddr;
		tuple.ipv4.daddr = h->daddr;
		tuple.ipv4.sport = th->source;
		tuple.ipv4.dport = th->dest;
	}
	if (NAME(known)(ctx, &tuple, is6, ip, th)) {
		/* Room for a later step: which backend of this site. */
		if (hint != c->me) {
			count(REASON_OWN_SOCKET);
			return HERE;
		}
		count(REASON_OWN_ID);
		struct mark m = mark_packet(c, ip, is6);
		__u32 *tag = bpf_map_lookup_elem(&SEEN, &m.slot);
		if (tag)
			*tag = m.tag;
		return HERE;
	}
	/* That it names this site is chance, then: it echoes a SYN-ACK, whose TSval has no id. */
	return NAME(elsewhere)(c, from, hint, REASON_FORWARDED_HINT);
}

/* Connection ids as draft-ietf-quic-load-balancers has them, of 17 octets: see src/quic_lb. */
INLINE __u64 NAME(quic)(CTX *ctx, const struct config *c, __u32 l3, int is6, __u32 from)
{
	__u32 at = l3 + (is6 ? 48 : 28), block[4];
	__u8 first[7];
	if (LOAD(ctx, at, first, 7))
		goto none;
	if (first[0] & 0x80) {
		/* Version negotiation has no owner; an id of another length is not ours. */
		if (!(first[1] | first[2] | first[3] | first[4]) || first[5] != 17)
			goto none;
		first[1] = first[6];
		at += 6;
	} else {
		at += 1;
	}
	const struct key *key = &c->keys[first[1] >> 5 & 1];
	if (!key->valid || first[1] >> 5 != (key->epoch & 3) || LOAD(ctx, at + 1, block, 16))
		goto none;
	for (int i = 0; i < 4; i++)
		block[i] = bpf_ntohl(block[i]);
	__u32 id = aes_first_word(key, block), site = id >> 24;
	if (id & 0x00ff0000 || !site)
		goto none;
	if (site == c->me) {
		count(REASON_OWN_ID);
		return HERE;
	}
	struct peer *p = bpf_map_lookup_elem(&PEERS, &site);
	if (from || !p || !p->alive)
		goto none;
	return FORWARD(site, 0, c->me, site, 1, REASON_FORWARDED_QUIC);
none:
	count(REASON_NO_CONNECTION_ID);
	return HERE;
}

/* An error about a packet that a site of ours sent from a service address: its owner must hear
 * of it. The quoted TSval names it, where the quote is long enough. */
INLINE __u64 NAME(icmp)(CTX *ctx, const struct config *c, __u32 l3, int is6, __u32 from)
{
	__u32 l4 = l3 + (is6 ? 40 : 20), quoted = l4 + 8;
	struct bpf_sock_tuple tuple = {};
	__u8 type;
	__u32 quoted_l4;
	if (LOAD(ctx, l4, &type, 1))
		return HERE;
	if (is6) {
		struct ipv6hdr h;
		__u32 to[4];
		if (type < 1 || type > 4 || LOAD(ctx, quoted, &h, sizeof(h)) || LOAD(ctx, l3 + 24, to, 16))
			return HERE;
		if (h.version != 6 || h.nexthdr != IPPROTO_TCP || !same16(&h.saddr, to))
			return HERE;
		__builtin_memcpy(tuple.ipv6.saddr, &h.daddr, 16);
		__builtin_memcpy(tuple.ipv6.daddr, &h.saddr, 16);
		quoted_l4 = quoted + 40;
	} else {
		struct iphdr h;
		__u32 to;
		if ((type != 3 && type != 11 && type != 12) || LOAD(ctx, quoted, &h, sizeof(h)) ||
		    LOAD(ctx, l3 + 16, &to, 4))
			return HERE;
		if (h.version != 4 || h.ihl != 5 || h.protocol != IPPROTO_TCP || h.saddr != to ||
		    h.frag_off & bpf_htons(0x1fff))
			return HERE;
		tuple.ipv4.saddr = h.daddr;
		tuple.ipv4.daddr = h.saddr;
		quoted_l4 = quoted + 20;
	}
	__u16 ports[2];
	if (LOAD(ctx, quoted_l4, ports, 4))
		return HERE;
	if (is6) {
		tuple.ipv6.sport = ports[1];
		tuple.ipv6.dport = ports[0];
	} else {
		tuple.ipv4.sport = ports[1];
		tuple.ipv4.dport = ports[0];
	}
	__u8 offset = 0;
	__u32 sent = 0;
	if (!LOAD(ctx, quoted_l4 + 12, &offset, 1)) {
		__u32 options = (offset >> 4) * 4 - 20;
		if (options >= 12 && options <= 40)
			sent = NAME(timestamp)(ctx, quoted_l4 + 20, options, 0);
	}
	__u32 hint = sent ? sent & c->id_mask : 0;
	if (hint == c->me && !from) {
		count(REASON_OWN_ID);
		return HERE;
	}
	if (NAME(known)(ctx, &tuple, is6, 0, 0)) {
		count(REASON_OWN_SOCKET);
		return HERE;
	}
	return NAME(elsewhere)(c, from, hint, REASON_FORWARDED_ICMP);
}

/* A packet to a service address, from the wire or (from != 0) out of a frame. */
static __noinline __u64 NAME(serve)(CTX *ctx, __u32 l3, __u32 protocol, __u32 flags, __u32 from)
{
	const struct config *c = the_config();
	int is6 = flags >> 31;
	__u16 quic_port = flags >> 8;
	if (!c)
		return HERE;
	if (protocol == IPPROTO_TCP && flags & SERVICE_TCP)
		return is6 ? NAME(tcp)(ctx, c, l3, 1, from) : NAME(tcp)(ctx, c, l3, 0, from);
	if (protocol == IPPROTO_UDP && flags & SERVICE_QUIC) {
		__u16 port;
		if (LOAD(ctx, l3 + (is6 ? 42 : 22), &port, 2) || port != quic_port)
			return HERE;
		return is6 ? NAME(quic)(ctx, c, l3, 1, from) : NAME(quic)(ctx, c, l3, 0, from);
	}
	if (flags & SERVICE_TCP && protocol == IPPROTO_ICMPV6 && is6)
		return NAME(icmp)(ctx, c, l3, 1, from);
	if (flags & SERVICE_TCP && protocol == IPPROTO_ICMP && !is6)
		return NAME(icmp)(ctx, c, l3, 0, from);
	return HERE;
}

INLINE __u32 NAME(flags)(const struct service *s, __u32 is6)
{
	return (s->flags & 7) | (__u32)s->quic_port_be << 8 | is6 << 31;
}

/* From the address of a packet to what is to be done with it, in this order:
 *  1. neither a service nor our tunnel address: pass
 *  2. our tunnel address: unwrap if it is a frame, and go on with what was in it
 *  3. fragments and headers with options: pass, counted
 *  4. (load balancing to backends inside the site will stand here, after 5 said "here")
 *  5. TCP, QUIC, ICMP errors: as above */
INLINE int NAME(ingress)(CTX *ctx)
{
	const struct config *c = the_config();
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	if (!c || data + 34 > end)
		return PASS;
	__u32 l3 = 14;
	__u16 type = *(__u16 *)(data + 12);
	if (TAGGED(type)) {
		type = *(__u16 *)(data + 16);
		l3 = 18;
		if (TAGGED(type)) {
			type = *(__u16 *)(data + 20);
			l3 = 22;
		}
	}
	if (type == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = data + l3;
		if ((void *)(ip + 1) > end)
			return PASS;
		const struct service *s = service_at(c, 0, mapped4(ip->daddr));
		if (!s)
			return PASS;
		__u32 flags = NAME(flags)(s, 0);
		if (flags & SERVICE_TUNNEL) {
			struct udphdr *udp = (void *)(ip + 1);
			if (ip->version != 4 || ip->ihl != 5 || ip->protocol != IPPROTO_UDP ||
			    ip->frag_off & bpf_htons(0x3fff) || (void *)(udp + 1) > end || udp->dest != c->port_be)
				return PASS;
			return ACT(ctx, l3, UNWRAP(ctx, l3));
		}
		if (ip->version != 4 || ip->ihl != 5) {
			count(REASON_OPTIONS);
			return PASS;
		}
		if (ip->frag_off & bpf_htons(0x3fff)) {
			count(REASON_FRAGMENT);
			return PASS;
		}
		if (ip->protocol == IPPROTO_TCP && flags & SERVICE_TCP && is_mine(c, ip, end, 0)) {
			count(REASON_OWN_ID);
			return PASS;
		}
		__u32 protocol = ip->protocol;
		return ACT(ctx, l3, with_packet(NAME(serve)(ctx, l3, protocol, flags, 0), protocol, 0));
	}
	if (type == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = data + l3;
		if ((void *)(ip + 1) > end)
			return PASS;
		__u64 *to = (void *)&ip->daddr;
		const struct service *s = service_at(c, to[0], to[1]);
		if (!s)
			return PASS;
		__u32 flags = NAME(flags)(s, 1);
		if (flags & SERVICE_TUNNEL) {
			struct udphdr *udp = (void *)(ip + 1);
			if (ip->version != 6 || ip->nexthdr != IPPROTO_UDP || (void *)(udp + 1) > end ||
			    udp->dest != c->port_be)
				return PASS;
			return ACT(ctx, l3, UNWRAP(ctx, l3 | 1 << 8));
		}
		if (ip->nexthdr == IPPROTO_FRAGMENT) {
			count(REASON_FRAGMENT);
			return PASS;
		}
		if (ip->version != 6 || ip->nexthdr == IPPROTO_HOPOPTS || ip->nexthdr == IPPROTO_ROUTING ||
		    ip->nexthdr == IPPROTO_DSTOPTS || ip->nexthdr == IPPROTO_AH) {
			count(REASON_OPTIONS);
			return PASS;
		}
		if (ip->nexthdr == IPPROTO_TCP && flags & SERVICE_TCP && is_mine(c, ip, end, 1)) {
			count(REASON_OWN_ID);
			return PASS;
		}
		__u32 protocol = ip->nexthdr;
		return ACT(ctx, l3, with_packet(NAME(serve)(ctx, l3, protocol, flags, 0), protocol, 1));
	}
	return PASS;
}
