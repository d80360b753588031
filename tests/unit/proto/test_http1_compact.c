#include <stdio.h>
#include <stdlib.h>

#include "proto/http1/compact.h"
#include "test_support.h"

static size_t random_up_to(size_t most, size_t left)
{
	size_t len = (size_t)rand() % most + 1;

	return len < left ? len : left;
}

static void test_one_view_holds_the_data_of_all_chunks(void **state)
{
	char bytes[] = "5\r\nhello\r\n1\r\n,\r\n6;x=y\r\n world\r\n0\r\n\r\nGET /next";
	struct http1_body body;
	struct str data;
	size_t consumed;

	http1_body_init(&body, HTTP_FRAMING_CHUNKED, 0, &http1_limits_default);
	assert_int_equal(http1_body_compact(&body, bytes, sizeof(bytes) - 1, &consumed, &data),
			 HTTP1_BODY_DONE);
	assert_str(data, "hello, world");
	assert_string_equal(bytes + consumed, "GET /next"); /* the next request is not touched */
	http1_body_done(&body);
}

static void test_a_body_of_known_length_is_not_moved(void **state)
{
	char bytes[] = "0123456789";
	struct http1_body body;
	struct str data;
	size_t consumed;

	http1_body_init(&body, HTTP_FRAMING_LENGTH, 8, &http1_limits_default);
	assert_int_equal(http1_body_compact(&body, bytes, 5, &consumed, &data), HTTP1_BODY_MORE);
	assert_ptr_equal(data.ptr, bytes);
	assert_int_equal(data.len, 5);
	assert_int_equal(http1_body_compact(&body, bytes + 5, 5, &consumed, &data),
			 HTTP1_BODY_DONE);
	assert_int_equal(consumed, 3);
	assert_int_equal(data.len, 3);
}

static void test_no_body_is_over_before_its_first_byte(void **state)
{
	char bytes[] = "GET /next";
	struct http1_body body;
	struct str data;
	size_t consumed;

	http1_body_init(&body, HTTP_FRAMING_NONE, 0, &http1_limits_default);
	assert_int_equal(http1_body_compact(&body, bytes, 0, &consumed, &data), HTTP1_BODY_DONE);
	assert_int_equal(http1_body_compact(&body, bytes, 9, &consumed, &data), HTTP1_BODY_DONE);
	assert_int_equal(consumed, 0);
	assert_int_equal(data.len, 0);
}

static void test_broken_framing_is_reported(void **state)
{
	char bytes[] = "5\r\nhello\r\nzz\r\n";
	struct http1_body body;
	struct str data;
	size_t consumed;

	http1_body_init(&body, HTTP_FRAMING_CHUNKED, 0, &http1_limits_default);
	assert_int_equal(http1_body_compact(&body, bytes, sizeof(bytes) - 1, &consumed, &data),
			 -HTTP1_E_CHUNK_SIZE);
	http1_body_done(&body);
}

/* Random chunks in random receive buffers: what comes out is what went in. */
static void test_any_chunking_in_any_pieces_gives_the_same_bytes(void **state)
{
	static char plain[20000], wire[140000], piece[140000], result[20000];

	srand(20261124);
	for (unsigned int round = 0; round < 300; round++) {
		size_t plain_len = (size_t)rand() % sizeof(plain), wire_len = 0, result_len = 0;
		struct http1_body body;
		int event = HTTP1_BODY_MORE;

		for (size_t i = 0; i < plain_len; i++)
			plain[i] = (char)rand();
		for (size_t i = 0; i < plain_len;) {
			size_t most = round % 3 ? 5000 : 3;
			size_t len = random_up_to(most, plain_len - i);

			wire_len += (size_t)snprintf(wire + wire_len, 20, "%zx\r\n", len);
			memcpy(wire + wire_len, plain + i, len);
			memcpy(wire + wire_len + len, "\r\n", 2);
			wire_len += len + 2;
			i += len;
		}
		memcpy(wire + wire_len, "0\r\n\r\n", 5);
		wire_len += 5;

		http1_body_init(&body, HTTP_FRAMING_CHUNKED, 0, &http1_limits_default);
		for (size_t pos = 0; pos < wire_len;) {
			size_t len = random_up_to(round % 2 ? 7 : 16384, wire_len - pos);
			struct str data;
			size_t consumed;

			assert_int_equal(event, HTTP1_BODY_MORE);
			memcpy(piece, wire + pos, len);
			event = http1_body_compact(&body, piece, len, &consumed, &data);
			assert_true(event >= 0);
			assert_int_equal(consumed, len);
			memcpy(result + result_len, data.ptr, data.len);
			result_len += data.len;
			pos += len;
		}
		assert_int_equal(event, HTTP1_BODY_DONE);
		assert_int_equal(result_len, plain_len);
		assert_memory_equal(result, plain, plain_len);
		http1_body_done(&body);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_view_holds_the_data_of_all_chunks),
		cmocka_unit_test(test_a_body_of_known_length_is_not_moved),
		cmocka_unit_test(test_no_body_is_over_before_its_first_byte),
		cmocka_unit_test(test_broken_framing_is_reported),
		cmocka_unit_test(test_any_chunking_in_any_pieces_gives_the_same_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
