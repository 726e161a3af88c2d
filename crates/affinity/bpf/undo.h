/* For benches: a program that is run many times on one packet must leave it as it was. What that
 * costs is measured by the two programs at the end, and taken off. */

#define KEPT_WORDS 16

struct kept {
	__u64 word[KEPT_WORDS];
};
MANY(KEPT, BPF_MAP_TYPE_PERCPU_ARRAY, 1, struct kept);

INLINE int keep(struct xdp_md *ctx, struct kept **kept, long *length)
{
	__u32 zero = 0;
	struct kept *k = bpf_map_lookup_elem(&KEPT, &zero);
	__u64 *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	if (!k || (void *)(data + KEPT_WORDS) > end)
		return 0;
	long n = end - (void *)data;
	/* Or the compiler takes the difference apart, and adds pointers. */
	asm volatile("" : "+r"(n));
	*length = n;
#pragma unroll
	for (int i = 0; i < KEPT_WORDS; i++)
		k->word[i] = data[i];
	*kept = k;
	return 1;
}

INLINE void undo(struct xdp_md *ctx, struct kept *k, long length)
{
	long surplus = (void *)(long)ctx->data_end - (void *)(long)ctx->data;
	asm volatile("" : "+r"(surplus));
	surplus -= length;
	if (surplus && surplus < 200 && surplus > -200)
		bpf_xdp_adjust_head(ctx, surplus);
	__u64 *data = (void *)(long)ctx->data;
	void *end = (void *)(long)ctx->data_end;
	if ((void *)(data + KEPT_WORDS) > end)
		return;
#pragma unroll
	for (int i = 0; i < KEPT_WORDS; i++)
		data[i] = k->word[i];
}

SEC("xdp")
int bench_anycast(struct xdp_md *ctx)
{
	struct kept *kept;
	long length;
	if (!keep(ctx, &kept, &length))
		return XDP_ABORTED;
	int verdict = xdp_ingress(ctx);
	undo(ctx, kept, length);
	return verdict;
}

SEC("xdp")
int bench_nothing(struct xdp_md *ctx)
{
	return XDP_PASS;
}

SEC("xdp")
int bench_copy(struct xdp_md *ctx)
{
	struct kept *kept;
	long length;
	if (!keep(ctx, &kept, &length))
		return XDP_ABORTED;
	undo(ctx, kept, length);
	return XDP_PASS;
}

/* Room for the headers and no more; undo() takes it away again. */
SEC("xdp")
int bench_move(struct xdp_md *ctx)
{
	struct kept *kept;
	long length;
	if (!keep(ctx, &kept, &length) || bpf_xdp_adjust_head(ctx, -OUTER4_LENGTH))
		return XDP_ABORTED;
	undo(ctx, kept, length);
	return XDP_PASS;
}
