/* Which origins a list of them allows. */
#include <stdlib.h>

#include "test_support.h"

#include "conf/conf.h"
#include "filter/cors.h"

static const struct {
	const char *origins, *origin;
	bool allowed;
} rows[] = {
	{"https://shop.example.com", "https://shop.example.com", true},
	{"https://shop.example.com", "http://shop.example.com", false},
	{"https://shop.example.com", "https://shop.example.com:8443", false},
	{"https://shop.example.com", "https://shop.example.com.evil.test", false},
	{"https://shop.example.com", "https://xshop.example.com", false},
	{"https://shop.example.com", "", false},
	{"https://shop.example.com", "null", false},
	{"https://*.example.com", "https://a.example.com", true},
	{"https://*.example.com", "https://a.b.example.com", true},
	{"https://*.example.com", "https://example.com", false},
	{"https://*.example.com", "https://.example.com", false},
	{"https://*.example.com", "https://a.example.com:8443", false},
	{"https://*.example.com", "http://a.example.com", false},
	{"https://*.example.com", "https://evil.test/.example.com", false},
	{"https://*.example.com", "https://evil.test:1.example.com", false},
	{"https://*.example.com", "https://a@b.example.com", false},
	{"https://*.example.com", "https://a..example.com", false},
	{"https://*.example.com:8443", "https://a.example.com:8443", true},
	{"[ https://a.test, http://localhost:3000 ]", "http://localhost:3000", true},
	{"\"*\"", "https://any.test", true},
	{"\"*\"", "null", true},
	{"\"*\"", "", false},
};

static void test_origins_are_compared_whole(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct conf_errors *errors = conf_errors_new("t.yaml");
		struct field_context context = {.errors = errors};
		struct conf_doc *doc = NULL;
		struct cors cors = {0};
		struct arena arena;
		char yaml[256];

		arena_init(&arena, 0, 1 << 20);
		context.arena = &arena;
		(void)snprintf(yaml, sizeof(yaml), "origins: %s\n", rows[i].origins);
		assert_int_equal(conf_load_string(str_from_cstr(yaml), errors, &doc), 0);
		assert_row(rows[i].origins, cors_read(&context, doc->root, "cors", &cors) == 0);
		assert_row(rows[i].origin,
			   cors_allows(&cors, str_from_cstr(rows[i].origin)) == rows[i].allowed);
		conf_doc_free(doc);
		conf_errors_free(errors);
		arena_done(&arena);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_origins_are_compared_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
