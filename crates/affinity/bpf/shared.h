/* What the packet programs and the loader share: constants and the layout of every map's value.
 * src/layout.rs says the same in Rust; both sides assert the sizes and offsets. All integers are in
 * the machine's order unless a name ends in _be. */
#ifndef ANYCAST_SHARED_H
#define ANYCAST_SHARED_H

/* Raised whenever a layout changes: pinned maps of another version are never taken over. */
#define LAYOUT_VERSION 1

#define MAX_SITES 256
#define MAX_WAYS 256
#define MAX_SERVICES 255
#define SERVICE_SLOTS 2048
#define SOURCE_BUCKETS 65536
#define SEEN_SLOTS 65536

#define FRAME_LENGTH 20
#define OUTER4_LENGTH (20 + 8 + FRAME_LENGTH)
#define OUTER6_LENGTH (40 + 8 + FRAME_LENGTH)

/* Octet 0 of a frame: version 1 in the two highest bits, then three zero bits, then these. */
#define FRAME_VERSION 0x40
#define FRAME_FIXED 0xf8
#define FRAME_RING 1
#define FRAME_INNER6 2
#define FRAME_LOOSE 4

/* Age of a frame, in units of 2^30 ns, before and after the receiver's clock. */
#define AGE_PAST 8
#define AGE_FUTURE 4

struct key {
	__u64 mac[2];
	__u32 aes[44]; /* round keys of AES-128's equivalent inverse cipher, last round first */
	__u8 valid;
	__u8 epoch;
	__u8 pad[6];
};

struct config {
	__u64 wall_offset;  /* ns from the monotonic clock to the wall clock */
	__u64 test_now;     /* what the test programs take for the monotonic clock, ns */
	__u64 slot_hi;      /* multipliers of the service table's hash */
	__u64 slot_lo;
	__u64 source_cost;  /* ns of budget that a packet takes; 0: no limit */
	__u64 source_burst; /* ns */
	__u64 site_cost;
	__u64 site_burst;
	__u64 ring_cost;
	__u64 ring_burst;
	__u64 peer_cost;
	__u64 peer_burst;
	__u64 seed;         /* of the hash of sources */
	__u32 id_mask;
	__u8 me;
	__u8 next;          /* the next site of the ring; `me` if there is none */
	__u8 ring_size;     /* live sites, with this one */
	__u8 signing;       /* which key signs: 0 or 1 */
	__u16 port_be;
	__u16 mtu;          /* longest outer IP packet */
	__u16 mss4;         /* what a SYN-ACK may say at most; 0: leave it */
	__u16 mss6;
	__u64 tunnel6[2];   /* in memory order */
	__u32 tunnel4_be;
	__u8 pad[4];
	struct key keys[2]; /* by the lowest bit of the epoch */
};

struct peer {
	__u8 known;
	__u8 alive;
	__u8 next;
	__u8 outer6;   /* frames to it travel over IPv6 */
	__u8 has4;
	__u8 has6;
	__u8 pad[2];
	__u32 v4_be;
	__u32 exit;    /* the interface to it by the routes of what this host sends; 0: not known */
	__u64 v6[2];
};

#define SERVICE_TCP 1
#define SERVICE_QUIC 2
#define SERVICE_TUNNEL 4 /* not a service: this site's own tunnel address */

struct service {
	__u64 hi; /* the address in memory order; IPv4 as ::ffff:a.b.c.d */
	__u64 lo;
	__u16 quic_port_be;
	__u16 flags;
	__u8 pad[4];
};

struct services {
	__u8 slot[SERVICE_SLOTS]; /* index into list; 0: nothing */
	struct service list[MAX_SERVICES + 1];
};

struct next_hop {
	__u64 until; /* ns of the monotonic clock */
	__u32 ifindex;
	__u8 resolved;
	__u8 pad;
	__u8 destination[6];
	__u8 source[6];
	__u8 pad2[6];
};

struct aes_tables {
	__u32 round[4][256];
	__u8 last[256];
};

/* How XDP hangs at an interface. */
#define WAY_NATIVE 1
#define WAY_GENERIC 2

/* Why a packet went where it went. The order is that of `Counters` in Rust. */
#define REASONS(X) \
	X(SYN) X(OWN_ID) X(OWN_SOCKET) X(LAST_OF_RING) X(NO_PEER) X(NO_CONNECTION_ID) \
	X(FORWARDED_HINT) X(FORWARDED_RING) X(FORWARDED_QUIC) X(FORWARDED_ICMP) \
	X(UNWRAPPED) X(FRAGMENT) X(OPTIONS) X(MALFORMED) X(TOO_BIG) X(HOP_LIMIT) \
	X(LIMITED_SOURCE) X(LIMITED_SITE) X(LIMITED_RING) X(LIMITED_PEER) \
	X(REJECTED_FORMAT) X(REJECTED_SOURCE) X(REJECTED_EPOCH) X(REJECTED_MAC) X(REJECTED_AGE) \
	X(REJECTED_INNER) X(REJECTED_ECN) X(REJECTED_HOPS) \
	X(STAMPED) X(CLAMPED) X(COMPLETED_CHECKSUM) X(FAILED)

enum reason {
#define X(name) REASON_##name,
	REASONS(X)
#undef X
	REASON_COUNT
};

struct counters {
	__u64 of[REASON_COUNT];
};

struct site_counters {
	__u64 hint;     /* forwarded to it */
	__u64 ring;
	__u64 received; /* unwrapped from it */
	__u64 limited;
};

_Static_assert(sizeof(struct key) == 200, "key");
_Static_assert(sizeof(struct config) == 544, "config");
_Static_assert(__builtin_offsetof(struct config, id_mask) == 104, "config");
_Static_assert(__builtin_offsetof(struct config, port_be) == 112, "config");
_Static_assert(__builtin_offsetof(struct config, tunnel6) == 120, "config");
_Static_assert(__builtin_offsetof(struct config, keys) == 144, "config");
_Static_assert(sizeof(struct peer) == 32, "peer");
_Static_assert(__builtin_offsetof(struct peer, v4_be) == 8, "peer");
_Static_assert(__builtin_offsetof(struct peer, exit) == 12, "peer");
_Static_assert(__builtin_offsetof(struct peer, v6) == 16, "peer");
_Static_assert(sizeof(struct service) == 24, "service");
_Static_assert(sizeof(struct services) == 8192, "services");
_Static_assert(sizeof(struct next_hop) == 32, "next_hop");
_Static_assert(__builtin_offsetof(struct next_hop, destination) == 14, "next_hop");
_Static_assert(sizeof(struct site_counters) == 32, "site_counters");
_Static_assert(sizeof(struct aes_tables) == 4352, "aes_tables");
_Static_assert(REASON_COUNT == 32, "reasons");
#endif
