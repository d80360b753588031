/* Content codings: what clients accept, and bodies there and back in pieces of any size. */
#include <errno.h>
#include <stdlib.h>

#include "test_support.h"

#include "proto/coding/coding.h"

static const struct {
	const char *accept;
	enum coding chosen;
} accepts[] = {
	{"", CODING_IDENTITY},
	{"gzip", CODING_GZIP},
	{"GZip", CODING_GZIP},
	{"x-gzip", CODING_GZIP},
	{"deflate", CODING_IDENTITY},
	{"gzip, br, zstd", CODING_ZSTD}, /* equal: the order of the offer */
	{"gzip, br", CODING_BR},
	{"gzip;q=1, br;q=0.9, zstd;q=0.899", CODING_GZIP},
	{"gzip;q=0.001", CODING_GZIP},
	{"gzip;q=0", CODING_IDENTITY},
	{"gzip;q=0.000", CODING_IDENTITY},
	{"*", CODING_ZSTD},
	{"*;q=0.5, zstd;q=0", CODING_BR},
	{"*;q=0", CODING_IDENTITY},
	{"identity, gzip;q=0.5", CODING_IDENTITY},
	{"identity;q=0.5, gzip;q=0.5", CODING_GZIP},
	{"identity;q=0, gzip;q=0.1", CODING_GZIP},
	{"gzip ; q=0.5 , br ; q = 1", CODING_GZIP}, /* that is no weight */
	{"gzip;q=2", CODING_IDENTITY},
	{"gzip;q=1.5", CODING_IDENTITY},
	{"gzip;q=-1", CODING_IDENTITY},
	{"gzip;q=0.5000", CODING_IDENTITY},
	{"gzip;q=", CODING_IDENTITY},
	{",;,gzip,,", CODING_GZIP},
	{"gzip;q=0.5;q=0", CODING_IDENTITY},
};

static void test_weights_and_then_our_order_decide(void **state)
{
	static const enum coding offered[] = {CODING_ZSTD, CODING_BR, CODING_GZIP};

	for (size_t i = 0; i < ARRAY_SIZE(accepts); i++) {
		struct coding_accept accept;

		coding_accept_init(&accept);
		coding_accept_add(&accept, str_from_cstr(accepts[i].accept));
		assert_row(accepts[i].accept,
			   coding_accept_choose(&accept, offered, ARRAY_SIZE(offered)) ==
				   accepts[i].chosen);
	}
}

#define BODY_BYTES  300000u
#define CODED_BYTES (BODY_BYTES + 4096)

struct bodies {
	char body[BODY_BYTES], coded[CODED_BYTES], decoded[BODY_BYTES + 16];
	size_t coded_len, decoded_len;
};

/* Text-like, so that it shrinks, with parts that do not. */
static struct bodies *bodies_new(void)
{
	struct bodies *bodies = calloc(1, sizeof(*bodies));
	unsigned int seed = 7;

	assert_non_null(bodies);
	for (size_t i = 0; i < BODY_BYTES; i++) {
		seed = seed * 1103515245 + 12345;
		bodies->body[i] = (i / 10000) % 5 == 4 ? (char)(seed >> 16) : "abcdef \n"[i % 7];
	}
	return bodies;
}

static int run(struct coder *coder, enum coder_step step, struct str in, size_t room, char *out,
	       size_t out_bytes, size_t *len)
{
	int r = 1;

	while (r > 0) {
		size_t got;

		r = coder_run(coder, step, &in, out + *len, MIN(room, out_bytes - *len), &got);
		*len += got;
		if (*len == out_bytes && r > 0)
			return -ENOSPC;
	}
	return r;
}

/* 0, or what failed. */
static int through(struct coder_cache *cache, enum coding coding, bool decodes, struct str body,
		   size_t piece, size_t room, bool flushes, char *out, size_t out_bytes,
		   size_t *ret_len)
{
	struct coder *coder = coder_get(cache, coding, decodes);
	int r = coder ? 0 : -ENOMEM;

	*ret_len = 0;
	for (size_t at = 0; at < body.len && !r; at += piece) {
		r = run(coder, CODER_FEED, str_sub(body, at, piece), room, out, out_bytes, ret_len);
		if (!r && flushes)
			r = run(coder, CODER_FLUSH, STR(""), room, out, out_bytes, ret_len);
	}
	if (!r)
		r = run(coder, CODER_FINISH, STR(""), room, out, out_bytes, ret_len);
	coder_put(cache, coder);
	return r;
}

static void test_bodies_go_there_and_back_in_pieces_of_any_size(void **state)
{
	static const struct {
		size_t piece, room;
		bool flushes;
	} ways[] = {{BODY_BYTES, CODED_BYTES, false},
		    {16384, 16384, true},
		    {997, 61, false},
		    {31, 16384, false}};
	struct bodies *bodies = bodies_new();
	size_t counted = 0;
	struct coder_cache cache = {.account = &counted};

	for (enum coding coding = CODING_GZIP; coding < CODING_COUNT; coding++) {
		for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
			assert_int_equal(through(&cache, coding, false,
						 str_make(bodies->body, BODY_BYTES), ways[i].piece,
						 ways[i].room, ways[i].flushes, bodies->coded,
						 CODED_BYTES, &bodies->coded_len),
					 0);
			assert_true(bodies->coded_len < BODY_BYTES / 2);
			assert_int_equal(through(&cache, coding, true,
						 str_make(bodies->coded, bodies->coded_len),
						 ways[i].piece, ways[i].room, false,
						 bodies->decoded, sizeof(bodies->decoded),
						 &bodies->decoded_len),
					 0);
			assert_int_equal(bodies->decoded_len, BODY_BYTES);
			assert_memory_equal(bodies->decoded, bodies->body, BODY_BYTES);
		}
	}
	assert_int_not_equal(counted, 0);
	coder_cache_trim(&cache);
	assert_int_equal(counted, 0);
	free(bodies);
}

static void test_flushed_bytes_can_be_read_at_once(void **state)
{
	struct coder_cache cache = {0};

	for (enum coding coding = CODING_GZIP; coding < CODING_COUNT; coding++) {
		struct coder *encoder = coder_get(&cache, coding, false);
		struct coder *decoder = coder_get(&cache, coding, true);
		char coded[4096], decoded[4096];

		for (unsigned int i = 0; i < 5; i++) {
			size_t coded_len = 0, decoded_len = 0;

			assert_int_equal(run(encoder, CODER_FEED, STR("event\n"), 4096, coded, 4096,
					     &coded_len),
					 0);
			assert_int_equal(
				run(encoder, CODER_FLUSH, STR(""), 4096, coded, 4096, &coded_len),
				0);
			assert_int_equal(run(decoder, CODER_FEED, str_make(coded, coded_len), 4096,
					     decoded, 4096, &decoded_len),
					 0);
			assert_str(str_make(decoded, decoded_len), "event\n");
		}
		coder_put(&cache, encoder);
		coder_put(&cache, decoder);
	}
	coder_cache_trim(&cache);
}

static void test_broken_and_cut_bodies_are_told(void **state)
{
	struct bodies *bodies = bodies_new();
	struct coder_cache cache = {0};

	for (enum coding coding = CODING_GZIP; coding < CODING_COUNT; coding++) {
		const char *row = coding_name(coding);
		size_t len;

		assert_int_equal(through(&cache, coding, false, str_make(bodies->body, 5000), 5000,
					 5000, false, bodies->coded, CODED_BYTES,
					 &bodies->coded_len),
				 0);
		/* Every beginning but the whole, the empty one included. */
		for (size_t cut = 0; cut < bodies->coded_len; cut += 1 + cut / 8)
			assert_row(row, through(&cache, coding, true, str_make(bodies->coded, cut),
						999, 999, false, bodies->decoded,
						sizeof(bodies->decoded), &len) == -EBADMSG);
		assert_row(row, through(&cache, coding, true, STR("no coding at all, but text"),
					999, 999, false, bodies->decoded, sizeof(bodies->decoded),
					&len) == -EBADMSG);
		memcpy(bodies->coded + bodies->coded_len, "rest", 4);
		assert_row(row, through(&cache, coding, true,
					str_make(bodies->coded, bodies->coded_len + 4), CODED_BYTES,
					999, false, bodies->decoded, sizeof(bodies->decoded),
					&len) == -EBADMSG);
	}
	coder_cache_trim(&cache);
	free(bodies);
}

static int there_and_back(void *arg)
{
	struct bodies *bodies = arg;
	size_t counted = 0;
	struct coder_cache cache = {.account = &counted};
	int r = 0;

	for (enum coding coding = CODING_GZIP; coding < CODING_COUNT && !r; coding++) {
		r = through(&cache, coding, false, str_make(bodies->body, 20000), 20000, 30000,
			    false, bodies->coded, CODED_BYTES, &bodies->coded_len);
		if (!r)
			r = through(&cache, coding, true,
				    str_make(bodies->coded, bodies->coded_len), CODED_BYTES, 30000,
				    false, bodies->decoded, sizeof(bodies->decoded),
				    &bodies->decoded_len);
		if (!r)
			assert_memory_equal(bodies->decoded, bodies->body, 20000);
	}
	coder_cache_trim(&cache);
	assert_int_equal(counted, 0);
	return r;
}

static void test_each_allocation_may_fail(void **state)
{
	struct bodies *bodies = bodies_new();

	assert_true(test_failing_each_allocation(there_and_back, bodies) >= 6);
	free(bodies);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_weights_and_then_our_order_decide),
		cmocka_unit_test(test_bodies_go_there_and_back_in_pieces_of_any_size),
		cmocka_unit_test(test_flushed_bytes_can_be_read_at_once),
		cmocka_unit_test(test_broken_and_cut_bodies_are_told),
		cmocka_unit_test(test_each_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
