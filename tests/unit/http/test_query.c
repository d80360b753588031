/* Parameters of a query: found, taken out, and kept out of logs, however their names are spelt. */
#include "test_support.h"

#include "http/query.h"

#define KEY STR("key")

static const struct {
	const char *query;
	const char *value;    /* NULL: not there; "!": several */
	const char *removed;  /* the query without it */
	const char *redacted; /* of "/a" and the query */
} rows[] = {
	{"", NULL, "", "/a"},
	{"?", NULL, "?", "/a?"},
	{"?key=s3", "s3", "", "/a?key=***"},
	{"?key=", "", "", "/a?key="},
	{"?key", "", "", "/a?key"},
	{"?a=1&key=s3&b=2", "s3", "?a=1&b=2", "/a?a=1&key=***&b=2"},
	{"?key=s3&a=1", "s3", "?a=1", "/a?key=***&a=1"},
	{"?a=1&key=s3", "s3", "?a=1", "/a?a=1&key=***"},
	{"?k%65y=s3", "s3", "", "/a?k%65y=***"},
	{"?%6B%65%79=s3&x", "s3", "?x", "/a?%6B%65%79=***&x"},
	{"?key=s%2b3+4%", "s+3 4%", "", "/a?key=***"},
	{"?Key=s3", NULL, "?Key=s3", "/a?Key=s3"},
	{"?keys=s3&ke=y&xkey=1", NULL, "?keys=s3&ke=y&xkey=1", "/a?keys=s3&ke=y&xkey=1"},
	{"?key=s3&key=s4", "!", "", "/a?key=***&key=***"},
	{"?key=s3&k%65y=s4", "!", "", "/a?key=***&k%65y=***"},
	{"?key=s3&key", "!", "", "/a?key=***&key"},
	{"?&&key=s3&", "s3", "?&&", "/a?&&key=***&"},
	{"?a=key=s3", NULL, "?a=key=s3", "/a?a=key=s3"},
	{"?key=a?b=c", "a?b=c", "", "/a?key=***"},
};

static void test_every_spelling_is_found_removed_and_redacted(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct str query = str_from_cstr(rows[i].query), value = STR_NULL, target;
		struct arena arena;
		char text[128];
		bool single;

		arena_init(&arena, 0, 4096);
		single = query_find_single(&arena, query, KEY, &value);
		if (rows[i].value && !strcmp(rows[i].value, "!"))
			assert_row(rows[i].query, !single);
		else if (rows[i].value)
			assert_row(rows[i].query,
				   single && str_eq_cstr(value, rows[i].value) && value.ptr);
		else
			assert_row(rows[i].query, single && !value.ptr);
		query_remove(&arena, &query, KEY);
		assert_str(query, rows[i].removed);
		(void)snprintf(text, sizeof(text), "/a%s", rows[i].query);
		target = str_from_cstr(text);
		query_redact(&arena, &target, KEY);
		assert_str(target, rows[i].redacted);
		arena_done(&arena);
	}
}

static void test_what_was_found_elsewhere_counts_as_one(void **state)
{
	struct str value = STR("from a field");
	struct arena arena;

	arena_init(&arena, 0, 4096);
	assert_true(query_find_single(&arena, STR("?a=1"), KEY, &value));
	assert_str(value, "from a field");
	assert_false(query_find_single(&arena, STR("?key=s3"), KEY, &value));
	arena_done(&arena);
}

static void test_without_memory_nothing_secret_stays(void **state)
{
	struct str query = STR("?key=s3&a=1"), target = STR("/a?key=s3&a=1"), value = STR_NULL;
	struct arena arena;

	arena_init(&arena, 0, 4);
	assert_false(query_find_single(&arena, STR("?key=a%2b"), KEY, &value));
	query_remove(&arena, &query, KEY);
	assert_str(query, "");
	query_redact(&arena, &target, KEY);
	assert_str(target, "/a");
	arena_done(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_spelling_is_found_removed_and_redacted),
		cmocka_unit_test(test_what_was_found_elsewhere_counts_as_one),
		cmocka_unit_test(test_without_memory_nothing_secret_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
