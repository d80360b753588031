/* Fields of requests and answers, changed by policies. */
#include "exchange_fixture.h"

#include "http/field_edit.h"

static void show(const struct http_field *fields, unsigned int count, char *room, size_t room_bytes)
{
	size_t len = 0;

	room[0] = '\0';
	for (unsigned int i = 0; i < count; i++)
		len += (size_t)snprintf(room + len, room_bytes - len, "%.*s=%.*s ",
					STR_FMT(fields[i].name), STR_FMT(fields[i].value));
}

static struct exchange *begin(void **state, struct http_field *fields, unsigned int count)
{
	return exchange_fixture_begin(*state, "/", fields, count);
}

static void test_names_are_compared_folded(void **state)
{
	static const struct {
		const char *left, *right;
		bool equal;
	} rows[] = {
		{"x-user", "X_User", true},  {"x-user", "x.user", true},
		{"x-user", "x-use", false},  {"x-user", "x-user ", false},
		{"x-user", "xxuser", false}, {"", "", true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_row(rows[i].right,
			   field_name_equal_folded(str_from_cstr(rows[i].left),
						   str_from_cstr(rows[i].right)) == rows[i].equal);
}

static void test_what_clients_sent_under_our_names_is_stripped(void **state)
{
	static const struct str owned[] = {{"x-user", 6}, {"x-role", 6}};
	struct http_field fields[] = {
		{STR("X_User"), STR("root"), HTTP_FIELD_OTHER},
		{STR("accept"), STR("*/*"), HTTP_FIELD_ACCEPT},
		{STR("x.role"), STR("admin"), HTTP_FIELD_OTHER},
		{STR("X-User"), STR("too"), HTTP_FIELD_OTHER},
	};
	struct exchange *exchange = begin(state, fields, ARRAY_SIZE(fields));
	char text[256];

	assert_true(request_field_add(exchange, STR("x-user"), STR("ours")));
	request_fields_strip(exchange, owned, ARRAY_SIZE(owned));
	show(exchange->request.fields, exchange->request.field_count, text, sizeof(text));
	assert_string_equal(text, "accept=*/* x-user=ours ");
	assert_int_equal(exchange->own_field_count, 1);
}

static void test_fields_of_ours_stand_behind_those_that_came(void **state)
{
	struct http_field fields[] = {
		{STR("a"), STR("1"), HTTP_FIELD_OTHER},
		{STR("b"), STR("2"), HTTP_FIELD_OTHER},
	};
	struct exchange *exchange = begin(state, fields, ARRAY_SIZE(fields));
	char text[512];

	assert_true(request_field_set(exchange, STR("A"), STR("3")));
	assert_true(request_field_add(exchange, STR("c"), STR("4")));
	assert_true(request_field_set(exchange, STR("c"), STR("5")));
	assert_int_equal(exchange->own_field_count, 2);
	request_field_remove(exchange, STR("b"));
	show(exchange->request.fields, exchange->request.field_count, text, sizeof(text));
	assert_string_equal(text, "A=3 c=5 ");
	request_field_remove(exchange, STR("a"));
	assert_int_equal(exchange->own_field_count, 1);
	for (int i = 0; i < 30; i++)
		assert_true(request_field_add(exchange, STR("n"), STR("v")));
	assert_int_equal(exchange->request.field_count, 31);
	assert_int_equal(exchange->own_field_count, 31);
	assert_str(exchange->request.fields[0].value, "5");
}

static void test_fields_of_an_answer_are_set_added_and_removed(void **state)
{
	static const struct http_field came[] = {
		{STR("Vary"), STR("accept"), HTTP_FIELD_OTHER},
		{STR("server"), STR("x"), HTTP_FIELD_SERVER},
		{STR("vary"), STR("origin"), HTTP_FIELD_OTHER},
	};
	static const struct http_field added = {STR("ratelimit"), STR("1"), HTTP_FIELD_OTHER};
	struct exchange_response response = {.fields = came, .field_count = ARRAY_SIZE(came)};
	struct exchange *exchange = begin(state, NULL, 0);
	char text[1024];

	assert_true(response_fields_own(exchange, &response, &added, 1));
	response_field_remove(&response, STR("VARY"));
	assert_true(response_field_set(exchange, &response, STR("server"), STR("y")));
	assert_null(response_field_find(&response, STR("vary")));
	assert_str(response_field_find(&response, STR("Server"))->value, "y");
	show(response.fields, response.field_count, text, sizeof(text));
	assert_string_equal(text, "ratelimit=1 server=y ");
	for (int i = 0; i < 30; i++)
		assert_true(response_field_add(exchange, &response, STR("n"), STR("v")));
	assert_int_equal(response.field_count, 32);
	assert_str(came[1].value, "x"); /* the source's own are as they were */
}

static void test_fields_that_frame_or_forward_may_not_be_edited(void **state)
{
	static const char *const refused[] = {"host",
					      "Content-Length",
					      "connection",
					      "te",
					      "upgrade",
					      "transfer-encoding",
					      "expect",
					      "x-forwarded-for",
					      "X_Forwarded_For",
					      "forwarded",
					      "via",
					      "content_length"};
	static const char *const allowed[] = {"x-user", "authorization", "cookie",  "content-type",
					      "server", "cache-control", "location"};

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		assert_row(refused[i], !field_may_be_edited(str_from_cstr(refused[i])));
	for (size_t i = 0; i < ARRAY_SIZE(allowed); i++)
		assert_row(allowed[i], field_may_be_edited(str_from_cstr(allowed[i])));
}

#define with_worker(test)                                                                          \
	cmocka_unit_test_setup_teardown(test, exchange_fixture_setup, exchange_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_are_compared_folded),
		with_worker(test_what_clients_sent_under_our_names_is_stripped),
		with_worker(test_fields_of_ours_stand_behind_those_that_came),
		with_worker(test_fields_of_an_answer_are_set_added_and_removed),
		cmocka_unit_test(test_fields_that_frame_or_forward_may_not_be_edited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
