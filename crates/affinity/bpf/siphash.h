/* SipHash-2-4 (Aumasson and Bernstein, 2012) of messages of four or seven 64-bit words. */
#define ROTATE(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define SIP_ROUND \
	do { \
		v0 += v1; v2 += v3; v1 = ROTATE(v1, 13); v3 = ROTATE(v3, 16); v1 ^= v0; v3 ^= v2; \
		v0 = ROTATE(v0, 32); v2 += v1; v0 += v3; v1 = ROTATE(v1, 17); v3 = ROTATE(v3, 21); \
		v1 ^= v2; v3 ^= v0; v2 = ROTATE(v2, 32); \
	} while (0)
#define SIP_WORD(m) do { v3 ^= (m); SIP_ROUND; SIP_ROUND; v0 ^= (m); } while (0)
#define SIP_START \
	__u64 v0 = key[0] ^ 0x736f6d6570736575ULL, v1 = key[1] ^ 0x646f72616e646f6dULL, \
	      v2 = key[0] ^ 0x6c7967656e657261ULL, v3 = key[1] ^ 0x7465646279746573ULL
#define SIP_END(octets) \
	SIP_WORD((__u64)(octets) << 56); v2 ^= 0xff; SIP_ROUND; SIP_ROUND; SIP_ROUND; SIP_ROUND; \
	return v0 ^ v1 ^ v2 ^ v3

static __noinline __u64 siphash4(const __u64 *key, const __u64 *m)
{
	if (!key || !m)
		return 0;
	SIP_START;
	SIP_WORD(m[0]); SIP_WORD(m[1]); SIP_WORD(m[2]); SIP_WORD(m[3]);
	SIP_END(32);
}

static __noinline __u64 siphash7(const __u64 *key, const __u64 *m)
{
	if (!key || !m)
		return 0;
	SIP_START;
	SIP_WORD(m[0]); SIP_WORD(m[1]); SIP_WORD(m[2]); SIP_WORD(m[3]);
	SIP_WORD(m[4]); SIP_WORD(m[5]); SIP_WORD(m[6]);
	SIP_END(56);
}
