#include "test_support.h"

#include <errno.h>
#include <stdlib.h>

#include "conf/names.h"

struct item {
	unsigned int index;
	char what[64];
};

struct reading {
	struct conf_errors *errors;
	struct conf_doc *doc;
	struct arena arena;
	struct field_context context;
	struct name_table names;
	struct item *items;
	unsigned int count;
	int result;
};

static int read_item(const struct field_context *context, const struct conf_node *node,
		     const char *what, unsigned int index, void *place)
{
	struct item *item = place;

	item->index = index;
	(void)snprintf(item->what, sizeof(item->what), "%s", what);
	return 0;
}

static void reading_start(struct reading *reading, struct str text)
{
	static const struct named_list list = {
		.kind = "upstream",
		.item_bytes = sizeof(struct item),
		.read = read_item,
	};
	void *items = NULL;

	*reading = (struct reading){.errors = conf_errors_new("f.yaml")};
	assert_non_null(reading->errors);
	arena_init(&reading->arena, 0, (size_t)16 << 20);
	assert_int_equal(conf_load_string(text, reading->errors, &reading->doc), 0);
	reading->context = (struct field_context){
		.errors = reading->errors,
		.arena = &reading->arena,
		.what = "upstreams",
	};
	reading->result =
		named_list_read(&reading->context, &list, reading->doc->root, &reading->doc->arena,
				&reading->names, &items, &reading->count);
	reading->items = items;
}

static void reading_end(struct reading *reading)
{
	arena_done(&reading->arena);
	conf_doc_free(reading->doc);
	conf_errors_free(reading->errors);
}

static void test_names_have_a_small_alphabet_and_a_limit(void **state)
{
	static const struct {
		const char *name;
		bool valid;
	} rows[] = {
		{"a", true},
		{"0", true},
		{"shop-v2_x", true},
		{"", false},
		{"-a", false},
		{"_a", false},
		{"A", false},
		{"a b", false},
		{"a.b", false},
		{"\xc3\xa4", false},
		{"012345678901234567890123456789012345678901234567890123456789012", true},
		{"0123456789012345678901234567890123456789012345678901234567890123", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_row(rows[i].name,
			   name_is_valid(str_from_cstr(rows[i].name)) == rows[i].valid);
}

static void test_elements_are_called_by_name_or_by_number(void **state)
{
	struct reading reading;

	reading_start(&reading, STR("[ { name: a }, { nam: x }, { name: [] }, b, { name: B } ]"));
	assert_int_equal(reading.result, -EINVAL);
	assert_int_equal(reading.count, 5);
	assert_string_equal(reading.items[0].what, "upstream 'a'");
	assert_string_equal(reading.items[1].what, "upstream 2");
	assert_string_equal(reading.items[2].what, "upstream 3");
	assert_string_equal(reading.items[3].what, "upstream 4");
	assert_string_equal(reading.items[4].what, "upstream 'B'");
	assert_int_equal(conf_errors_count(reading.errors), 1);
	assert_int_equal(reading.names.count, 1);
	reading_end(&reading);
}

static void test_thousands_of_names_are_found_with_their_places(void **state)
{
	char *text = NULL;
	struct reading reading;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(out);
	for (unsigned int i = 0; i < 5000; i++)
		assert_true(fprintf(out, "- { name: n%u }\n", i) > 0);
	assert_int_equal(fclose(out), 0);
	reading_start(&reading, str_make(text, len));
	assert_int_equal(reading.result, 0);
	assert_int_equal(reading.names.count, 5000);
	for (unsigned int i = 0; i < 5000; i++) {
		const struct name_entry *entry;
		char name[16];

		(void)snprintf(name, sizeof(name), "n%u", i);
		entry = name_table_find(&reading.names, str_from_cstr(name));
		assert_row(name, entry && entry->index == i && entry->line == i + 1);
		assert_row(name, reading.items[i].index == i);
	}
	assert_null(name_table_find(&reading.names, STR("n5000")));
	reading_end(&reading);
	free(text);
}

static void test_reference_to_an_unknown_name_gets_a_suggestion(void **state)
{
	const struct name_entry *entry = NULL;
	struct conf_node node = {.type = CONF_SCALAR, .line = 7, .column = 3};
	struct reading reading;

	reading_start(&reading, STR("[ { name: search }, { name: cart } ]"));
	node.value = STR("cart");
	assert_int_equal(
		name_table_refer(&reading.names, &reading.context, &node, "route 'r'", &entry), 0);
	assert_int_equal(entry->index, 1);
	entry = NULL;
	node.value = STR("serach");
	assert_int_equal(
		name_table_refer(&reading.names, &reading.context, &node, "route 'r'", &entry),
		-EINVAL);
	assert_null(entry);
	assert_string_equal(conf_errors_get(reading.errors, 0),
			    "f.yaml:7:3: route 'r': upstream 'serach' is not defined; did you mean "
			    "'search'?");
	reading_end(&reading);
}

static void test_one_text_may_stand_without_a_list(void **state)
{
	static const struct {
		const char *text;
		unsigned int count;
		const char *error; /* NULL: read */
	} rows[] = {
		{"k: a", 1, NULL},
		{"k: [ a, b ]", 2, NULL},
		{"k: []", 0, NULL},
		{"k:", 0, "f.yaml:1:3: k: expected text, got nothing"},
		{"k: { a: b }", 0, "f.yaml:1:4: k: expected text, got a mapping"},
		{"k: [ a, \"\" ]", 0, "f.yaml:1:9: k: must not be empty"},
		{"k: [ [ a ] ]", 0, "f.yaml:1:6: k: expected text, got a list"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct conf_errors *errors = conf_errors_new("f.yaml");
		struct field_context context = {.errors = errors};
		struct conf_doc *doc = NULL;
		unsigned int count = 0;
		struct arena arena;
		struct str *texts;
		int r;

		arena_init(&arena, 0, 1 << 16);
		context.arena = &arena;
		assert_int_equal(conf_load_string(str_from_cstr(rows[i].text), errors, &doc), 0);
		r = texts_read(&context, conf_get(doc->root, "k"), "k", &texts, &count);
		assert_row(rows[i].text, r == (rows[i].error ? -EINVAL : 0));
		assert_row(rows[i].text, count == rows[i].count);
		if (rows[i].error)
			assert_string_equal(conf_errors_get(errors, 0), rows[i].error);
		else if (count)
			assert_str(texts[0], "a");
		arena_done(&arena);
		conf_doc_free(doc);
		conf_errors_free(errors);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names_have_a_small_alphabet_and_a_limit),
		cmocka_unit_test(test_elements_are_called_by_name_or_by_number),
		cmocka_unit_test(test_thousands_of_names_are_found_with_their_places),
		cmocka_unit_test(test_reference_to_an_unknown_name_gets_a_suggestion),
		cmocka_unit_test(test_one_text_may_stand_without_a_list),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
