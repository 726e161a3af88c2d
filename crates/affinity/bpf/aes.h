/* AES-128 decryption of one block (FIPS 197, equivalent inverse cipher) by tables that the loader
 * fills in. `state` is four big-endian words. Timing depends on the tables' cache lines: what the
 * key protects is which site an id names, not a secret of the connection. */
#define AES_COLUMN(a, b, c, d, n) \
	(t->round[0][((a) >> 24) & 0xff] ^ t->round[1][((b) >> 16) & 0xff] ^ \
	 t->round[2][((c) >> 8) & 0xff] ^ t->round[3][(d) & 0xff] ^ key->aes[n])
#define AES_ROUND(n) do { \
		__u32 p = AES_COLUMN(a, d, c, b, n), q = AES_COLUMN(b, a, d, c, n + 1), \
		      r = AES_COLUMN(c, b, a, d, n + 2), s = AES_COLUMN(d, c, b, a, n + 3); \
		a = p; b = q; c = r; d = s; \
	} while (0)

/* The first word of the plaintext: the server id. Zero if there are no tables. */
static __noinline __u32 aes_first_word(const struct key *key, const __u32 *state)
{
	__u32 zero = 0;
	const struct aes_tables *t = bpf_map_lookup_elem(&AES, &zero);
	if (!t || !key || !state)
		return 0;
	__u32 a = state[0] ^ key->aes[0], b = state[1] ^ key->aes[1],
	      c = state[2] ^ key->aes[2], d = state[3] ^ key->aes[3];
	AES_ROUND(4); AES_ROUND(8); AES_ROUND(12); AES_ROUND(16); AES_ROUND(20);
	AES_ROUND(24); AES_ROUND(28); AES_ROUND(32); AES_ROUND(36);
	return ((__u32)t->last[(a >> 24) & 0xff] << 24 | (__u32)t->last[(d >> 16) & 0xff] << 16 |
		(__u32)t->last[(c >> 8) & 0xff] << 8 | t->last[b & 0xff]) ^ key->aes[40];
}
