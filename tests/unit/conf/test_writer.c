#include "test_support.h"

#include <errno.h>

#include "conf/conf.h"
#include "conf/writer.h"

static void test_nested_lists_and_mappings_have_one_layout(void **state)
{
	struct conf_writer writer;
	struct buf out;

	buf_init(&out, 4096);
	conf_writer_init(&writer, &out);
	conf_write_u64(&writer, "version", 1);
	conf_write_open_mapping(&writer, "node");
	conf_write_plain(&writer, "drain", "30s");
	conf_write_open_mapping(&writer, "log");
	conf_write_str(&writer, "level", STR("info"));
	conf_write_close(&writer);
	conf_write_close(&writer);
	conf_write_open_list(&writer, "routes");
	conf_write_open_item(&writer);
	conf_write_open_mapping(&writer, "match");
	conf_write_open_list(&writer, "hosts");
	conf_write_str(&writer, NULL, STR("*.example.com"));
	conf_write_close(&writer);
	conf_write_close(&writer);
	conf_write_str(&writer, "name", STR("a"));
	conf_write_open_list(&writer, "policies");
	conf_write_close(&writer);
	conf_write_close(&writer);
	conf_write_open_item(&writer);
	conf_write_close(&writer);
	conf_write_close(&writer);
	conf_write_open_mapping(&writer, "none");
	conf_write_close(&writer);
	assert_int_equal(conf_writer_finish(&writer), 0);
	assert_str(buf_str(&out), "version: 1\n"
				  "node:\n"
				  "  drain: 30s\n"
				  "  log:\n"
				  "    level: info\n"
				  "routes:\n"
				  "  - match:\n"
				  "      hosts:\n"
				  "        - \"*.example.com\"\n"
				  "    name: a\n"
				  "    policies: []\n"
				  "  - {}\n"
				  "none: {}\n");
	buf_done(&out);
}

static void test_any_text_reads_back_unchanged(void **state)
{
	static const char *const rows[] = {
		"plain",
		"/path/x.y-z",
		"",
		" lead and trail ",
		"yes",
		"NULL",
		"123",
		"-",
		"a: b",
		"a #b",
		"quote \" and \\ backslash",
		"line\nbreak\r\n\ttab",
		"\x01\x1f\x7f",
		"h\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80",
		"\xc2\x85 next line, \xe2\x80\xa8 separator, \xef\xbb\xbf mark, \xc2\x80 control",
		"{x}",
		"[x]",
		"*alias",
		"&anchor",
		"!tag",
		"%directive",
		"@at",
		"`tick",
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct conf_errors *errors = conf_errors_new("f.yaml");
		struct str text = str_from_cstr(rows[i]);
		struct conf_doc *doc = NULL;
		struct conf_writer writer;
		struct buf out;

		buf_init(&out, 4096);
		conf_writer_init(&writer, &out);
		conf_write_member(&writer, text, text);
		conf_write_open_list(&writer, "list");
		conf_write_str(&writer, NULL, text);
		conf_write_close(&writer);
		assert_int_equal(conf_writer_finish(&writer), 0);
		assert_row(rows[i], conf_load_string(buf_str(&out), errors, &doc) == 0);
		assert_row(rows[i], conf_errors_count(errors) == 0);
		assert_row(rows[i], str_eq(doc->root->children->key, text));
		assert_row(rows[i], str_eq(doc->root->children->value, text));
		assert_row(rows[i], !conf_is_null(doc->root->children));
		assert_row(rows[i], str_eq(conf_get(doc->root, "list")->children->value, text));
		conf_doc_free(doc);
		conf_errors_free(errors);
		buf_done(&out);
	}
}

static void test_misuse_and_a_full_buffer_make_finish_fail(void **state)
{
	struct conf_writer writer;
	struct buf out;

	buf_init(&out, 16);
	conf_writer_init(&writer, &out);
	conf_write_open_mapping(&writer, "open");
	assert_int_equal(conf_writer_finish(&writer), -EPROTO);

	buf_reset(&out);
	conf_writer_init(&writer, &out);
	conf_write_close(&writer);
	assert_int_equal(conf_writer_finish(&writer), -EPROTO);

	conf_writer_init(&writer, &out);
	conf_write_str(&writer, NULL, STR("item outside a list"));
	assert_int_equal(conf_writer_finish(&writer), -EPROTO);

	conf_writer_init(&writer, &out);
	conf_write_str(&writer, "key", STR("longer than the buffer"));
	assert_int_equal(conf_writer_finish(&writer), -EMSGSIZE);
	buf_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nested_lists_and_mappings_have_one_layout),
		cmocka_unit_test(test_any_text_reads_back_unchanged),
		cmocka_unit_test(test_misuse_and_a_full_buffer_make_finish_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
