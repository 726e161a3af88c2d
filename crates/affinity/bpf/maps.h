/* The maps. Their names are what the loader asks for; none is ever replaced while pinned. */
#define INLINE static __always_inline

#define ONE(name, type_of) \
	struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); \
		__type(key, __u32); __type(value, type_of); } name SEC(".maps")
#define MANY(name, kind, count, type_of) \
	struct { __uint(type, kind); __uint(max_entries, count); \
		__type(key, __u32); __type(value, type_of); } name SEC(".maps")

ONE(CONFIG, struct config);
ONE(SERVICES, struct services);
ONE(AES, struct aes_tables);
MANY(PEERS, BPF_MAP_TYPE_ARRAY, MAX_SITES, struct peer);
MANY(NEXT_HOPS, BPF_MAP_TYPE_PERCPU_ARRAY, MAX_SITES, struct next_hop);
MANY(COUNTERS, BPF_MAP_TYPE_PERCPU_ARRAY, 1, struct counters);
MANY(SITE_COUNTERS, BPF_MAP_TYPE_PERCPU_ARRAY, MAX_SITES, struct site_counters);
/* Budgets: when the bucket will be full again, ns of the monotonic clock (as in GCRA). */
MANY(SITE_BUDGET, BPF_MAP_TYPE_ARRAY, MAX_SITES, __u64);
MANY(RING_BUDGET, BPF_MAP_TYPE_ARRAY, MAX_SITES, __u64);
MANY(PEER_BUDGET, BPF_MAP_TYPE_ARRAY, MAX_SITES, __u64);
MANY(SOURCE_BUDGET, BPF_MAP_TYPE_ARRAY, SOURCE_BUCKETS, __u64);
/* Connections that were found to have a socket here, by a part of their hash: so that it need not be
 * looked for with each packet. Not pinned; whatever is missing is looked for again. */
MANY(SEEN, BPF_MAP_TYPE_ARRAY, SEEN_SLOTS, __u32);
/* How XDP hangs at an interface, by its index (WAY_*); at tc there is nothing to tell. Not pinned: the
 * loader writes it when it attaches. */
MANY(WAYS, BPF_MAP_TYPE_HASH, MAX_WAYS, __u32);

INLINE const struct config *the_config(void)
{
	__u32 zero = 0;
	return bpf_map_lookup_elem(&CONFIG, &zero);
}

INLINE void count(__u32 reason)
{
	__u32 zero = 0;
	struct counters *counters = bpf_map_lookup_elem(&COUNTERS, &zero);
	if (counters && reason < REASON_COUNT)
		counters->of[reason]++;
}

/* Monotonic, and cheap: a few ms coarse, which budgets and ages do not mind. */
INLINE __u64 monotonic(const struct config *c)
{
#ifdef TEST_CLOCK
	return c->test_now;
#else
	return bpf_ktime_get_coarse_ns();
#endif
}

/* The service (or tunnel address) at an address, or NULL. The loader has chosen multipliers for
 * which no two addresses share a slot. */
INLINE const struct service *service_at(const struct config *c, __u64 hi, __u64 lo)
{
	__u32 zero = 0;
	const struct services *s = bpf_map_lookup_elem(&SERVICES, &zero);
	if (!s)
		return 0;
	__u32 slot = (hi * c->slot_hi + lo * c->slot_lo) >> 53;
	__u8 index = s->slot[slot & (SERVICE_SLOTS - 1)];
	if (!index)
		return 0;
	const struct service *found = &s->list[index];
	return found->hi == hi && found->lo == lo ? found : 0;
}

INLINE __u64 mapped4(__u32 address_be)
{
	return (__u64)address_be << 32 | 0xffff0000;
}

/* The place of a connection in SEEN, and what is noted there. */
struct mark { __u32 slot, tag; };

INLINE struct mark mark_of(const struct config *c, __u64 source, __u64 destination, __u32 ports)
{
	__u64 h = (source ^ c->seed) * 0x9e3779b97f4a7c15ULL;
	h = (h ^ h >> 29 ^ destination ^ (__u64)ports << 16) * 0xbf58476d1ce4e5b9ULL;
	h ^= h >> 32;
	h *= 0x94d049bb133111ebULL;
	struct mark m = { .slot = h >> 48 & (SEEN_SLOTS - 1), .tag = (__u32)h | 1 };
	return m;
}

/* Takes `cost` from a bucket shared by all CPUs. A lost race lets one packet through uncounted:
 * the limit is soft by at most the number of CPUs. */
INLINE int within(__u64 *full_at, __u64 now, __u64 cost, __u64 burst)
{
	if (!cost)
		return 1;
	__u64 was = *full_at;
	__u64 from = was > now ? was : now;
	if (from + cost - now > burst)
		return 0;
	__sync_val_compare_and_swap(full_at, was, from + cost);
	return 1;
}

INLINE int same16(const void *a, const void *b)
{
	const __u32 *x = a, *y = b;
	return !((x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) | (x[3] ^ y[3]));
}
