/*
 * Content codings: the first byte says which; the rest is an Accept-Encoding, and a body that is
 * decoded in pieces. What comes out is never more than its user asked for, however large it wants
 * to be.
 */
#include <stdlib.h>

#include "proto/coding/coding.h"

#define OUT_MAX (1u << 20)

static char room[4096];

static void decode(enum coding coding, struct str in, size_t piece)
{
	struct coder_cache cache = {0};
	struct coder *coder = coder_get(&cache, coding, true);
	size_t out_bytes = 0;
	int r = 0;

	if (!coder)
		return;
	for (size_t at = 0; at < in.len && r == 0; at += piece) {
		struct str left = str_sub(in, at, piece);

		do {
			size_t len, before = left.len;

			r = coder_run(coder, CODER_FEED, &left, room, sizeof(room), &len);
			if (len > sizeof(room) || left.len > before)
				abort();
			out_bytes += len;
		} while (r > 0 && out_bytes < OUT_MAX);
	}
	coder_put(&cache, coder);
	coder_cache_trim(&cache);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const enum coding offered[] = {CODING_BR, CODING_GZIP};
	struct coding_accept accept;
	struct str in;

	if (size < 2)
		return 0;
	in = str_make((const char *)data + 2, size - 2);
	coding_accept_init(&accept);
	coding_accept_add(&accept, in);
	if (coding_accept_choose(&accept, offered, 2) == CODING_ZSTD)
		abort(); /* it was not offered */
	decode((enum coding)(CODING_GZIP + data[0] % 3), in, 1u + data[1]);
	return 0;
}
