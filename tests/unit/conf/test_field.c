#include "test_support.h"

#include <errno.h>

#include "conf/field.h"

struct target {
	struct str name;
	struct str text;
	bool on;
	uint64_t count;
	uint64_t timeout_ms;
	uint64_t size_bytes;
	uint64_t share; /* parts of 10,000 */
	int mode;
	unsigned int items;
	struct {
		bool deep;
	} inner;
};

enum { MODE_AUTO, MODE_FAST };

static const struct field_name modes[] = {
	{.name = "auto", .value = MODE_AUTO},
	{.name = "fast", .value = MODE_FAST},
	{.name = "later", .not_yet = true},
};

static int read_items(const struct field_context *context, const struct conf_node *node,
		      void *target)
{
	struct target *place = target;

	if (node->type != CONF_SEQUENCE) {
		conf_error(context->errors, node, "items: expected a list");
		return -EINVAL;
	}
	place->items = node->count;
	return 0;
}

static void print_items(struct conf_writer *writer, const char *key, const void *target)
{
	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < ((const struct target *)target)->items; i++)
		conf_write_u64(writer, NULL, i);
	conf_write_close(writer);
}

static int read_custom(const struct field_context *context, const struct conf_node *node,
		       void *target)
{
	if (!str_eq_cstr(node->value, "fine")) {
		conf_error(context->errors, node, "%s: not fine", context->what);
		return -EINVAL;
	}
	return 0;
}

static const struct field inner_fields[] = {
	{.key = "deep", .kind = FIELD_BOOL, .default_text = "on"},
	{.key = "custom", .kind = FIELD_CUSTOM, .read = read_custom},
};

#define AT(member) .offset = offsetof(struct target, member)

static const struct field fields[] = {
	{.key = "name", .kind = FIELD_STRING, AT(name), .required = true, .min = 1, .max = 8},
	{.key = "text", .kind = FIELD_STRING, AT(text)},
	{.key = "on", .kind = FIELD_BOOL, AT(on), .default_text = "off"},
	{.key = "count", .kind = FIELD_U64, AT(count), .min = 1, .max = 10, .default_text = "5"},
	{.key = "timeout", .kind = FIELD_DURATION_MS, AT(timeout_ms), .default_text = "2s"},
	{.key = "size",
	 .kind = FIELD_SIZE_BYTES,
	 AT(size_bytes),
	 .min = 1024,
	 .default_text = "64KiB"},
	{.key = "share",
	 .kind = FIELD_PERCENT,
	 AT(share),
	 .min = 1,
	 .max = 9000,
	 .default_text = "50%"},
	{.key = "mode",
	 .kind = FIELD_ENUM,
	 AT(mode),
	 .names = modes,
	 .name_count = ARRAY_SIZE(modes),
	 .default_text = "fast"},
	{.key = "items", .kind = FIELD_CUSTOM, .read = read_items, .print = print_items},
	{.key = "inner",
	 .kind = FIELD_SECTION,
	 AT(inner),
	 .fields = inner_fields,
	 .field_count = ARRAY_SIZE(inner_fields)},
	{.key = "tls", .kind = FIELD_NOT_YET},
};

struct reading {
	struct conf_errors *errors;
	struct conf_doc *doc;
	struct arena arena;
	struct field_context context;
	struct target target;
	struct buf printed;
	int result;
};

static void reading_start(struct reading *reading, const char *text)
{
	*reading = (struct reading){.errors = conf_errors_new("f.yaml")};
	assert_non_null(reading->errors);
	arena_init(&reading->arena, 0, 1 << 16);
	buf_init(&reading->printed, 1 << 16);
	assert_int_equal(conf_load_string(str_from_cstr(text), reading->errors, &reading->doc), 0);
	reading->context = (struct field_context){
		.errors = reading->errors,
		.arena = &reading->arena,
	};
	reading->result = field_read(&reading->context, fields, ARRAY_SIZE(fields),
				     reading->doc->root, "thing 'x'", &reading->target);
	assert_int_equal(conf_errors_print(reading->errors, &reading->printed), 0);
}

static void reading_end(struct reading *reading)
{
	buf_done(&reading->printed);
	arena_done(&reading->arena);
	conf_doc_free(reading->doc);
	conf_errors_free(reading->errors);
}

static void test_every_kind_is_read_into_its_place(void **state)
{
	struct reading reading;

	reading_start(&reading, "name: web\ntext: \"\"\non: true\ncount: 7\ntimeout: 10m\n"
				"size: 1GiB\nshare: 12.5%\nmode: auto\nitems: [ 1, 2, 3 ]\n"
				"inner: { deep: off, custom: fine }\n");
	assert_str(buf_str(&reading.printed), "");
	assert_int_equal(reading.result, 0);
	assert_str(reading.target.name, "web");
	assert_str(reading.target.text, "");
	assert_true(reading.target.on);
	assert_int_equal(reading.target.count, 7);
	assert_int_equal(reading.target.timeout_ms, 600000);
	assert_int_equal(reading.target.size_bytes, 1 << 30);
	assert_int_equal(reading.target.share, 1250);
	assert_int_equal(reading.target.mode, MODE_AUTO);
	assert_int_equal(reading.target.items, 3);
	assert_false(reading.target.inner.deep);
	reading_end(&reading);
}

static void test_strings_outlive_the_document(void **state)
{
	struct reading reading;

	reading_start(&reading, "name: web\n");
	conf_doc_free(reading.doc);
	reading.doc = NULL;
	assert_str(reading.target.name, "web");
	assert_int_equal(reading.target.name.ptr[3], 0);
	reading_end(&reading);
}

static void test_absent_keys_get_their_defaults(void **state)
{
	struct reading reading;

	reading_start(&reading, "name: web\n");
	assert_int_equal(reading.result, 0);
	assert_null(reading.target.text.ptr);
	assert_false(reading.target.on);
	assert_int_equal(reading.target.count, 5);
	assert_int_equal(reading.target.timeout_ms, 2000);
	assert_int_equal(reading.target.size_bytes, 65536);
	assert_int_equal(reading.target.share, 5000);
	assert_int_equal(reading.target.mode, MODE_FAST);
	assert_true(reading.target.inner.deep);
	reading_end(&reading);
}

static void test_defaults_alone_need_no_document(void **state)
{
	struct target target = {.count = 0};
	struct reading reading;

	reading_start(&reading, "name: web\n");
	assert_int_equal(
		field_read_defaults(&reading.context, fields, ARRAY_SIZE(fields), "thing", &target),
		0);
	assert_int_equal(target.count, 5);
	assert_int_equal(target.mode, MODE_FAST);
	assert_null(target.name.ptr);
	reading_end(&reading);
}

static void test_wrong_values_say_what_was_expected(void **state)
{
	static const struct {
		const char *text, *error;
	} rows[] = {
		{"name: []", "f.yaml:1:7: thing 'x': name: expected text, got a list\n"},
		{"name:", "f.yaml:1:6: thing 'x': name: expected text, got nothing\n"},
		{"name: ''", "f.yaml:1:7: thing 'x': name: must not be empty\n"},
		{"name: abcdefghi", "f.yaml:1:7: thing 'x': name: longer than 8 bytes\n"},
		{"on: yes", "f.yaml:1:5: thing 'x': on: expected on or off, got 'yes'\n"},
		{"on: 'on'", "f.yaml:1:5: thing 'x': on: expected on or off, got 'on'\n"},
		{"count: many",
		 "f.yaml:1:8: thing 'x': count: expected a whole number, got 'many'\n"},
		{"count: '5'", "f.yaml:1:8: thing 'x': count: expected a whole number, got '5'\n"},
		{"count: -1", "f.yaml:1:8: thing 'x': count: expected a whole number, got '-1'\n"},
		{"count: 11", "f.yaml:1:8: thing 'x': count: must be 1 to 10, got '11'\n"},
		{"count: 99999999999999999999",
		 "f.yaml:1:8: thing 'x': count: must be 1 to 10, got '99999999999999999999'\n"},
		{"timeout: 5",
		 "f.yaml:1:10: thing 'x': timeout: expected a duration such as 500ms, 2s, 10m, 24h "
		 "or 7d, got '5'\n"},
		{"timeout: 99999999999999999999s",
		 "f.yaml:1:10: thing 'x': timeout: the number is too big\n"},
		{"size: { a: 1 }",
		 "f.yaml:1:7: thing 'x': size: expected a size such as 512, 64KiB, 16MiB or 1GiB, "
		 "got a mapping\n"},
		{"size: 1000", "f.yaml:1:7: thing 'x': size: must be at least 1KiB, got '1000'\n"},
		{"share: 20",
		 "f.yaml:1:8: thing 'x': share: expected a percentage such as 20% or 0.5%, got "
		 "'20'\n"},
		{"share: 90.01%",
		 "f.yaml:1:8: thing 'x': share: must be 0.01% to 90%, got '90.01%'\n"},
		{"share: 200%", "f.yaml:1:8: thing 'x': share: must be 0.01% to 90%, got '200%'\n"},
		{"mode: fats",
		 "f.yaml:1:7: thing 'x': mode: expected one of auto, fast, got 'fats'; "
		 "did you mean 'fast'?\n"},
		{"mode: [ fast ]",
		 "f.yaml:1:7: thing 'x': mode: expected one of auto, fast, got a list\n"},
		{"mode: later", "f.yaml:1:7: thing 'x': mode: 'later' is not supported yet\n"},
		{"items: 1", "f.yaml:1:8: items: expected a list\n"},
		{"inner: { deeq: on }",
		 "f.yaml:1:10: thing 'x': inner: unknown key 'deeq'; did you "
		 "mean 'deep'?\n"},
		{"inner: { custom: bad }", "f.yaml:1:18: thing 'x': inner: not fine\n"},
		{"inner: on", "f.yaml:1:8: thing 'x': inner: expected a mapping, got 'on'\n"},
		{"tls: {}", "f.yaml:1:1: thing 'x': 'tls' is not supported yet\n"},
		{"nmae: web", "f.yaml:1:1: thing 'x': unknown key 'nmae'; did you mean 'name'?\n"},
		{"\"\\e[31m\": web", "f.yaml:1:1: thing 'x': unknown key '\\x1b[31m'\n"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct reading reading;
		char text[128];

		(void)snprintf(text, sizeof(text), "%s%s", rows[i].text,
			       strstr(rows[i].text, "name:") == rows[i].text ? "\n"
									     : "\nname: x\n");
		reading_start(&reading, text);
		assert_str(buf_str(&reading.printed), rows[i].error);
		assert_row(rows[i].text, reading.result == -EINVAL);
		reading_end(&reading);
	}
}

static void test_all_errors_are_reported_at_once(void **state)
{
	struct reading reading;

	reading_start(&reading, "on: 1\ncount: 0\nother: 2\nmode: x\n");
	assert_str(buf_str(&reading.printed),
		   "f.yaml:1:1: thing 'x': 'name' is required\n"
		   "f.yaml:1:5: thing 'x': on: expected on or off, got '1'\n"
		   "f.yaml:2:8: thing 'x': count: must be 1 to 10, got '0'\n"
		   "f.yaml:3:1: thing 'x': unknown key 'other'\n"
		   "f.yaml:4:7: thing 'x': mode: expected one of auto, fast, got 'x'\n");
	reading_end(&reading);
}

static void test_section_that_is_no_mapping_is_refused(void **state)
{
	struct reading reading;

	reading_start(&reading, "[ name ]\n");
	assert_str(buf_str(&reading.printed),
		   "f.yaml:1:1: thing 'x': expected a mapping, got a list\n");
	reading_end(&reading);
}

static void test_section_with_nothing_in_it_asks_for_what_is_required(void **state)
{
	struct reading reading;

	reading_start(&reading, "~\n");
	assert_str(buf_str(&reading.printed), "f.yaml:1:1: thing 'x': 'name' is required\n");
	reading_end(&reading);
}

static void test_value_reported_before_is_not_reported_again(void **state)
{
	struct reading reading;

	reading_start(&reading, "name: &a x\ncount: *a\n");
	assert_int_equal(reading.result, -EINVAL);
	assert_int_equal(conf_errors_count(reading.errors), 2);
	reading_end(&reading);
}

static void test_full_arena_is_an_error_not_an_empty_value(void **state)
{
	struct reading reading;

	reading_start(&reading, "name: web\n");
	reading.arena.cap_bytes = reading.arena.used_bytes;
	reading.target.name = STR("before");
	assert_int_equal(field_read(&reading.context, fields, ARRAY_SIZE(fields), reading.doc->root,
				    "thing", &reading.target),
			 -EINVAL);
	assert_str(reading.target.name, "before");
	assert_string_equal(conf_errors_get(reading.errors, 0), "f.yaml:1:7: out of memory");
	reading_end(&reading);
}

static void test_written_members_read_back_to_the_same_values(void **state)
{
	struct reading reading, again;
	struct conf_writer writer;
	struct buf out;

	reading_start(&reading,
		      "name: \"a: b\"\non: on\ntimeout: 1500ms\nshare: 12.5%\nitems: [ 1, 2 ]\n");
	buf_init(&out, 1 << 16);
	conf_writer_init(&writer, &out);
	field_write(&writer, fields, ARRAY_SIZE(fields), &reading.target);
	assert_int_equal(conf_writer_finish(&writer), 0);
	assert_str(buf_str(&out),
		   "name: \"a: b\"\n\"on\": on\ncount: 5\ntimeout: 1500ms\nsize: 64KiB\n"
		   "share: 12.5%\nmode: fast\nitems:\n  - 0\n  - 1\ninner:\n  deep: on\n");
	assert_int_equal(buf_append(&out, str_make("", 1)), 0);
	reading_start(&again, out.data);
	assert_int_equal(again.result, 0);
	assert_str(again.target.name, "a: b");
	assert_int_equal(again.target.timeout_ms, 1500);
	assert_int_equal(again.target.share, 1250);
	assert_int_equal(again.target.items, 2);
	reading_end(&again);
	reading_end(&reading);
	buf_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_kind_is_read_into_its_place),
		cmocka_unit_test(test_strings_outlive_the_document),
		cmocka_unit_test(test_absent_keys_get_their_defaults),
		cmocka_unit_test(test_defaults_alone_need_no_document),
		cmocka_unit_test(test_wrong_values_say_what_was_expected),
		cmocka_unit_test(test_all_errors_are_reported_at_once),
		cmocka_unit_test(test_section_that_is_no_mapping_is_refused),
		cmocka_unit_test(test_section_with_nothing_in_it_asks_for_what_is_required),
		cmocka_unit_test(test_value_reported_before_is_not_reported_again),
		cmocka_unit_test(test_full_arena_is_an_error_not_an_empty_value),
		cmocka_unit_test(test_written_members_read_back_to_the_same_values),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
