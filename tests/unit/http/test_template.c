/* Text with variables: what is read, what is refused, and what values become in their places. */
#include "exchange_fixture.h"

#include <errno.h>

#include "conf/conf.h"
#include "http/template.h"

struct reading {
	struct conf_errors *errors;
	struct conf_doc *doc;
	struct arena arena;
	struct buf printed;
	int result;
	struct template template;
};

/* The text as a quoted scalar. */
static void read_text(struct reading *reading, const char *text, bool of_answer)
{
	struct field_context context = {0};
	char yaml[512];

	*reading = (struct reading){0};
	arena_init(&reading->arena, 0, 1 << 20);
	buf_init(&reading->printed, 1 << 16);
	reading->errors = conf_errors_new("t.yaml");
	(void)snprintf(yaml, sizeof(yaml), "v: '%s'\n", text);
	assert_int_equal(conf_load_string(str_from_cstr(yaml), reading->errors, &reading->doc), 0);
	context.errors = reading->errors;
	context.arena = &reading->arena;
	reading->result = template_read(&context, conf_get(reading->doc->root, "v"), "x: v",
					of_answer, &reading->template);
	assert_int_equal(conf_errors_print(reading->errors, &reading->printed), 0);
	assert_int_equal(buf_append(&reading->printed, str_make("", 1)), 0);
}

static void reading_done(struct reading *reading)
{
	buf_done(&reading->printed);
	conf_doc_free(reading->doc);
	conf_errors_free(reading->errors);
	arena_done(&reading->arena);
}

static const struct {
	const char *text;
	bool of_answer;
	const char *error;
} refused[] = {
	{"{request.pth}", false,
	 "t.yaml:1:4: x: v: variable 'request.pth' is not known; did you mean 'request.path'?"},
	{"{}", false, "variable '' is not known"},
	{"a{request.path", false, "a single '{'"},
	{"a}b", false, "a single '}'"},
	{"{header.}", false, "'{header.}': a header name must follow 'header.'"},
	{"{header.a b}", false, "a header name must follow 'header.'"},
	{"{claim.}", false, "the name of a claim must follow 'claim.'"},
	{"{response.status}", false, "there is no answer yet at this place"},
	{"{response.statu}", true, "did you mean 'response.status'?"},
	{"{request.path}{request.path}{request.path}{request.path}{request.path}{request.path}"
	 "{request.path}{request.path}{request.path}{request.path}{request.path}{request.path}"
	 "{request.path}{request.path}{request.path}{request.path}{request.path}{request.path}"
	 "{request.path}{request.path}{request.path}{request.path}{request.path}{request.path}"
	 "{request.path}{request.path}{request.path}{request.path}{request.path}{request.path}"
	 "{request.path}{request.path}{request.path}",
	 false, "more than 32 pieces"},
};

static void test_what_is_refused_is_told_with_its_place(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		struct reading reading;

		read_text(&reading, refused[i].text, refused[i].of_answer);
		assert_row(refused[i].text, reading.result == -EINVAL);
		if (!strstr(reading.printed.data, refused[i].error))
			print_error("%s", reading.printed.data);
		assert_row(refused[i].text, strstr(reading.printed.data, refused[i].error));
		reading_done(&reading);
	}
}

static struct identity_claim claims[] = {
	{.name = STR("sub"), .value = STR("ann")},
	{.name = STR("evil"), .value = STR("a\r\nx: y/../b?c=d&e%2e ü")},
};
static const struct identity_finding finding = {.scheme = "jwt",
						.consumer = STR("ann"),
						.claims = claims,
						.claim_count = ARRAY_SIZE(claims)};

static const struct {
	const char *text;
	enum template_place place;
	const char *expected;
} rows[] = {
	{"plain", TEMPLATE_HEADER, "plain"},
	{"", TEMPLATE_HEADER, ""},
	{" a ", TEMPLATE_HEADER, "a"},
	{" {claim.nobody} ", TEMPLATE_HEADER, ""},
	{"a&b {claim.sub}", TEMPLATE_QUERY, "a%26b%20ann"},
	{"a&b", TEMPLATE_QUERY, "a%26b"},
	{"a{{b}}c", TEMPLATE_HEADER, "a{b}c"},
	{"{{{claim.sub}}}", TEMPLATE_HEADER, "{ann}"},
	{"{claim.sub}", TEMPLATE_HEADER, "ann"},
	{"[{claim.nobody}]", TEMPLATE_HEADER, "[]"},
	{"{consumer}@{request.host}", TEMPLATE_HEADER, "ann@shop.example.com"},
	{"{request.method} {request.path} {request.query}", TEMPLATE_HEADER, "GET /a%20b q=1%26&r"},
	{"{client.address} {peer.address}", TEMPLATE_HEADER, "192.0.2.1 192.0.2.1"},
	{"{route.name} {listener.name} {request.scheme}", TEMPLATE_HEADER, "only web http"},
	{"{header.X-One}|{header.none}|{cookie.b}|{cookie.c}", TEMPLATE_HEADER, "1|||2"},
	{"{query.q}|{query.r}", TEMPLATE_HEADER, "1&|"},
	/* 13 and 29: text stays text. */
	{"{claim.evil}", TEMPLATE_HEADER, "a%0D%0Ax: y/../b?c=d&e%2e \xc3\xbc"},
	{"/u/{claim.evil}", TEMPLATE_PATH, "/u/a%0D%0Ax:%20y%2F..%2Fb%3Fc=d&e%252e%20%C3%BC"},
	{"{claim.evil}", TEMPLATE_QUERY, "a%0D%0Ax%3A%20y%2F..%2Fb%3Fc%3Dd%26e%252e%20%C3%BC"},
	{"/v{request.path}", TEMPLATE_PATH, "/v/a%20b"},
	{"/v/{query.q}", TEMPLATE_PATH, "/v/1&"},
	{"{query.q}", TEMPLATE_QUERY, "1%26"},
	{"{request.path}", TEMPLATE_QUERY, "%2Fa%20b"},
};

static void test_values_are_encoded_for_their_place(void **state)
{
	struct http_field fields[] = {
		{STR("x-one"), STR("1"), HTTP_FIELD_OTHER},
		{STR("cookie"), STR("a=1; c=2"), HTTP_FIELD_COOKIE},
	};
	struct exchange *exchange =
		exchange_fixture_begin(*state, "/a%20b?q=1%26&r", fields, ARRAY_SIZE(fields));

	assert_true(identity_add(&exchange->identity, STR("p"), &finding));
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct reading reading;
		struct str text;

		read_text(&reading, rows[i].text, false);
		assert_string_equal(reading.printed.data, "");
		text = template_text(&reading.template, exchange, NULL, rows[i].place);
		if (!str_eq_cstr(text, rows[i].expected))
			print_error("'%.*s'\n", STR_FMT(text));
		assert_row(rows[i].text, str_eq_cstr(text, rows[i].expected));
		reading_done(&reading);
	}
}

static void test_variables_of_the_answer_tell_of_it(void **state)
{
	static const struct http_field field = {STR("ETag"), STR("\"1\""), HTTP_FIELD_OTHER};
	const struct exchange_response response = {
		.status = 203, .fields = &field, .field_count = 1};
	struct exchange *exchange = exchange_fixture_begin(*state, "/", NULL, 0);
	struct reading reading;

	read_text(&reading, "{response.status} {response.header.etag} {response.header.x}", true);
	assert_string_equal(reading.printed.data, "");
	assert_str(template_text(&reading.template, exchange, &response, TEMPLATE_HEADER),
		   "203 \"1\"");
	reading_done(&reading);
}

#define with_worker(test)                                                                          \
	cmocka_unit_test_setup_teardown(test, exchange_fixture_setup, exchange_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_refused_is_told_with_its_place),
		with_worker(test_values_are_encoded_for_their_place),
		with_worker(test_variables_of_the_answer_tell_of_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
