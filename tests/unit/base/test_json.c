#include "test_support.h"

#include <errno.h>
#include <math.h>

#include <jansson.h>

#include "base/json.h"

struct page {
	struct buf buf;
	struct json_writer json;
};

static int page_start(void **state)
{
	static struct page page;

	buf_init(&page.buf, 1 << 16);
	json_init(&page.json, &page.buf, false);
	*state = &page;
	return 0;
}

static int page_end(void **state)
{
	buf_done(&((struct page *)*state)->buf);
	return 0;
}

static void write_sample(struct json_writer *json)
{
	json_open_object(json, NULL);
	json_cstring(json, "name", "web");
	json_open_array(json, "ports");
	json_u64(json, NULL, 80);
	json_i64(json, NULL, -1);
	json_close_array(json);
	json_open_object(json, "empty");
	json_close_object(json);
	json_open_array(json, "none");
	json_close_array(json);
	json_bool(json, "up", true);
	json_nil(json, "down");
	json_cstring(json, "absent", NULL);
	json_key(json, STR("from data"));
	json_raw_number(json, NULL, STR("1.50e+3"));
	json_key(json, STR("inner"));
	json_open_array(json, NULL);
	json_double(json, NULL, 0.1);
	json_double(json, NULL, NAN);
	json_close_array(json);
	json_close_object(json);
}

static void test_compact_document_has_commas_where_they_belong(void **state)
{
	struct page *page = *state;

	write_sample(&page->json);
	assert_int_equal(json_finish(&page->json), 0);
	assert_str(buf_str(&page->buf),
		   "{\"name\":\"web\",\"ports\":[80,-1],\"empty\":{},\"none\":[],\"up\":true,"
		   "\"down\":null,\"absent\":null,\"from data\":1.50e+3,\"inner\":[0.1,null]}");
}

static void test_pretty_document_is_indented_and_the_same_data(void **state)
{
	struct page *page = *state;
	json_t *pretty, *plain;
	struct buf other;
	struct json_writer json;

	json_init(&page->json, &page->buf, true);
	write_sample(&page->json);
	assert_int_equal(json_finish(&page->json), 0);
	assert_true(str_starts_with(buf_str(&page->buf),
				    STR("{\n  \"name\": \"web\",\n  \"ports\": [\n    80,\n    -1\n"
					"  ],\n  \"empty\": {},\n  \"none\": [],\n")));
	buf_init(&other, 1 << 16);
	json_init(&json, &other, false);
	write_sample(&json);
	pretty = json_loadb(page->buf.data, page->buf.len, 0, NULL);
	plain = json_loadb(other.data, other.len, 0, NULL);
	assert_non_null(pretty);
	assert_true(json_equal(pretty, plain));
	json_decref(pretty);
	json_decref(plain);
	buf_done(&other);
}

static void test_strings_are_escaped_and_bad_utf8_is_replaced(void **state)
{
	static const struct {
		const char *value, *written;
	} rows[] = {
		{"", "\"\""},
		{"a\"b\\c/", "\"a\\\"b\\\\c/\""},
		{"\n\r\t\x01\x1f\x7f", "\"\\n\\r\\t\\u0001\\u001f\\u007f\""},
		{"h\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80",
		 "\"h\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80\""},
		{"\xff", "\"\xef\xbf\xbd\""},
		{"a\xc3", "\"a\xef\xbf\xbd\""},
		{"\xc0\xaf", "\"\xef\xbf\xbd\xef\xbf\xbd\""},		      /* overlong */
		{"\xed\xa0\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""}, /* surrogate */
		{"\xf4\x90\x80\x80", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
		{"\xe2\x82(", "\"\xef\xbf\xbd\xef\xbf\xbd(\""},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct page *page = *state;

		buf_reset(&page->buf);
		json_init(&page->json, &page->buf, false);
		json_cstring(&page->json, NULL, rows[i].value);
		assert_row(rows[i].written, json_finish(&page->json) == 0);
		assert_row(rows[i].written, str_eq_cstr(buf_str(&page->buf), rows[i].written));
	}
}

static void test_any_bytes_give_a_document_that_a_parser_accepts(void **state)
{
	struct page *page = *state;
	char bytes[256];
	json_t *document;

	for (int i = 0; i < 256; i++)
		bytes[i] = (char)i;
	json_open_object(&page->json, NULL);
	json_key(&page->json, str_make(bytes + 1, 255));
	json_str(&page->json, NULL, str_make(bytes, sizeof(bytes)));
	json_close_object(&page->json);
	assert_int_equal(json_finish(&page->json), 0);
	document = json_loadb(page->buf.data, page->buf.len, JSON_ALLOW_NUL, NULL);
	assert_non_null(document);
	json_decref(document);
}

static void test_raw_numbers_follow_the_grammar(void **state)
{
	static const struct {
		const char *text;
		int result;
	} rows[] = {
		{"0", 0},
		{"-0", 0},
		{"10.25", 0},
		{"1E-7", 0},
		{"12345678901234567890123", 0},
		{"", -EINVAL},
		{"-", -EINVAL},
		{"01", -EINVAL},
		{"1.", -EINVAL},
		{".5", -EINVAL},
		{"1e", -EINVAL},
		{"+1", -EINVAL},
		{"1 ", -EINVAL},
		{"NaN", -EINVAL},
		{"1,2", -EINVAL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct page *page = *state;

		buf_reset(&page->buf);
		json_init(&page->json, &page->buf, false);
		json_raw_number(&page->json, NULL, str_from_cstr(rows[i].text));
		assert_row(rows[i].text, json_finish(&page->json) == rows[i].result);
	}
}

static void test_extreme_numbers_are_written_in_full(void **state)
{
	struct page *page = *state;

	json_open_array(&page->json, NULL);
	json_u64(&page->json, NULL, UINT64_MAX);
	json_i64(&page->json, NULL, INT64_MIN);
	json_double(&page->json, NULL, 1.0 / 3);
	json_double(&page->json, NULL, -INFINITY);
	json_close_array(&page->json);
	assert_int_equal(json_finish(&page->json), 0);
	assert_str(buf_str(&page->buf),
		   "[18446744073709551615,-9223372036854775808,0.33333333333333331,null]");
}

static void misuse_left_open(struct json_writer *json)
{
	json_open_object(json, NULL);
}

static void misuse_nothing(struct json_writer *json)
{
}

static void misuse_two_documents(struct json_writer *json)
{
	json_u64(json, NULL, 1);
	json_u64(json, NULL, 2);
}

static void misuse_member_without_name(struct json_writer *json)
{
	json_open_object(json, NULL);
	json_u64(json, NULL, 1);
	json_close_object(json);
}

static void misuse_name_in_array(struct json_writer *json)
{
	json_open_array(json, NULL);
	json_u64(json, "x", 1);
	json_close_array(json);
}

static void misuse_wrong_bracket(struct json_writer *json)
{
	json_open_array(json, NULL);
	json_close_object(json);
}

static void misuse_key_without_value(struct json_writer *json)
{
	json_open_object(json, NULL);
	json_key(json, STR("x"));
	json_close_object(json);
}

static void test_misuse_is_reported_instead_of_writing_nonsense(void **state)
{
	static const struct {
		const char *name;
		void (*write)(struct json_writer *json);
	} rows[] = {
		{"left open", misuse_left_open},
		{"nothing", misuse_nothing},
		{"two documents", misuse_two_documents},
		{"member without name", misuse_member_without_name},
		{"name in array", misuse_name_in_array},
		{"wrong bracket", misuse_wrong_bracket},
		{"key without value", misuse_key_without_value},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct page *page = *state;

		json_init(&page->json, &page->buf, false);
		rows[i].write(&page->json);
		assert_row(rows[i].name, json_finish(&page->json) == -EPROTO);
	}
}

static void test_depth_is_limited(void **state)
{
	struct page *page = *state;

	for (int i = 0; i < JSON_DEPTH_MAX; i++)
		json_open_array(&page->json, NULL);
	assert_int_equal(page->json.failed, 0);
	json_open_array(&page->json, NULL);
	assert_int_equal(json_finish(&page->json), -E2BIG);
}

static void test_full_buffer_makes_finish_fail(void **state)
{
	struct page *page = *state;

	page->buf.cap_bytes = 10;
	write_sample(&page->json);
	assert_int_equal(json_finish(&page->json), -EMSGSIZE);
	page->buf.cap_bytes = 1 << 16;
}

#define paged(test) cmocka_unit_test_setup_teardown(test, page_start, page_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		paged(test_compact_document_has_commas_where_they_belong),
		paged(test_pretty_document_is_indented_and_the_same_data),
		paged(test_strings_are_escaped_and_bad_utf8_is_replaced),
		paged(test_any_bytes_give_a_document_that_a_parser_accepts),
		paged(test_raw_numbers_follow_the_grammar),
		paged(test_extreme_numbers_are_written_in_full),
		paged(test_misuse_is_reported_instead_of_writing_nonsense),
		paged(test_depth_is_limited),
		paged(test_full_buffer_makes_finish_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
