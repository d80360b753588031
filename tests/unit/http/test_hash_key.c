#include "http/exchange.h"
#include "http/hash_key.h"
#include "test_support.h"

#define FIELDS_MAX 4

struct ask {
	struct exchange exchange;
	struct http_field fields[FIELDS_MAX];
};

/* fields: "name: value" texts, ended by NULL. */
static void ask_init(struct ask *ask, const char *path, const char *query,
		     const char *const *fields)
{
	memset(ask, 0, sizeof(*ask));
	ask->exchange.path = str_from_cstr(path);
	ask->exchange.query = str_from_cstr(query);
	ask->exchange.request.fields = ask->fields;
	for (unsigned int i = 0; fields && fields[i]; i++) {
		struct str line = str_from_cstr(fields[i]);
		ptrdiff_t colon = str_find_byte(line, ':');
		struct http_field *field = &ask->fields[i];

		assert_true(i < FIELDS_MAX && colon > 0);
		field->name = str_sub(line, 0, (size_t)colon);
		field->value = str_trim(str_sub(line, (size_t)colon + 1, line.len));
		field->id = str_eq_nocase(field->name, STR("cookie")) ? HTTP_FIELD_COOKIE
								      : HTTP_FIELD_OTHER;
		ask->exchange.request.field_count = i + 1;
	}
}

static bool find(struct ask *ask, enum upstream_hash_kind kind, const char *name, uint64_t *ret_key)
{
	const struct upstream_hash_on hash_on = {.kind = kind, .name = str_from_cstr(name)};

	return hash_key_find(&ask->exchange, &hash_on, ret_key);
}

struct row {
	const char *what;
	enum upstream_hash_kind kind;
	const char *name;
	const char *query;
	const char *fields[FIELDS_MAX + 1];
	const char *same_as; /* the value alone that it hashes like; NULL: there is no key */
};

static const struct row rows[] = {
	{"header", UPSTREAM_HASH_HEADER, "x-user", "", {"X-User: ann"}, "ann"},
	{"no header", UPSTREAM_HASH_HEADER, "x-user", "", {"X-Users: ann"}, NULL},
	{"empty header", UPSTREAM_HASH_HEADER, "x-user", "", {"X-User:"}, NULL},
	{"header after an empty one",
	 UPSTREAM_HASH_HEADER,
	 "x-user",
	 "",
	 {"X-User: ", "x-user: ann"},
	 "ann"},
	{"cookie", UPSTREAM_HASH_COOKIE, "sid", "", {"Cookie: sid=ann"}, "ann"},
	{"cookie among others",
	 UPSTREAM_HASH_COOKIE,
	 "sid",
	 "",
	 {"Cookie: xsid=1; sid=ann; sid=bob"},
	 "ann"},
	{"cookie on the second line",
	 UPSTREAM_HASH_COOKIE,
	 "sid",
	 "",
	 {"Cookie: a=1", "cookie: sid=ann"},
	 "ann"},
	{"cookie of another case", UPSTREAM_HASH_COOKIE, "sid", "", {"Cookie: SID=ann"}, NULL},
	{"cookie without value", UPSTREAM_HASH_COOKIE, "sid", "", {"Cookie: sid="}, NULL},
	{"cookie without equals sign", UPSTREAM_HASH_COOKIE, "sid", "", {"Cookie: sid"}, NULL},
	{"no cookie", UPSTREAM_HASH_COOKIE, "sid", "", {"X-Cookie: sid=ann"}, NULL},
	{"query", UPSTREAM_HASH_QUERY, "user", "?user=ann", {NULL}, "ann"},
	{"query among others", UPSTREAM_HASH_QUERY, "user", "?a=1&user=ann&user=b", {NULL}, "ann"},
	{"query of a longer name", UPSTREAM_HASH_QUERY, "user", "?users=ann", {NULL}, NULL},
	{"query without value", UPSTREAM_HASH_QUERY, "user", "?user=", {NULL}, NULL},
	{"query mark alone", UPSTREAM_HASH_QUERY, "user", "?", {NULL}, NULL},
	{"no query", UPSTREAM_HASH_QUERY, "user", "", {NULL}, NULL},
	{"nothing", UPSTREAM_HASH_NONE, "user", "?user=ann", {"user: ann"}, NULL},
};

static void test_each_part_is_found_where_it_is(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i];
		uint64_t key = 0, same = 1;
		struct ask ask;

		ask_init(&ask, "/", row->query, row->fields);
		assert_row(row->what, find(&ask, row->kind, row->name, &key) == !!row->same_as);
		if (!row->same_as)
			continue;
		ask_init(&ask, row->same_as, "", NULL);
		assert_true(find(&ask, UPSTREAM_HASH_PATH, NULL, &same));
		assert_row(row->what, key == same);
	}
}

static void test_two_lines_are_not_one_with_both_values(void **state)
{
	const char *const two[] = {"x-user: an", "x-user: n", NULL};
	const char *const one[] = {"x-user: ann", NULL};
	uint64_t key, other;
	struct ask ask;

	ask_init(&ask, "/", "", two);
	assert_true(find(&ask, UPSTREAM_HASH_HEADER, "x-user", &key));
	ask_init(&ask, "/", "", one);
	assert_true(find(&ask, UPSTREAM_HASH_HEADER, "x-user", &other));
	assert_true(key != other);
}

static void test_source_is_the_client_that_trusted_proxies_name(void **state)
{
	uint64_t key, other;
	struct ask ask;

	ask_init(&ask, "/", "", NULL);
	ask.exchange.peer = (struct ip_addr){AF_INET, {10, 0, 0, 1}};
	ask.exchange.client = (struct ip_addr){AF_INET, {192, 0, 2, 7}};
	assert_true(find(&ask, UPSTREAM_HASH_SOURCE, NULL, &key));
	ask.exchange.peer.bytes[3] = 2;
	assert_true(find(&ask, UPSTREAM_HASH_SOURCE, NULL, &other));
	assert_true(key == other);
	ask.exchange.client.bytes[3] = 8;
	assert_true(find(&ask, UPSTREAM_HASH_SOURCE, NULL, &other));
	assert_true(key != other);
	ask.exchange.client = (struct ip_addr){AF_INET6, {192, 0, 2, 7}};
	assert_true(find(&ask, UPSTREAM_HASH_SOURCE, NULL, &other));
	assert_true(key != other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_part_is_found_where_it_is),
		cmocka_unit_test(test_two_lines_are_not_one_with_both_values),
		cmocka_unit_test(test_source_is_the_client_that_trusted_proxies_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
