#include "test_support.h"

#include "proto/http_bytes.h"
#include "proto/http_head.h"

static void test_every_known_field_is_found_in_any_case(void **state)
{
	for (unsigned int id = 1; id < HTTP_FIELD_COUNT; id++) {
		struct str name = http_field_name((enum http_field_id)id);
		char upper[64];

		assert_in_range(name.len, 1, sizeof(upper));
		for (size_t i = 0; i < name.len; i++)
			upper[i] = name.ptr[i] >= 'a' && name.ptr[i] <= 'z'
					   ? (char)(name.ptr[i] - 32)
					   : name.ptr[i];
		assert_row(name.ptr, http_field_lookup(name) == id);
		assert_row(name.ptr, http_field_lookup(str_make(upper, name.len)) == id);
		upper[0] = name.ptr[0];
		assert_row(name.ptr, http_field_lookup(str_make(upper, name.len)) == id);
	}
}

static void test_names_that_are_not_in_the_table_are_other(void **state)
{
	static const char *const rows[] = {
		"",
		"x",
		"hos",
		"hosts",
		"Hast",
		"content_length",
		"content-lengtH ",
		"accept-charset",
		"accept-language",
		"x-request-id",
		"a-name-that-is-longer-than-all-in-the-table",
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_row(rows[i], http_field_lookup(str_from_cstr(rows[i])) == HTTP_FIELD_OTHER);
	/* CR differs from '-' only in the bit that also tells 'C' from 'c'. */
	assert_int_equal(http_field_lookup(STR("x\rreal-ip")), HTTP_FIELD_OTHER);
	assert_int_equal(http_field_lookup(STR_NULL), HTTP_FIELD_OTHER);
}

static void test_one_changed_byte_makes_a_name_unknown(void **state)
{
	for (unsigned int id = 1; id < HTTP_FIELD_COUNT; id++) {
		struct str name = http_field_name((enum http_field_id)id);
		char changed[64];

		for (size_t i = 0; i < name.len; i++) {
			memcpy(changed, name.ptr, name.len);
			changed[i] ^= 1;
			assert_row(name.ptr, http_field_lookup(str_make(changed, name.len)) != id);
		}
	}
}

static void test_h05_framing_routing_auth_and_cookie_fields_are_no_trailers(void **state)
{
	static const struct {
		const char *name;
		bool is_allowed;
	} rows[] = {
		{"X-Checksum", true},
		{"Server-Timing", true},
		{"grpc-status", true},
		{"Date", true},
		{"Content-Length", false},
		{"Transfer-Encoding", false},
		{"Trailer", false},
		{"Connection", false},
		{"TE", false},
		{"Upgrade", false},
		{"Host", false},
		{"Content-Type", false},
		{"Content-Encoding", false},
		{"Cache-Control", false},
		{"Authorization", false},
		{"Proxy-Authorization", false},
		{"WWW-Authenticate", false},
		{"Cookie", false},
		{"Set-Cookie", false},
		{"X-Forwarded-For", false},
		{"X-Real-IP", false},
		{"Forwarded", false},
		/* Applications that fold names see the same field. */
		{"Content_Length", false},
		{"x.forwarded.for", false},
		{"X_Real-IP", false},
		{"X-Forwarded-New", false},
		{"x_forwarded_new", false},
		{"Set_Cookie", false},
		{"Via", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct http_field field = {.name = str_from_cstr(rows[i].name)};

		field.id = http_field_lookup(field.name);
		assert_row(rows[i].name,
			   http_field_allowed_in_trailer(&field) == rows[i].is_allowed);
	}
}

static void test_h20_reserved_names_are_found_in_every_spelling(void **state)
{
	static const struct {
		const char *name;
		bool is_reserved;
	} rows[] = {
		{"X_Forwarded_For", true},
		{"x.forwarded.for", true},
		{"X-Forwarded.Proto", true},
		{"X-Forwarded", true},
		{"x_forwarded", true},
		{"X-Forwarded-New", true},
		{"X-ForwardedFor", true},
		{"x.real_ip", true},
		{"X_REAL_IP", true},
		{"Content_Length", true},
		{"transfer.encoding", true},
		{"Proxy_Connection", true},
		{"Keep_Alive", true},
		{"MAX_FORWARDS", true},
		{"HTTP2_Settings", true},
		{"CF_Connecting_IP", true},
		{"true_client_ip", true},
		{"", false},
		{"x", false},
		{"X-Forward", false},
		{"X-Real", false},
		{"X_Real_IPs", false},
		{"User_Agent", false},
		{"Set_Cookie", false},
		{"Accept", false},
		{"x-request-id", false},
		{"Content_Lengths", false},
		{"_", false},
		{"content-disposition", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_row(rows[i].name, http_name_is_reserved(str_from_cstr(rows[i].name)) ==
						 rows[i].is_reserved);
}

static void test_kinds_belong_to_their_field(void **state)
{
	assert_true(http_field_kinds(HTTP_FIELD_TE) & HTTP_FIELD_HOP);
	assert_true(http_field_kinds(HTTP_FIELD_COOKIE) & HTTP_FIELD_SENSITIVE);
	assert_true(http_field_kinds(HTTP_FIELD_X_REAL_IP) & HTTP_FIELD_FORWARD);
	assert_int_equal(http_field_kinds(HTTP_FIELD_DATE), 0);
	assert_int_equal(http_field_kinds(HTTP_FIELD_OTHER), 0);
	assert_int_equal(http_field_kinds(HTTP_FIELD_COUNT), 0);
	assert_str(http_field_name(HTTP_FIELD_X_REAL_IP), "x-real-ip");
	assert_str(http_field_name(HTTP_FIELD_COUNT), "");
}

static void test_methods_are_known_by_their_exact_case(void **state)
{
	static const struct {
		const char *name;
		enum http_method id;
	} rows[] = {
		{"GET", HTTP_METHOD_GET},	  {"HEAD", HTTP_METHOD_HEAD},
		{"POST", HTTP_METHOD_POST},	  {"PUT", HTTP_METHOD_PUT},
		{"DELETE", HTTP_METHOD_DELETE},	  {"OPTIONS", HTTP_METHOD_OPTIONS},
		{"PATCH", HTTP_METHOD_PATCH},	  {"TRACE", HTTP_METHOD_TRACE},
		{"CONNECT", HTTP_METHOD_CONNECT}, {"get", HTTP_METHOD_OTHER},
		{"Get", HTTP_METHOD_OTHER},	  {"GE", HTTP_METHOD_OTHER},
		{"GETS", HTTP_METHOD_OTHER},	  {"PROPFIND", HTTP_METHOD_OTHER},
		{"", HTTP_METHOD_OTHER},	  {"X", HTTP_METHOD_OTHER},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_row(rows[i].name,
			   http_method_lookup(str_from_cstr(rows[i].name)) == rows[i].id);
}

static void test_name_bytes_are_the_token_bytes_of_rfc_9110(void **state)
{
	for (unsigned int byte = 0; byte < 256; byte++) {
		char name[2] = {'a', (char)byte};
		bool is_tchar = byte && byte < 128 &&
				strchr("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
				       "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
				       (int)byte);

		if (http_name_is_valid(str_make(name, 2)) != is_tchar)
			fail_msg("byte 0x%02x", byte);
	}
	assert_false(http_name_is_valid(STR("")));
	assert_false(http_name_is_valid(STR_NULL));
}

/* At every place of a word and behind it, because values are looked at eight bytes at a time. */
static void test_h13_value_bytes_are_checked_at_every_position(void **state)
{
	for (unsigned int byte = 0; byte < 256; byte++) {
		bool is_allowed = byte == '\t' || (byte >= 0x20 && byte != 0x7f);

		for (size_t at = 0; at < 27; at++) {
			char value[27];

			memset(value, at % 2 ? 0xff : 'a', sizeof(value));
			value[at] = (char)byte;
			if (http_value_is_valid(str_make(value, sizeof(value))) != is_allowed)
				fail_msg("byte 0x%02x at %zu", byte, at);
			if (http_value_span(value, value + sizeof(value)) !=
			    value + (is_allowed ? sizeof(value) : at))
				fail_msg("span: byte 0x%02x at %zu", byte, at);
		}
	}
	assert_true(http_value_is_valid(STR("")));
	assert_true(http_value_is_valid(STR_NULL));
	assert_true(http_value_is_valid(STR("\t\t\t\t\t\t\t\t\t")));
	assert_false(http_value_is_valid(STR("\t\t\t\t\t\t\t\t\n")));
}

static void test_hex_digits_have_their_value(void **state)
{
	static const char digits[] = "0123456789abcdef";

	for (unsigned int byte = 0; byte < 256; byte++) {
		const char *found = byte ? strchr(digits, ascii_lower((char)byte)) : NULL;

		if (http_byte_hex((char)byte) != (found ? (int)(found - digits) : -1))
			fail_msg("byte 0x%02x", byte);
	}
}

static void test_connection_options_are_found_in_all_connection_fields(void **state)
{
	struct http_field fields[] = {
		{STR("Connection"), STR("close, X-Drop"), HTTP_FIELD_CONNECTION},
		{STR("Keep-Alive"), STR("x-other"), HTTP_FIELD_KEEP_ALIVE},
		{STR("connection"), STR(" ,\tupgrade"), HTTP_FIELD_CONNECTION},
	};
	struct http_head head = {.fields = fields, .field_count = ARRAY_SIZE(fields)};

	assert_true(http_head_connection_lists(&head, STR("x-drop")));
	assert_true(http_head_connection_lists(&head, STR("Upgrade")));
	assert_false(http_head_connection_lists(&head, STR("x-other")));
	assert_false(http_head_connection_lists(&head, STR("X-Dro")));
	assert_ptr_equal(http_head_find(&head, HTTP_FIELD_CONNECTION), &fields[0]);
	assert_ptr_equal(http_head_find(&head, HTTP_FIELD_KEEP_ALIVE), &fields[1]);
	assert_null(http_head_find(&head, HTTP_FIELD_HOST));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_known_field_is_found_in_any_case),
		cmocka_unit_test(test_names_that_are_not_in_the_table_are_other),
		cmocka_unit_test(test_one_changed_byte_makes_a_name_unknown),
		cmocka_unit_test(test_h05_framing_routing_auth_and_cookie_fields_are_no_trailers),
		cmocka_unit_test(test_h20_reserved_names_are_found_in_every_spelling),
		cmocka_unit_test(test_kinds_belong_to_their_field),
		cmocka_unit_test(test_methods_are_known_by_their_exact_case),
		cmocka_unit_test(test_name_bytes_are_the_token_bytes_of_rfc_9110),
		cmocka_unit_test(test_h13_value_bytes_are_checked_at_every_position),
		cmocka_unit_test(test_hex_digits_have_their_value),
		cmocka_unit_test(test_connection_options_are_found_in_all_connection_fields),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
