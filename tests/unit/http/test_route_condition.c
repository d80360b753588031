#include "test_support.h"

#include "http/route_condition_config.h"

struct fixture {
	struct conf_errors *errors;
	struct conf_doc *doc;
	struct arena arena;
	struct route_conditions conditions;
};

static int setup(void **state)
{
	static struct fixture fixture;

	memset(&fixture, 0, sizeof(fixture));
	arena_init(&fixture.arena, 4096, 1 << 20);
	*state = &fixture;
	return 0;
}

static void drop(struct fixture *fixture)
{
	conf_errors_free(fixture->errors);
	conf_doc_free(fixture->doc);
	fixture->errors = NULL;
	fixture->doc = NULL;
}

static int teardown(void **state)
{
	struct fixture *fixture = *state;

	drop(fixture);
	arena_done(&fixture->arena);
	return 0;
}

static int read_text(struct fixture *fixture, enum route_condition_subject subject,
		     const char *text)
{
	struct field_context context = {.arena = &fixture->arena};

	drop(fixture);
	fixture->errors = conf_errors_new("f");
	assert_non_null(fixture->errors);
	assert_int_equal(conf_load_string(str_from_cstr(text), fixture->errors, &fixture->doc), 0);
	context.errors = fixture->errors;
	memset(&fixture->conditions, 0, sizeof(fixture->conditions));
	return route_conditions_read(&context, fixture->doc->root, "r", subject,
				     &fixture->conditions);
}

static struct route_conditions *read_good(struct fixture *fixture,
					  enum route_condition_subject subject, const char *text)
{
	int r = read_text(fixture, subject, text);

	if (r)
		fail_msg("'%s': %s", text, conf_errors_get(fixture->errors, 0));
	return &fixture->conditions;
}

/* "name: value\n" lines. */
static struct http_head make_head(struct http_field *fields, const char *text)
{
	struct http_head head = {.fields = fields};
	struct str rest = str_from_cstr(text), line;

	while (str_next_token(&rest, '\n', &line)) {
		ptrdiff_t colon = str_find_byte(line, ':');
		struct str name = str_sub(line, 0, (size_t)colon);

		fields[head.field_count++] = (struct http_field){
			name, str_trim(str_sub(line, (size_t)colon + 1, line.len)),
			http_field_lookup(name)};
	}
	return head;
}

static void test_fields_are_compared_without_case_of_the_name(void **state)
{
	static const struct {
		const char *conditions, *head;
		bool holds;
	} rows[] = {
		{"x-canary: \"yes\"", "X-Canary: yes", true},
		{"X-CANARY: \"yes\"", "x-canary: yes", true},
		{"x-canary: \"yes\"", "X-Canary: Yes", false},
		{"x-canary: \"yes\"", "X-Canary: yes, no", false},
		{"x-canary: \"yes\"", "X-Canary: no\nx-canary: yes", true},
		{"x-canary: \"yes\"", "x_canary: yes", false},
		{"x-canary: \"yes\"", "Host: a", false},
		{"x-canary: \"\"", "X-Canary:", true},
		{"x-canary: \"\"", "Host: a", false},
		{"x-version: { regex: \"^2\\\\.\" }", "X-Version: 2.1", true},
		{"x-version: { regex: \"^2\\\\.\" }", "X-Version: 12.1", false},
		{"x-version: { regex: \"^2\\\\.\" }", "X-Version: 1\nX-Version: 2.0", true},
		{"x-debug: { present: true }", "X-Debug: 0", true},
		{"x-debug: { present: true }", "X-Debug:", true},
		{"x-debug: { present: true }", "X-Debugs: 1", false},
		{"x-debug: { present: false }", "X-Debugs: 1", true},
		{"x-debug: { present: false }", "X-DEBUG:", false},
		{"user-agent: { regex: curl }", "User-Agent: x curl/7", true},
		{"cookie: { regex: \"(^|; )beta=1(;|$)\" }", "Cookie: a=b; beta=1; c=d", true},
		{"cookie: { regex: \"(^|; )beta=1(;|$)\" }", "Cookie: a=b; beta=11", false},
		{"{ a: \"1\", b: \"2\" }", "a: 1\nb: 2", true},
		{"{ a: \"1\", b: \"2\" }", "a: 1\nb: 3", false},
		{"{}", "a: 1", true},
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct http_field fields[8];
		struct http_head head = make_head(fields, rows[i].head);
		struct route_conditions *conditions =
			read_good(fixture, ROUTE_CONDITION_HEADER, rows[i].conditions);

		if (!route_conditions_fail_head(conditions, &head) != rows[i].holds)
			fail_msg("%s with %s", rows[i].conditions, rows[i].head);
	}
}

static void test_query_names_and_values_are_compared_decoded(void **state)
{
	static const struct {
		const char *conditions, *query;
		bool holds;
	} rows[] = {
		{"v: \"2\"", "?v=2", true},
		{"v: \"2\"", "v=2", true},
		{"v: \"2\"", "", false},
		{"v: \"2\"", "?", false},
		{"v: \"2\"", "?V=2", false},
		{"v: \"2\"", "?v=22", false},
		{"v: \"2\"", "?v=", false},
		{"v: \"2\"", "?a=1&v=2&b", true},
		{"v: \"2\"", "?v=1&v=2", true},
		{"v: \"2\"", "?v=2=", false},
		{"v: \"2\"", "?%76=%32", true},
		{"v: \"2\"", "?xv=2", false},
		{"v: \"2\"", "?v=2;w=3", false},
		{"v: \"2\"", "? v=2", false},
		{"q: \"a b\"", "?q=a+b", true},
		{"q: \"a b\"", "?q=a%20b", true},
		{"q: \"a+b\"", "?q=a%2bb", true},
		{"q: \"a&b=c\"", "?q=a%26b%3Dc", true},
		{"\"a b\": \"1\"", "?a+b=1", true},
		{"q: \"%zz\"", "?q=%zz", true},
		{"q: \"%4\"", "?q=%4", true},
		{"q: \"%\"", "?q=%", true},
		{"q: \"%\"", "?q=%25", true},
		{"q: \"\"", "?q", true},
		{"q: \"\"", "?q=", true},
		{"q: { present: true }", "?q", true},
		{"q: { present: true }", "?p&&q=1", true},
		{"q: { present: true }", "?qq=1", false},
		{"q: { present: false }", "?qq=1", true},
		{"q: { present: false }", "?q=1", false},
		{"q: { regex: \"^[a-z ]+$\" }", "?q=a%20b+c", true},
		{"q: { regex: \"^[a-z ]+$\" }", "?q=a1", false},
		{"q: { regex: b }", "?q=a&q=abc", true},
		{"{ a: \"1\", b: { present: true } }", "?b&a=1", true},
		{"{ a: \"1\", b: { present: true } }", "?a=1", false},
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct route_conditions *conditions =
			read_good(fixture, ROUTE_CONDITION_QUERY, rows[i].conditions);

		if (!route_conditions_fail_query(conditions, str_from_cstr(rows[i].query)) !=
		    rows[i].holds)
			fail_msg("%s with %s", rows[i].conditions, rows[i].query);
	}
}

static void test_the_first_condition_that_fails_is_named(void **state)
{
	struct fixture *fixture = *state;
	struct route_conditions *conditions =
		read_good(fixture, ROUTE_CONDITION_QUERY, "{ a: \"1\", b: \"2\", c: \"3\" }");

	assert_str(route_conditions_fail_query(conditions, STR("?c=3&a=1"))->name, "b");
	assert_null(route_conditions_fail_query(conditions, STR("?c=3&a=1&b=2")));
}

static void test_a_query_value_too_long_for_a_regex_is_no_match(void **state)
{
	static char query[ROUTE_CONDITION_BYTES_MAX + 16];
	struct fixture *fixture = *state;
	struct route_conditions *conditions =
		read_good(fixture, ROUTE_CONDITION_QUERY, "q: { regex: a }");

	memset(query, 'a', sizeof(query));
	memcpy(query, "q=", 2);
	assert_null(route_conditions_fail_query(conditions,
						str_make(query, ROUTE_CONDITION_BYTES_MAX + 2)));
	assert_non_null(route_conditions_fail_query(
		conditions, str_make(query, ROUTE_CONDITION_BYTES_MAX + 3)));
}

static void test_what_cannot_be_asked_is_refused_with_its_place(void **state)
{
	static const struct {
		enum route_condition_subject subject;
		const char *text, *error;
	} rows[] = {
		{ROUTE_CONDITION_HEADER, "[ a ]", "f:1:1: r: expected a mapping, got a list"},
		{ROUTE_CONDITION_HEADER, "\"a b\": x", "f:1:1: r: 'a b' is not a field name"},
		{ROUTE_CONDITION_HEADER, "{ a: x, A: y }", "f:1:9: r: 'a' is given twice"},
		{ROUTE_CONDITION_HEADER, "Host: x", "f:1:1: r: 'host' is what 'hosts' is for"},
		{ROUTE_CONDITION_HEADER, "a: \" x\"",
		 "f:1:4: r: 'a': expected text without control bytes and outer spaces, or a "
		 "mapping with 'regex' or 'present', got ' x'"},
		{ROUTE_CONDITION_HEADER, "a: [ x ]",
		 "f:1:4: r: 'a': expected text without control bytes and outer spaces, or a "
		 "mapping with 'regex' or 'present', got a list"},
		{ROUTE_CONDITION_QUERY, "a:",
		 "f:1:3: r: 'a': expected text, or a mapping with 'regex' or 'present', got "
		 "nothing"},
		{ROUTE_CONDITION_QUERY, "a: { regex: x, present: on }",
		 "f:1:4: r: 'a': needs exactly one of 'regex' and 'present'"},
		{ROUTE_CONDITION_QUERY, "a: {}",
		 "f:1:4: r: 'a': needs exactly one of 'regex' and 'present'"},
		{ROUTE_CONDITION_QUERY, "a: { regx: x }",
		 "f:1:6: r: 'a': unknown key 'regx'; did you mean 'regex'?"},
		{ROUTE_CONDITION_QUERY, "a: { present: maybe }",
		 "f:1:15: r: 'a': present: expected on or off, got 'maybe'"},
		{ROUTE_CONDITION_QUERY, "a: { regex: \"a(b\" }",
		 "f:1:13: r: 'a': regex: 'a(b': missing closing parenthesis at offset 3"},
		{ROUTE_CONDITION_QUERY, "a: { regex: \"\" }",
		 "f:1:13: r: 'a': regex: expected a pattern, got ''"},
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_row(rows[i].text, read_text(fixture, rows[i].subject, rows[i].text) != 0);
		assert_string_equal(conf_errors_get(fixture->errors, 0), rows[i].error);
	}
}

static void test_what_is_read_is_written_back(void **state)
{
	static const char text[] = "x:\n"
				   "  a: \"yes\"\n"
				   "  b-c:\n"
				   "    regex: \"^2\\\\.\"\n"
				   "  d:\n"
				   "    present: on\n"
				   "  e:\n"
				   "    present: off\n";
	struct fixture *fixture = *state;
	struct conf_writer writer;
	struct buf out;

	(void)read_good(fixture, ROUTE_CONDITION_HEADER,
			"{ A: \"yes\", B-C: { regex: \"^2\\\\.\" }, d: { present: true }, "
			"e: { present: false } }");
	buf_init(&out, 4096);
	conf_writer_init(&writer, &out);
	route_conditions_write(&writer, "x", &fixture->conditions);
	assert_int_equal(conf_writer_finish(&writer), 0);
	assert_str(buf_str(&out), text);
	buf_done(&out);
}

static void test_lists_are_the_same_in_any_order_and_hash_alike(void **state)
{
	static const struct {
		const char *left, *right;
		bool same;
	} rows[] = {
		{"{ a: x, b: y }", "{ b: y, a: x }", true},
		{"{ a: x, b: y }", "{ b: y, a: z }", false},
		{"{ a: x, b: y }", "{ a: x }", false},
		{"{ a: y, b: x }", "{ a: x, b: y }", false},
		{"{ a: { present: on } }", "{ a: { present: true } }", true},
		{"{ a: { present: on } }", "{ a: { present: off } }", false},
		{"{ a: { regex: x } }", "{ a: x }", false},
		{"{}", "{}", true},
	};
	struct fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct route_conditions left =
			*read_good(fixture, ROUTE_CONDITION_QUERY, rows[i].left);
		struct route_conditions right =
			*read_good(fixture, ROUTE_CONDITION_QUERY, rows[i].right);

		assert_row(rows[i].left, route_conditions_same(&left, &right) == rows[i].same);
		assert_row(rows[i].left, (route_conditions_hash(&left) ==
					  route_conditions_hash(&right)) == rows[i].same);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields_are_compared_without_case_of_the_name),
		cmocka_unit_test(test_query_names_and_values_are_compared_decoded),
		cmocka_unit_test(test_the_first_condition_that_fails_is_named),
		cmocka_unit_test(test_a_query_value_too_long_for_a_regex_is_no_match),
		cmocka_unit_test(test_what_cannot_be_asked_is_refused_with_its_place),
		cmocka_unit_test(test_what_is_read_is_written_back),
		cmocka_unit_test(test_lists_are_the_same_in_any_order_and_hash_alike),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
