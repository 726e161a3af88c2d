/* A walk over TCP options, whatever their order: a callback that the verifier looks at once. */
struct walk {
	__u8 octets[64];
	__u32 at, length, mss, timestamp;
};

static long walk_step(__u32 n, void *context)
{
	struct walk *w = context;
	__u32 at = w->at;
	if (at > 39 || at >= w->length)
		return 1;
	__u8 kind = w->octets[at];
	if (kind == 0)
		return 1;
	if (kind == 1) {
		w->at = at + 1;
		return 0;
	}
	__u8 length = w->octets[at + 1];
	if (length < 2 || at + length > w->length)
		return 1;
	if (kind == 2 && length == 4 && !w->mss)
		w->mss = at + 2;
	if (kind == 8 && length == 10 && !w->timestamp)
		w->timestamp = at + 2;
	w->at = at + length;
	return 0;
}
