/* The frame that carries a packet from one site to another: docs/affinity-wire.md. */

#define PORTS_OF(l4) (*(const __u32 *)(l4))

#define FROM_WIRE 0
#define FROM_HINT 1
#define FROM_RING 2

struct frame {
	__u8 kind, epoch, sender, origin, asked, hops;
	__u16 length_be;
	__u32 time_be;
	__u32 tag[2];
};
_Static_assert(sizeof(struct frame) == FRAME_LENGTH, "frame");

/* What is to be done with a packet to a service address: one word, so that it can be returned. */
#define HERE 0ULL
#define REFUSE 1ULL
/* What is to be forwarded says which protocol it is, too: see with_packet. */
#define FORWARD(site, kind, origin, asked, hops, reason) \
	(2ULL | (__u64)(site) << 8 | (__u64)(kind) << 16 | (__u64)(origin) << 24 | \
	 (__u64)(asked) << 32 | (__u64)(hops) << 40 | (__u64)(reason) << 48)

struct plan {
	__u32 site, origin, asked, hops, protocol, inner6, kind, length;
};

INLINE __u64 with_packet(__u64 verdict, __u32 protocol, __u32 inner6)
{
	return verdict <= REFUSE ? verdict
				 : verdict | (__u64)protocol << 56 | (inner6 ? FRAME_INNER6 << 16 : 0);
}

INLINE void unpack(struct plan *p, __u64 verdict, __u32 loose)
{
	p->site = verdict >> 8 & 0xff;
	p->kind = (verdict >> 16 & 0xff) | loose;
	p->origin = verdict >> 24 & 0xff;
	p->asked = verdict >> 32 & 0xff;
	p->hops = verdict >> 40 & 0xff;
	p->inner6 = !!(p->kind & FRAME_INNER6);
	p->protocol = verdict >> 56;
}

INLINE __u16 fold(__u32 sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* Time of frames: units of 2^30 ns since 1970, modulo 2^32. */
INLINE __u32 frame_time(const struct config *c, __u64 now)
{
	return (now + c->wall_offset) >> 30;
}

/* The octets that the MAC covers, as words. `inner` has at least 20 octets behind its IP header. */
INLINE __u64 frame_mac(const struct key *key, const struct frame *f, const void *inner, int inner6,
		       __u32 protocol, __u32 recipient)
{
	__u64 m[7];
	const __u32 *l4 = inner + (inner6 ? 40 : 20);
	const __u32 *head = (const void *)f;
	int loose = f->kind & FRAME_LOOSE;
	__u32 flags = protocol == IPPROTO_TCP && !loose ? ((const __u8 *)l4)[13] : 0;
	m[0] = (__u64)head[1] << 32 | head[0];
	m[1] = (__u64)l4[0] << 32 | f->time_be;
	m[2] = (__u64)(protocol | flags << 8 | recipient << 16) << 32 | (loose ? 0 : l4[1]);
	if (inner6) {
		const __u64 *a = inner + 8;
		m[3] = a[0]; m[4] = a[1]; m[5] = a[2]; m[6] = a[3];
		return siphash7(key->mac, m);
	}
	const __u32 *a = inner + 12;
	m[3] = (__u64)a[1] << 32 | a[0];
	return siphash4(key->mac, m);
}

/* Whether the budgets let a packet be forwarded. `source` is what its sender is known by. */
INLINE int affordable(const struct config *c, const struct plan *p, __u64 source, __u64 now)
{
	if (p->hops == 1 && c->source_cost) {
		__u32 bucket = (((source ^ c->seed) * 0x9e3779b97f4a7c15ULL) >> 48) & (SOURCE_BUCKETS - 1);
		__u64 *full_at = bpf_map_lookup_elem(&SOURCE_BUDGET, &bucket);
		if (!full_at || !within(full_at, now, c->source_cost, c->source_burst)) {
			count(REASON_LIMITED_SOURCE);
			return 0;
		}
	}
	int ring = p->kind & FRAME_RING;
	__u64 *full_at = ring ? bpf_map_lookup_elem(&RING_BUDGET, &p->site)
			      : bpf_map_lookup_elem(&SITE_BUDGET, &p->site);
	if (!full_at || !(ring ? within(full_at, now, c->ring_cost, c->ring_burst)
			       : within(full_at, now, c->site_cost, c->site_burst))) {
		count(ring ? REASON_LIMITED_RING : REASON_LIMITED_SITE);
		struct site_counters *s = bpf_map_lookup_elem(&SITE_COUNTERS, &p->site);
		if (s)
			s->limited++;
		return 0;
	}
	return 1;
}

INLINE void count_forwarded(const struct plan *p, __u32 reason)
{
	count(reason);
	struct site_counters *s = bpf_map_lookup_elem(&SITE_COUNTERS, &p->site);
	if (!s)
		return;
	if (p->kind & FRAME_RING)
		s->ring++;
	else
		s->hint++;
}

struct outer4 { struct iphdr ip; struct udphdr udp; struct frame frame; };
struct outer6 { struct ipv6hdr ip; struct udphdr udp; struct frame frame; };
_Static_assert(sizeof(struct outer4) == OUTER4_LENGTH, "outer4");
_Static_assert(sizeof(struct outer6) == OUTER6_LENGTH, "outer6");

/* What the inner IP header says, and its hop limit taken down by one: a site that forwards is a
 * router on the packet's way (RFC 2003, section 3.1). 0 if it may not go further. */
struct inner { __u32 length, traffic_class, hop_limit; __u64 source; __u32 salt; };
INLINE int read_inner(struct inner *in, const void *l3, const void *end, int inner6)
{
	if (inner6) {
		const struct ipv6hdr *ip = l3;
		if (l3 + 60 > end)
			return 0;
		const __u64 *from = (const void *)&ip->saddr;
		in->length = 40 + bpf_ntohs(ip->payload_len);
		in->traffic_class = bpf_ntohl(*(const __u32 *)l3) >> 20 & 0xff;
		in->hop_limit = ip->hop_limit;
		in->source = from[0];
		in->salt = PORTS_OF(l3 + 40) ^ ip->saddr.in6_u.u6_addr32[3];
	} else {
		const struct iphdr *ip = l3;
		if (l3 + 40 > end)
			return 0;
		in->length = bpf_ntohs(ip->tot_len);
		in->traffic_class = ip->tos;
		in->hop_limit = ip->ttl;
		in->source = ip->saddr;
		in->salt = PORTS_OF(l3 + 20) ^ ip->saddr;
	}
	return in->length >= (inner6 ? 60 : 40);
}

INLINE void lower_hop_limit(void *l3, int inner6)
{
	if (inner6) {
		((struct ipv6hdr *)l3)->hop_limit--;
		return;
	}
	struct iphdr *ip = l3;
	__u32 sum = ip->check + bpf_htons(0x0100);
	ip->check = sum + (sum >= 0xffff);
	ip->ttl--;
}

/* Writes the frame before an inner packet, of which there are 20 octets behind its IP header. */
INLINE int write_frame(const struct config *c, struct frame *f, void *inner, void *end,
		       const struct plan *p, __u64 now)
{
	const struct key *key = &c->keys[c->signing & 1];
	f->kind = FRAME_VERSION | p->kind;
	f->epoch = key->epoch;
	f->sender = c->me;
	f->origin = p->origin;
	f->asked = p->asked;
	f->hops = p->hops;
	f->length_be = p->kind & FRAME_LOOSE ? 0 : bpf_htons(p->length);
	f->time_be = bpf_htonl(frame_time(c, now));
	__u64 tag;
	if (p->inner6) {
		if (inner + 60 > end)
			return 0;
		lower_hop_limit(inner, 1);
		tag = frame_mac(key, f, inner, 1, p->protocol, p->site);
	} else {
		if (inner + 40 > end)
			return 0;
		lower_hop_limit(inner, 0);
		tag = frame_mac(key, f, inner, 0, p->protocol, p->site);
	}
	f->tag[0] = tag;
	f->tag[1] = tag >> 32;
	return 1;
}

INLINE void write_udp(const struct config *c, struct udphdr *udp, const struct inner *in, __u32 length)
{
	/* The port spreads flows over paths; nobody reads it. */
	udp->source = bpf_htons(0xc000 | ((in->salt * 0x9e3779b1u) >> 18));
	udp->dest = c->port_be;
	udp->len = bpf_htons(length);
	/* RFC 6935 allows none for tunnels over IPv6 whose receiver checks by other means. */
	udp->check = 0;
}

INLINE void write_outer4(const struct config *c, const struct peer *peer, struct outer4 *o,
			 const struct inner *in)
{
	struct iphdr *ip = &o->ip;
	*(__u8 *)ip = 0x45;
	ip->tos = in->traffic_class;
	ip->tot_len = bpf_htons(in->length + OUTER4_LENGTH);
	ip->id = 0;
	ip->frag_off = bpf_htons(0x4000);
	ip->ttl = 64;
	ip->protocol = IPPROTO_UDP;
	ip->check = 0;
	ip->saddr = c->tunnel4_be;
	ip->daddr = peer->v4_be;
	__u32 sum = 0;
	__u16 *word = (void *)ip;
#pragma unroll
	for (int i = 0; i < 10; i++)
		sum += word[i];
	ip->check = ~fold(sum);
	write_udp(c, &o->udp, in, in->length + OUTER4_LENGTH - 20);
}

INLINE void write_outer6(const struct config *c, const struct peer *peer, struct outer6 *o,
			 const struct inner *in)
{
	__u32 *ip = (void *)&o->ip;
	const __u32 *from = (const void *)c->tunnel6, *to = (const void *)peer->v6;
	ip[0] = bpf_htonl(0x60000000 | in->traffic_class << 20);
	ip[1] = bpf_htonl((in->length + OUTER6_LENGTH - 40) << 16 | IPPROTO_UDP << 8 | 64);
#pragma unroll
	for (int i = 0; i < 4; i++) {
		ip[2 + i] = from[i];
		ip[6 + i] = to[i];
	}
	write_udp(c, &o->udp, in, in->length + OUTER6_LENGTH - 40);
}

/* The mark of a connection by its packet's headers, of which there are four octets behind IP's. */
INLINE struct mark mark_packet(const struct config *c, const void *l3, int is6)
{
	if (is6) {
		const __u64 *a = l3 + 8;
		return mark_of(c, a[0] ^ a[1] * 0xff51afd7ed558ccdULL, a[3], PORTS_OF(l3 + 40));
	}
	const __u32 *a = l3 + 12;
	return mark_of(c, a[0], a[1], PORTS_OF(l3 + 20));
}

/* The most frequent case of all, without a call: a segment whose timestamp lies where all systems put
 * it, and names this site, of a connection whose socket was found before. */
INLINE int is_mine(const struct config *c, const void *l3, const void *end, int is6)
{
	const void *l4 = l3 + (is6 ? 40 : 20);
	const struct tcphdr *th = l4;
	const __u32 *word = l4;
	if (l4 + 32 > end || !th->ack || th->syn || th->doff < 8 || word[5] != bpf_htonl(0x0101080a) ||
	    !word[7] || (bpf_ntohl(word[7]) & c->id_mask) != c->me)
		return 0;
	struct mark m = mark_packet(c, l3, is6);
	__u32 *tag = bpf_map_lookup_elem(&SEEN, &m.slot);
	return tag && *tag == m.tag;
}

/* What is known of a frame once it is found good. */
struct opened { __u32 from, flags, protocol, inner6, congested; };

/* Judges a frame: everything that is cheap first, then the MAC, then what needs the MAC. Returns a
 * reason for refusal, or 0 with `o` filled in. `octets` is what the outer headers say is behind
 * the UDP header, `present` what there is of the inner packet. Nothing has been changed yet. */
INLINE int judge(const struct config *c, const struct frame *f, void *end, int outer6,
		 const void *outer, __u32 octets, __u32 present, struct opened *o)
{
	void *inner = (void *)(f + 1);
	if (inner + 40 > end || (f->kind & FRAME_FIXED) != FRAME_VERSION)
		return REASON_REJECTED_FORMAT;
	__u32 sender = f->sender, origin = f->origin, hops = f->hops, ring = f->kind & FRAME_RING;
	struct peer *peer = bpf_map_lookup_elem(&PEERS, &sender);
	if (!peer || !peer->known || sender == c->me)
		return REASON_REJECTED_SOURCE;
	if (outer6) {
		const __u64 *from = outer + 8, *is = (const void *)peer->v6;
		if (!peer->has6 || from[0] != is[0] || from[1] != is[1])
			return REASON_REJECTED_SOURCE;
	} else if (!peer->has4 || *(const __u32 *)(outer + 12) != peer->v4_be) {
		return REASON_REJECTED_SOURCE;
	}
	/* A packet of our own comes back to us only by a loop. */
	if (!hops || hops > c->ring_size + 1u || !origin || origin == c->me || (!ring && (hops != 1 || origin != sender)))
		return REASON_REJECTED_HOPS;
	if (!ring && f->asked != c->me)
		return REASON_REJECTED_FORMAT;
	const struct key *key = &c->keys[f->epoch & 1];
	if (!key->valid || key->epoch != f->epoch)
		return REASON_REJECTED_EPOCH;

	const struct service *s;
	__u32 length, tcp_flags;
	__u16 to_port;
	o->inner6 = !!(f->kind & FRAME_INNER6);
	if (o->inner6) {
		const struct ipv6hdr *ip = inner;
		if (inner + 60 > end || ip->version != 6)
			return REASON_REJECTED_INNER;
		const __u64 *to = (const void *)&ip->daddr;
		s = service_at(c, to[0], to[1]);
		o->protocol = ip->nexthdr;
		length = 40 + bpf_ntohs(ip->payload_len);
		if (length < 60)
			return REASON_REJECTED_INNER;
		tcp_flags = ((const __u8 *)inner)[53];
		to_port = *(const __u16 *)(inner + 42);
	} else {
		const struct iphdr *ip = inner;
		if (ip->version != 4 || ip->ihl != 5 || ip->frag_off & bpf_htons(0x3fff))
			return REASON_REJECTED_INNER;
		s = service_at(c, 0, mapped4(ip->daddr));
		o->protocol = ip->protocol;
		length = bpf_ntohs(ip->tot_len);
		if (length < 40)
			return REASON_REJECTED_INNER;
		tcp_flags = ((const __u8 *)inner)[33];
		to_port = *(const __u16 *)(inner + 22);
	}
	if (length + FRAME_LENGTH != octets || length > present ||
	    f->length_be != (f->kind & FRAME_LOOSE ? 0 : bpf_htons(length)))
		return REASON_REJECTED_FORMAT;
	if (!s || s->flags & SERVICE_TUNNEL)
		return REASON_REJECTED_INNER;
	o->flags = (s->flags & 7) | (__u32)s->quic_port_be << 8 | o->inner6 << 31;
	if (o->protocol == IPPROTO_TCP) {
		if (!(s->flags & SERVICE_TCP) || tcp_flags & 0x02)
			return REASON_REJECTED_INNER;
	} else if (o->protocol == IPPROTO_UDP) {
		if (!(s->flags & SERVICE_QUIC) || to_port != s->quic_port_be)
			return REASON_REJECTED_INNER;
	} else if (o->protocol != (o->inner6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP) || !(s->flags & SERVICE_TCP)) {
		return REASON_REJECTED_INNER;
	}

	__u64 tag;
	if (o->inner6) {
		if (inner + 60 > end)
			return REASON_REJECTED_FORMAT;
		tag = frame_mac(key, f, inner, 1, o->protocol, c->me);
	} else {
		tag = frame_mac(key, f, inner, 0, o->protocol, c->me);
	}
	if (tag != ((__u64)f->tag[1] << 32 | f->tag[0]))
		return REASON_REJECTED_MAC;
	__u64 now = monotonic(c);
	__u32 age = frame_time(c, now) - bpf_ntohl(f->time_be) + AGE_FUTURE;
	if (age > AGE_PAST + AGE_FUTURE)
		return REASON_REJECTED_AGE;
	__u64 *full_at = bpf_map_lookup_elem(&PEER_BUDGET, &sender);
	if (!full_at || !within(full_at, now, c->peer_cost, c->peer_burst))
		return REASON_LIMITED_PEER;

	/* RFC 6040, section 4.2: congestion met on the way is handed on. */
	__u32 outer_class = outer6 ? bpf_ntohl(*(const __u32 *)outer) >> 20 : ((const __u8 *)outer)[1];
	__u32 inner_class = o->inner6 ? bpf_ntohl(*(const __u32 *)inner) >> 20 : ((const __u8 *)inner)[1];
	o->congested = 0;
	if ((outer_class & 3) == 3 && (inner_class & 3) != 3) {
		if (!(inner_class & 3))
			return REASON_REJECTED_ECN;
		o->congested = 1;
	}
	o->from = (ring ? FROM_RING : FROM_HINT) | origin << 8 | (__u32)f->asked << 16 | hops << 24;
	struct site_counters *counters = bpf_map_lookup_elem(&SITE_COUNTERS, &sender);
	if (counters)
		counters->received++;
	count(REASON_UNWRAPPED);
	return 0;
}

/* Whether what came in a frame belongs to a connection whose socket was found before. */
INLINE int is_noted(const struct config *c, const void *l3, const void *end, const struct opened *o)
{
	if (o->protocol != IPPROTO_TCP ||
	    !(o->inner6 ? is_mine(c, l3, end, 1) : is_mine(c, l3, end, 0)))
		return 0;
	count(REASON_OWN_ID);
	return 1;
}

/* Sets the ECN field of an inner packet to "congestion experienced". */
INLINE void mark_congested(void *inner, int inner6)
{
	if (inner6) {
		*(__u32 *)inner |= bpf_htonl(3 << 20);
		return;
	}
	struct iphdr *ip = inner;
	__u16 was = *(__u16 *)ip;
	ip->tos |= 3;
	ip->check = ~fold((__u16)~ip->check + (__u16)~was + *(__u16 *)ip);
}
