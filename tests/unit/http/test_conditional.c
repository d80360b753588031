#include "http/conditional.h"
#include "proto/http_date.h"
#include "test_support.h"

#define NOW	 1800000000
#define MODIFIED 784111777
#define BEFORE	 "Sun, 06 Nov 1994 08:49:36 GMT"
#define SAME	 "Sun, 06 Nov 1994 08:49:37 GMT"
#define AFTER	 "Sun, 06 Nov 1994 08:49:38 GMT"
#define FIELDS	 4

struct row {
	const char *what;
	const char *fields[FIELDS]; /* "name: value" */
	int status;		    /* 200, 304, 412 */
	bool weak;		    /* the file's tag is W/"v1" */
};

static const struct row rows[] = {
	{"nothing", {NULL}, 200, false},
	{"if-match: the tag", {"If-Match: \"v1\""}, 200, false},
	{"if-match: another", {"If-Match: \"v2\""}, 412, false},
	{"if-match: in a list", {"If-Match: \"v0\", \"v1\""}, 200, false},
	{"if-match: in a second field", {"If-Match: \"v0\"", "If-Match: \"v1\""}, 200, false},
	{"if-match: any", {"If-Match: *"}, 200, false},
	{"if-match: a weak one is not strongly equal", {"If-Match: W/\"v1\""}, 412, false},
	{"if-match: nor is ours when weak", {"If-Match: \"v1\""}, 412, true},
	{"if-match: malformed", {"If-Match: v1"}, 412, false},
	{"if-match: unclosed", {"If-Match: \"v1"}, 412, false},
	{"if-match: empty", {"If-Match:"}, 412, false},
	{"if-unmodified-since: later", {"If-Unmodified-Since: " AFTER}, 200, false},
	{"if-unmodified-since: same", {"If-Unmodified-Since: " SAME}, 200, false},
	{"if-unmodified-since: earlier", {"If-Unmodified-Since: " BEFORE}, 412, false},
	{"if-unmodified-since: no date", {"If-Unmodified-Since: yesterday"}, 200, false},
	{"if-unmodified-since: twice",
	 {"If-Unmodified-Since: " BEFORE, "If-Unmodified-Since: " BEFORE},
	 200,
	 false},
	{"if-match wins over if-unmodified-since",
	 {"If-Match: \"v1\"", "If-Unmodified-Since: " BEFORE},
	 200,
	 false},
	{"if-none-match: the tag", {"If-None-Match: \"v1\""}, 304, false},
	{"if-none-match: weakly", {"If-None-Match: W/\"v1\""}, 304, false},
	{"if-none-match: ours is weak", {"If-None-Match: \"v1\""}, 304, true},
	{"if-none-match: another", {"If-None-Match: \"v2\""}, 200, false},
	{"if-none-match: any", {"If-None-Match: *"}, 304, false},
	{"if-none-match: list", {"If-None-Match: \"a,b\" , ,W/\"v1\""}, 304, false},
	{"if-none-match: malformed", {"If-None-Match: v1"}, 200, false},
	{"if-none-match: a prefix", {"If-None-Match: \"v\""}, 200, false},
	{"if-modified-since: later", {"If-Modified-Since: " AFTER}, 304, false},
	{"if-modified-since: same", {"If-Modified-Since: " SAME}, 304, false},
	{"if-modified-since: earlier", {"If-Modified-Since: " BEFORE}, 200, false},
	{"if-modified-since: rfc850",
	 {"If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT"},
	 304,
	 false},
	{"if-modified-since: asctime", {"If-Modified-Since: Sun Nov  6 08:49:37 1994"}, 304, false},
	{"if-modified-since: no date", {"If-Modified-Since: 0"}, 200, false},
	{"if-modified-since: twice",
	 {"If-Modified-Since: " SAME, "If-Modified-Since: " SAME},
	 200,
	 false},
	{"if-none-match wins over if-modified-since",
	 {"If-None-Match: \"v2\"", "If-Modified-Since: " AFTER},
	 200,
	 false},
	{"412 comes before 304", {"If-Match: \"v2\"", "If-None-Match: \"v1\""}, 412, false},
	{"both preconditions", {"If-Match: \"v1\"", "If-None-Match: \"v1\""}, 304, false},
};

/* Fields as the parser makes them; `room` has FIELDS places. */
static struct http_head make_request(const char *const *fields, struct http_field *room,
				     enum http_method method)
{
	struct http_head head = {.method_id = method, .fields = room};

	for (unsigned int i = 0; i < FIELDS && fields[i]; i++) {
		struct str line = str_from_cstr(fields[i]);
		size_t colon = (size_t)str_find_byte(line, ':');
		struct http_field *field = &room[head.field_count++];

		field->name = str_sub(line, 0, colon);
		field->value = str_trim(str_sub(line, colon + 1, line.len - colon - 1));
		field->id = http_field_lookup(field->name);
	}
	return head;
}

static struct http_validators make_validators(bool weak)
{
	return (struct http_validators){
		.etag = weak ? STR("W/\"v1\"") : STR("\"v1\""),
		.modified = MODIFIED,
		.modified_strong = !weak,
		.now = NOW,
	};
}

static void test_preconditions_have_their_precedence(void **state)
{
	static const int statuses[] = {
		[CONDITIONAL_PROCEED] = 200,
		[CONDITIONAL_NOT_MODIFIED] = 304,
		[CONDITIONAL_FAILED] = 412,
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct http_field room[FIELDS];
		struct http_head head = make_request(rows[i].fields, room, HTTP_METHOD_GET);
		struct http_validators validators = make_validators(rows[i].weak);

		assert_row(rows[i].what,
			   statuses[conditional_check(&head, &validators)] == rows[i].status);
	}
}

static const struct {
	const char *what;
	const char *fields[FIELDS];
	bool obeyed;
	bool weak;
	enum http_method method;
} range_rows[] = {
	{"range alone", {"Range: bytes=0-1"}, true, false, HTTP_METHOD_GET},
	{"no range", {"If-Range: \"v1\""}, false, false, HTTP_METHOD_GET},
	{"only of GET", {"Range: bytes=0-1"}, false, false, HTTP_METHOD_HEAD},
	{"two fields", {"Range: bytes=0-1", "Range: bytes=0-1"}, false, false, HTTP_METHOD_GET},
	{"the tag", {"Range: bytes=0-1", "If-Range: \"v1\""}, true, false, HTTP_METHOD_GET},
	{"another", {"Range: bytes=0-1", "If-Range: \"v2\""}, false, false, HTTP_METHOD_GET},
	{"a weak tag", {"Range: bytes=0-1", "If-Range: W/\"v1\""}, false, false, HTTP_METHOD_GET},
	{"ours is weak", {"Range: bytes=0-1", "If-Range: W/\"v1\""}, false, true, HTTP_METHOD_GET},
	{"a list", {"Range: bytes=0-1", "If-Range: \"v1\", \"v2\""}, false, false, HTTP_METHOD_GET},
	{"any", {"Range: bytes=0-1", "If-Range: *"}, false, false, HTTP_METHOD_GET},
	{"the date", {"Range: bytes=0-1", "If-Range: " SAME}, true, false, HTTP_METHOD_GET},
	{"a later date", {"Range: bytes=0-1", "If-Range: " AFTER}, false, false, HTTP_METHOD_GET},
	{"an earlier date",
	 {"Range: bytes=0-1", "If-Range: " BEFORE},
	 false,
	 false,
	 HTTP_METHOD_GET},
	{"a date not strong yet",
	 {"Range: bytes=0-1", "If-Range: " SAME},
	 false,
	 true,
	 HTTP_METHOD_GET},
	{"twice",
	 {"Range: bytes=0-1", "If-Range: \"v1\"", "If-Range: \"v1\""},
	 false,
	 false,
	 HTTP_METHOD_GET},
	{"malformed", {"Range: bytes=0-1", "If-Range: v1"}, false, false, HTTP_METHOD_GET},
};

static void test_a_range_counts_only_when_if_range_holds(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(range_rows); i++) {
		struct http_field room[FIELDS];
		struct http_head head =
			make_request(range_rows[i].fields, room, range_rows[i].method);
		struct http_validators validators = make_validators(range_rows[i].weak);
		struct str value = conditional_range(&head, &validators);

		assert_row(range_rows[i].what, !!value.ptr == range_rows[i].obeyed);
		if (value.ptr)
			assert_str(value, "bytes=0-1");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_preconditions_have_their_precedence),
		cmocka_unit_test(test_a_range_counts_only_when_if_range_holds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
