/* upstream/upstream_http2.h: heads and trailers on their way from HTTP/1 to HTTP/2. */
#include "test_support.h"

#include <errno.h>

#include "upstream/upstream_http2.h"

static struct arena arena;

static int setup(void **state)
{
	arena_init(&arena, 4096, 64 * 1024);
	return 0;
}

static int teardown(void **state)
{
	arena_done(&arena);
	return 0;
}

/* "name: value\n" of each. */
static const char *text_of(const nghttp2_nv *fields, unsigned int count)
{
	static char text[1024];
	size_t len = 0;

	text[0] = '\0';
	for (unsigned int i = 0; i < count; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "%.*s: %.*s\n",
					(int)fields[i].namelen, (const char *)fields[i].name,
					(int)fields[i].valuelen, (const char *)fields[i].value);
	return text;
}

static void test_heads(void **state)
{
	static const struct {
		const char *head;
		bool tls;
		const char *fields; /* NULL: it is refused */
	} rows[] = {
		{"GET /a?b=c HTTP/1.1\r\nHost: shop.test\r\nX-Ask: 1, 2\r\n\r\n", false,
		 ":authority: shop.test\n:method: GET\n:scheme: http\n:path: /a?b=c\nx-ask: 1, "
		 "2\n"},
		{"OPTIONS * HTTP/1.1\r\nA:  b \r\nhost: h:81\r\n\r\n", true,
		 ":authority: h:81\n:method: OPTIONS\n:scheme: https\n:path: *\na:  b \n"},
		/* A client of HTTP/1.0 need not say whom it asks (RFC 9113 8.3.1). */
		{"GET / HTTP/1.1\r\nA: b\r\n\r\n", false,
		 ":method: GET\n:scheme: http\n:path: /\na: b\n"},
		{"PUT / HTTP/1.1\r\nHost: h\r\nConnection: x\r\nTE: gzip\r\nTE: trailers\r\n"
		 "Keep-Alive: 1\r\nTransfer-Encoding: chunked\r\nUpgrade: y\r\n"
		 "Proxy-Connection: z\r\nContent-Length: 5\r\n\r\n",
		 false,
		 ":authority: h\n:method: PUT\n:scheme: http\n:path: /\nte: trailers\n"
		 "content-length: 5\n"},
		{"GET / HTTP/1.1\r\nHost: h\r\nA B: c\r\n\r\n", false, NULL},
		{"GET / HTTP/1.1\r\nHost: h\r\nA:c\r\n\r\n", false, NULL},
		{"GET / HTTP/1.1\r\nHost: h\r\nA: c\x01\r\n\r\n", false, NULL},
		{"GET / HTTP/1.1\nHost: h\n\n", false, NULL},
		{"GET /HTTP/1.1\r\nHost: h\r\n\r\n", false, NULL},
		{" / HTTP/1.1\r\nHost: h\r\n\r\n", false, NULL},
		{"", false, NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		nghttp2_nv *fields = NULL;
		unsigned int count = 0;
		int r = upstream_fields_read(&arena, str_from_cstr(rows[i].head), rows[i].tls,
					     &fields, &count);

		assert_row(rows[i].head, r == (rows[i].fields ? 0 : -EPROTO));
		if (rows[i].fields)
			assert_string_equal(text_of(fields, count), rows[i].fields);
	}
}

static void test_trailers_are_lower_case_and_valid(void **state)
{
	const struct http_field trailers[] = {
		{STR("X-Sum"), STR("42"), HTTP_FIELD_OTHER},
		{STR("x y"), STR("1"), HTTP_FIELD_OTHER},
		{STR("x-z"), STR("a\rb"), HTTP_FIELD_OTHER},
		{STR("x-w"), STR(""), HTTP_FIELD_OTHER},
	};
	nghttp2_nv *fields;
	unsigned int count;

	assert_int_equal(
		upstream_fields_trailers(&arena, trailers, ARRAY_SIZE(trailers), &fields, &count),
		0);
	assert_string_equal(text_of(fields, count), "x-sum: 42\nx-w: \n");
	/* The codec copies them: they may wait there longer than the call lives. */
	assert_int_equal(fields[0].flags, NGHTTP2_NV_FLAG_NONE);
}

static int read_in_small_arena(void *arg)
{
	static const struct http_field trailer = {STR("a"), STR("b"), HTTP_FIELD_OTHER};
	struct arena small;
	nghttp2_nv *fields;
	unsigned int count;
	int r;

	arena_init(&small, 4096, 64 * 1024);
	r = upstream_fields_read(&small, STR("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), false, &fields,
				 &count);
	if (!r)
		r = upstream_fields_trailers(&small, &trailer, 1, &fields, &count);
	arena_done(&small);
	return r;
}

static void test_each_failed_allocation_is_told(void **state)
{
	assert_true(test_failing_each_allocation(read_in_small_arena, NULL) >= 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_heads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_trailers_are_lower_case_and_valid, setup,
						teardown),
		cmocka_unit_test(test_each_failed_allocation_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
