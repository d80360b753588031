/*
 * fuzz_conf: any bytes as a configuration file. The tree's promises are checked, then its text is
 * written by conf_writer and must read back as the same tree.
 */
#include <stdlib.h>

#include "conf/conf.h"
#include "conf/writer.h"

static void check(bool holds)
{
	if (!holds)
		abort();
}

/* Depth is what the writer can hold; deeper nodes were checked by the first walk. */
static void write_node(struct conf_writer *writer, const struct conf_node *node)
{
	conf_for_each (child, node) {
		if (child->type == CONF_SCALAR && child->key.ptr)
			conf_write_member(writer, child->key, child->value);
		else if (child->type == CONF_SCALAR)
			conf_write_str(writer, NULL, child->value);
		else if (child->type == CONF_MAPPING && !child->key.ptr)
			conf_write_open_item(writer);
		else if (child->type == CONF_MAPPING)
			conf_write_open_mapping(writer, child->key.ptr);
		else
			conf_write_open_list(writer, child->key.ptr);
		if (child->type != CONF_SCALAR) {
			if (!writer->failed)
				write_node(writer, child);
			conf_write_close(writer);
		}
	}
}

static void check_node(const struct conf_node *node, bool in_mapping, unsigned int depth)
{
	unsigned int count = 0;

	check(depth <= 65);
	check(node->line > 0 && node->column > 0);
	check(in_mapping == (node->key.ptr != NULL));
	if (node->type == CONF_SCALAR) {
		check(node->value.ptr && node->value.ptr[node->value.len] == '\0');
		check(str_find_byte(node->value, '\0') < 0);
		check(!node->children);
	}
	conf_for_each (child, node) {
		check_node(child, node->type == CONF_MAPPING, depth + 1);
		count++;
	}
	check(count == node->count);
}

static void check_same(const struct conf_node *left, const struct conf_node *right)
{
	const struct conf_node *other = right->children;

	check(left->type == right->type && left->count == right->count);
	check(str_eq(left->key, right->key));
	if (left->type == CONF_SCALAR)
		check(str_eq(left->value, right->value));
	conf_for_each (child, left) {
		check_same(child, other);
		other = other->next;
	}
}

static void check_written(const struct conf_node *root)
{
	struct conf_errors *errors = conf_errors_new("again");
	struct conf_doc *doc = NULL;
	struct conf_writer writer;
	struct buf out;

	check(errors != NULL);
	buf_init(&out, 1 << 24);
	conf_writer_init(&writer, &out);
	write_node(&writer, root);
	if (!conf_writer_finish(&writer)) {
		check(!conf_load_string(buf_str(&out), errors, &doc));
		check(!conf_errors_count(errors));
		check_same(root, doc->root);
	}
	conf_doc_free(doc);
	buf_done(&out);
	conf_errors_free(errors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct conf_errors *errors = conf_errors_new("fuzz");
	struct conf_doc *doc = NULL;
	struct buf out;
	int r;

	check(errors != NULL);
	r = conf_load_string(str_make((const char *)data, len), errors, &doc);
	check((r == 0) == (doc != NULL));
	check(!r || conf_errors_count(errors));
	if (doc) {
		check_node(doc->root, false, 0);
		if (doc->root->type == CONF_MAPPING && !conf_errors_count(errors))
			check_written(doc->root);
	}
	buf_init(&out, 1 << 20);
	check(!conf_errors_print(errors, &out));
	check(!memchr(out.data ? out.data : "", '\x1b', out.len));
	buf_done(&out);
	conf_doc_free(doc);
	conf_errors_free(errors);
	return 0;
}
