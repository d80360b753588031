#include "test_support.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "conf/conf.h"

struct reading {
	struct conf_errors *errors;
	struct conf_doc *doc;
	struct buf printed;
	int result;
};

static void reading_start(struct reading *reading, struct str text)
{
	*reading = (struct reading){.errors = conf_errors_new("f.yaml")};
	assert_non_null(reading->errors);
	reading->result = conf_load_string(text, reading->errors, &reading->doc);
	buf_init(&reading->printed, 1 << 20);
	assert_int_equal(conf_errors_print(reading->errors, &reading->printed), 0);
}

static void reading_end(struct reading *reading)
{
	buf_done(&reading->printed);
	conf_doc_free(reading->doc);
	conf_errors_free(reading->errors);
}

static void test_every_node_knows_its_line_and_column(void **state)
{
	const struct conf_node *node, *item;
	struct reading reading;

	reading_start(&reading, STR("# head\n"
				    "node:\n"
				    "  workers: 4\n"
				    "list: [ a, \"b c\",\n"
				    "        { k: v } ]\n"));
	assert_int_equal(reading.result, 0);
	assert_int_equal(reading.doc->root->type, CONF_MAPPING);
	assert_int_equal(reading.doc->root->count, 2);

	node = conf_get(reading.doc->root, "node");
	assert_int_equal(node->key_line, 2);
	assert_int_equal(node->key_column, 1);
	node = conf_get(node, "workers");
	assert_str(node->key, "workers");
	assert_str(node->value, "4");
	assert_int_equal(node->line, 3);
	assert_int_equal(node->column, 12);
	assert_int_equal(node->key_column, 3);
	assert_false(node->quoted);

	node = conf_get(reading.doc->root, "list");
	assert_int_equal(node->type, CONF_SEQUENCE);
	assert_int_equal(node->count, 3);
	item = node->children;
	assert_str(item->value, "a");
	assert_int_equal(item->column, 9);
	assert_null(item->key.ptr);
	item = item->next;
	assert_str(item->value, "b c");
	assert_true(item->quoted);
	item = item->next;
	assert_int_equal(item->line, 5);
	assert_str(conf_get(item, "k")->value, "v");
	assert_null(item->next);
	assert_null(conf_get(item, "other"));
	assert_null(conf_get(node, "k"));
	reading_end(&reading);
}

static void test_column_counts_characters_not_bytes(void **state)
{
	struct reading reading;

	reading_start(&reading, STR("\"\xc3\xa4\xc3\xb6\": x"));
	assert_int_equal(reading.doc->root->children->column, 7);
	reading_end(&reading);
}

static void test_empty_file_is_an_empty_mapping(void **state)
{
	static const char *const rows[] = {"", "# only a comment\n", "\n\n"};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct reading reading;

		reading_start(&reading, str_from_cstr(rows[i]));
		assert_row(rows[i], reading.result == 0);
		assert_row(rows[i], reading.doc->root->type == CONF_MAPPING);
		assert_row(rows[i], reading.doc->root->count == 0);
		reading_end(&reading);
	}
}

static void test_null_is_only_what_is_not_quoted(void **state)
{
	static const struct {
		const char *text;
		bool is_null;
	} rows[] = {
		{"k:", true},	      {"k: ~", true},	   {"k: null", true}, {"k: \"\"", false},
		{"k: 'null'", false}, {"k: nullx", false}, {"k: []", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct reading reading;

		reading_start(&reading, str_from_cstr(rows[i].text));
		assert_row(rows[i].text,
			   conf_is_null(reading.doc->root->children) == rows[i].is_null);
		reading_end(&reading);
	}
}

/* What YAML allows and we do not: reported with its place, and the rest is read. */
static void test_refused_yaml_is_reported_and_the_rest_is_read(void **state)
{
	static const struct {
		const char *text, *errors;
	} rows[] = {
		{"a: &x 1\nlast: 1\n", "f.yaml:1:4: anchor 'x': anchors are not supported\n"},
		{"a: &x 1\nb: *x\nlast: 1\n", "f.yaml:1:4: anchor 'x': anchors are not supported\n"
					      "f.yaml:2:4: alias 'x': aliases are not supported\n"},
		{"a: &x b\n*x : 2\nlast: 1\n",
		 "f.yaml:1:4: anchor 'x': anchors are not supported\n"
		 "f.yaml:2:1: alias 'x': aliases are not supported\n"},
		{"a: !!str 1\nlast: 1\n",
		 "f.yaml:1:4: tag 'tag:yaml.org,2002:str': tags are not supported\n"},
		{"a: &l [ 1 ]\nb: !m { c: 1 }\nlast: 1\n",
		 "f.yaml:1:4: anchor 'l': anchors are not supported\n"
		 "f.yaml:2:4: tag '!m': tags are not supported\n"},
		{"a: 1\nb: 2\na: 3\nlast: 1\n",
		 "f.yaml:3:1: key 'a' is given twice; the first is at line 1, column 1\n"},
		{"m: { k: 1, k: 2, k: [ 3 ] }\nlast: 1\n",
		 "f.yaml:1:12: key 'k' is given twice; the first is at line 1, column 6\n"
		 "f.yaml:1:18: key 'k' is given twice; the first is at line 1, column 6\n"},
		{"a: \"x\\0y\"\nlast: 1\n", "f.yaml:1:4: a value cannot hold a NUL byte\n"},
		{"\"x\\0y\": { a: 1 }\nlast: 1\n", "f.yaml:1:1: a key cannot hold a NUL byte\n"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct conf_node *last;
		struct reading reading;

		reading_start(&reading, str_from_cstr(rows[i].text));
		assert_str(buf_str(&reading.printed), rows[i].errors);
		assert_row(rows[i].text, reading.result == 0);
		last = conf_get(reading.doc->root, "last");
		assert_row(rows[i].text, last && str_eq_cstr(last->value, "1"));
		reading_end(&reading);
	}
}

static void test_first_of_duplicate_members_stays_and_the_order_is_kept(void **state)
{
	const struct conf_node *node;
	struct reading reading;

	reading_start(&reading, STR("z: 1\ny: 2\nz: 3\nx: 4\ny: 5\n"));
	assert_int_equal(conf_errors_count(reading.errors), 2);
	assert_int_equal(reading.doc->root->count, 3);
	node = reading.doc->root->children;
	assert_str(node->value, "1");
	assert_str(node->next->value, "2");
	assert_str(node->next->next->value, "4");
	assert_null(node->next->next->next);
	reading_end(&reading);
}

static void test_aliased_value_is_marked_as_refused(void **state)
{
	struct reading reading;

	reading_start(&reading, STR("a: &x 1\nb: *x\n"));
	assert_false(conf_get(reading.doc->root, "a")->refused);
	assert_true(conf_get(reading.doc->root, "b")->refused);
	reading_end(&reading);
}

static void test_text_that_is_no_tree_is_refused_with_its_place(void **state)
{
	static const struct {
		const char *text, *errors;
	} rows[] = {
		{"a:\n\tb: 1\n",
		 "f.yaml:2:1: a tab where YAML allows only spaces: indent with spaces\n"},
		{"a: [ 1, 2\nb: 3\n", "f.yaml:2:2: not valid YAML: did not find expected ',' or "
				      "']' while parsing a flow "
				      "sequence that begins at line 1, column 4\n"},
		{"a: 1\n b: 2\n",
		 "f.yaml:2:3: not valid YAML: mapping values are not allowed in this context\n"},
		{"a: \"open\n", "f.yaml:2:1: not valid YAML: found unexpected end of stream while "
				"scanning a quoted scalar that begins at line 1, column 4\n"},
		{"a: 1\n---\nb: 2\n",
		 "f.yaml:2:1: a second document: only one is allowed in a file\n"},
		{"? [ a ]\n: 1\n", "f.yaml:1:3: a key must be text, not a list\n"},
		{"a: 1\nb: x\xffy\n",
		 "f.yaml:2:5: not valid UTF-8 text: invalid leading UTF-8 octet (0xff)\n"},
		{"a: \xc3", "f.yaml:1:4: not valid UTF-8: incomplete UTF-8 octet sequence\n"},
		{"a: \x01\n",
		 "f.yaml:1:4: not valid UTF-8 text: control characters are not allowed (0x01)\n"},
		{"a: *missing\n b\n",
		 "f.yaml:1:4: alias 'missing': aliases are not supported\n"
		 "f.yaml:2:2: not valid YAML: did not find expected key while parsing a block "
		 "mapping that begins at line 1, column 1\n"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct reading reading;

		reading_start(&reading, str_from_cstr(rows[i].text));
		assert_str(buf_str(&reading.printed), rows[i].errors);
		assert_row(rows[i].text, reading.result == -EINVAL);
		assert_row(rows[i].text, !reading.doc);
		reading_end(&reading);
	}
}

static void test_depth_is_limited_to_64_levels(void **state)
{
	for (int depth = 64; depth <= 65; depth++) {
		struct reading reading;
		char text[256];

		memset(text, '[', (size_t)depth);
		memset(text + depth, ']', (size_t)depth);
		reading_start(&reading, str_make(text, 2 * (size_t)depth));
		assert_int_equal(reading.result, depth == 64 ? 0 : -EINVAL);
		assert_str(buf_str(&reading.printed),
			   depth == 64 ? "" : "f.yaml:1:65: nested deeper than 64 levels\n");
		reading_end(&reading);
	}
}

static void test_key_is_limited_to_128_bytes(void **state)
{
	for (size_t len = 128; len <= 129; len++) {
		struct reading reading;
		char text[160];

		memset(text, 'k', len);
		(void)snprintf(text + len, sizeof(text) - len, ": 1");
		reading_start(&reading, str_from_cstr(text));
		assert_int_equal(reading.result, 0);
		assert_int_equal(reading.doc->root->count, len == 128 ? 1 : 0);
		assert_str(buf_str(&reading.printed),
			   len == 128 ? "" : "f.yaml:1:1: a key cannot be longer than 128 bytes\n");
		reading_end(&reading);
	}
}

static void test_number_of_values_is_limited(void **state)
{
	const size_t count = 1000001;
	struct reading reading;
	char *text = malloc(2 * count + 2);

	assert_non_null(text);
	text[0] = '[';
	for (size_t i = 0; i < count; i++) {
		text[1 + 2 * i] = '1';
		text[2 + 2 * i] = ',';
	}
	text[2 * count + 1] = ']';
	reading_start(&reading, str_make(text, 2 * count + 2));
	assert_int_equal(reading.result, -EINVAL);
	assert_true(str_ends_with(buf_str(&reading.printed),
				  STR(": more than 1000000 values in one file\n")));
	reading_end(&reading);
	free(text);
}

static void test_file_is_read_and_a_missing_one_is_told(void **state)
{
	char *path = test_file_make("sluice.yaml", STR("version: 1\n"));
	struct conf_errors *errors = conf_errors_new("shown.yaml");
	struct conf_doc *doc = NULL;

	assert_int_equal(conf_load_file(path, errors, &doc), 0);
	assert_str(conf_get(doc->root, "version")->value, "1");
	conf_doc_free(doc);
	doc = NULL;
	assert_int_equal(conf_load_file("/nonexistent/x", errors, &doc), -ENOENT);
	assert_int_equal(conf_load_file("/", errors, &doc), -EISDIR);
	assert_null(doc);
	assert_string_equal(conf_errors_get(errors, 0),
			    "shown.yaml: cannot be read: No such file or directory");
	assert_string_equal(conf_errors_get(errors, 1),
			    "shown.yaml: cannot be read: Is a directory");
	conf_errors_free(errors);
	test_file_remove(path);
}

static void test_file_bigger_than_64_mib_is_refused(void **state)
{
	char *path = test_file_make("big.yaml", STR("# "));
	struct conf_errors *errors = conf_errors_new("big.yaml");
	struct conf_doc *doc = NULL;

	assert_int_equal(truncate(path, (64 << 20) + 1), 0);
	assert_int_equal(conf_load_file(path, errors, &doc), -EFBIG);
	assert_string_equal(conf_errors_get(errors, 0), "big.yaml: the file is bigger than 64 MiB");
	conf_errors_free(errors);
	test_file_remove(path);
}

static void test_errors_come_out_sorted_by_place_other_files_last(void **state)
{
	struct conf_errors *errors = conf_errors_new("f.yaml");
	struct conf_node node = {
		.line = 3, .column = 9, .key = STR("k"), .key_line = 3, .key_column = 2};
	struct buf out;

	conf_error_in_file(errors, "deny.txt", 1, 1, "first of another file");
	conf_error(errors, &node, "value");
	conf_error_key(errors, &node, "key");
	conf_error_at(errors, 2, 10, "tenth column");
	conf_error_at(errors, 2, 9, "same place, first");
	conf_error_at(errors, 2, 9, "same place, second");
	conf_error_in_file(errors, "allow.txt", 1, 1, "third file");
	conf_error(errors, NULL, "no place");
	buf_init(&out, 4096);
	assert_int_equal(conf_errors_print(errors, &out), 0);
	assert_str(buf_str(&out), "f.yaml: no place\n"
				  "f.yaml:2:9: same place, first\n"
				  "f.yaml:2:9: same place, second\n"
				  "f.yaml:2:10: tenth column\n"
				  "f.yaml:3:2: key\n"
				  "f.yaml:3:9: value\n"
				  "deny.txt:1:1: first of another file\n"
				  "allow.txt:1:1: third file\n");
	assert_int_equal(conf_errors_count(errors), 8);
	assert_null(conf_errors_get(errors, 8));
	buf_done(&out);
	conf_errors_free(errors);
}

static void test_beyond_200_errors_only_the_count_goes_on(void **state)
{
	struct conf_errors *errors = conf_errors_new("f.yaml");
	struct buf out;

	for (uint32_t i = 0; i < 203; i++)
		conf_error_at(errors, 300 - i, 1, "error");
	assert_int_equal(conf_errors_count(errors), 203);
	assert_non_null(conf_errors_get(errors, 199));
	assert_null(conf_errors_get(errors, 200));
	buf_init(&out, 1 << 16);
	assert_int_equal(conf_errors_print(errors, &out), 0);
	assert_true(str_starts_with(buf_str(&out), STR("f.yaml:101:1: error\n")));
	assert_true(str_ends_with(buf_str(&out), STR("\nf.yaml: 3 more errors\n")));
	buf_done(&out);
	conf_errors_free(errors);
}

static void test_suggestion_is_near_or_a_beginning_and_else_none(void **state)
{
	static const char *const names[] = {"listeners", "upstreams", "routes", "payments",
					    "io",	 "name",      "max_age"};
	static const struct {
		const char *name, *meant;
	} rows[] = {
		{"listener", "listeners"},
		{"lisetners", "listeners"},
		{"upstream", "upstreams"},
		{"pay", "payments"},
		{"names", "name"},
		{"nmae", "name"},
		{"max-age", "max_age"},
		{"xyz", NULL},
		{"", NULL},
		{"q", NULL},
		{"pa", NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const char *meant =
			conf_suggest(str_from_cstr(rows[i].name), names, ARRAY_SIZE(names));

		assert_row(rows[i].name,
			   rows[i].meant ? meant && !strcmp(meant, rows[i].meant) : !meant);
	}
}

static int load_sample(void *arg)
{
	struct conf_errors *errors = conf_errors_new("f.yaml");
	struct conf_doc *doc = NULL;
	int r = -ENOMEM;

	if (!errors)
		return r;
	r = conf_load_string(STR("a: { b: [ 1, 2 ], c: \"x\" }\nd:\n  - e\n"), errors, &doc);
	/* A failure is always in the errors, too, or the caller would go on. */
	if ((r != 0) != (conf_errors_count(errors) != 0) || (r && doc))
		r = 0;
	conf_doc_free(doc);
	conf_errors_free(errors);
	return r;
}

static void test_failed_allocation_is_reported_and_leaks_nothing(void **state)
{
	assert_in_range(test_failing_each_allocation(load_sample, NULL), 20, 200);
}

static int report_error(void *arg)
{
	struct conf_errors *errors = conf_errors_new("f.yaml");
	int r = -ENOMEM;

	if (!errors)
		return r;
	conf_error_in_file(errors, "deny.txt", 1, 2, "%d", 3);
	if (conf_errors_count(errors) == 1)
		r = conf_errors_get(errors, 0) ? 0 : -ENOMEM;
	conf_errors_free(errors);
	return r;
}

static void test_error_that_cannot_be_kept_is_still_counted(void **state)
{
	assert_in_range(test_failing_each_allocation(report_error, NULL), 3, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_node_knows_its_line_and_column),
		cmocka_unit_test(test_column_counts_characters_not_bytes),
		cmocka_unit_test(test_empty_file_is_an_empty_mapping),
		cmocka_unit_test(test_null_is_only_what_is_not_quoted),
		cmocka_unit_test(test_refused_yaml_is_reported_and_the_rest_is_read),
		cmocka_unit_test(test_first_of_duplicate_members_stays_and_the_order_is_kept),
		cmocka_unit_test(test_aliased_value_is_marked_as_refused),
		cmocka_unit_test(test_text_that_is_no_tree_is_refused_with_its_place),
		cmocka_unit_test(test_depth_is_limited_to_64_levels),
		cmocka_unit_test(test_key_is_limited_to_128_bytes),
		cmocka_unit_test(test_number_of_values_is_limited),
		cmocka_unit_test(test_file_is_read_and_a_missing_one_is_told),
		cmocka_unit_test(test_file_bigger_than_64_mib_is_refused),
		cmocka_unit_test(test_errors_come_out_sorted_by_place_other_files_last),
		cmocka_unit_test(test_beyond_200_errors_only_the_count_goes_on),
		cmocka_unit_test(test_suggestion_is_near_or_a_beginning_and_else_none),
		cmocka_unit_test(test_failed_allocation_is_reported_and_leaks_nothing),
		cmocka_unit_test(test_error_that_cannot_be_kept_is_still_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
