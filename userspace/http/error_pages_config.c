#include "http/error_pages_config.h"

#include <errno.h>

#include "base/cleanup.h"
#include "conf/value_file.h"

#define WHAT_MAX  160
#define VALUE_MAX 96

static int read_statuses(struct str key, struct error_page *page)
{
	uint64_t status;

	if (key.len != 3)
		return -EINVAL;
	if ((key.ptr[0] == '4' || key.ptr[0] == '5') && key.ptr[1] == 'x' && key.ptr[2] == 'x') {
		page->first = (uint16_t)(100 * (key.ptr[0] - '0'));
		page->last = page->first + 99;
		return 0;
	}
	if (str_to_u64(key, &status) || status < 400 || status > 599)
		return -EINVAL;
	page->first = page->last = (uint16_t)status;
	return 0;
}

static struct str type_of(struct str file)
{
	static const struct {
		struct str suffix, type;
	} types[] = {
		{{".html", 5}, {"text/html; charset=utf-8", 24}},
		{{".htm", 4}, {"text/html; charset=utf-8", 24}},
		{{".txt", 4}, {"text/plain; charset=utf-8", 25}},
		{{".json", 5}, {"application/json", 16}},
		{{".xml", 4}, {"application/xml", 15}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (str_ends_with(file, types[i].suffix))
			return types[i].type;
	return STR_NULL;
}

static int read_body(const struct field_context *context, const struct conf_node *node,
		     const char *what, struct error_page *page)
{
	_cleanup_(value_file_done)
	struct value_file file = {.content = {.data = NULL}};
	int r = value_file_read(context, node, what, node->value, ERROR_PAGE_BYTES_MAX, &file);

	if (r)
		return r;
	page->file = file.absolute;
	page->body = arena_copy(context->arena, buf_str(&file.content));
	return page->body.ptr ? 0 : field_no_memory(context, node);
}

static int read_page(const struct field_context *context, const struct conf_node *node,
		     const char *what, struct error_page *page)
{
	char value[VALUE_MAX];

	if (read_statuses(node->key, page)) {
		conf_error_key(context->errors, node,
			       "%s: expected a status of 400 to 599, 4xx or 5xx, got %s", what,
			       str_quote(node->key, value, sizeof(value)));
		return -EINVAL;
	}
	if (node->refused)
		return -EINVAL;
	if (node->type != CONF_SCALAR || conf_is_null(node) || !node->value.len) {
		conf_error(context->errors, node, "%s: %.*s: expected a file, got %s", what,
			   STR_FMT(node->key), conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	page->type = type_of(node->value);
	if (!page->type.ptr) {
		conf_error(context->errors, node,
			   "%s: %.*s: %s: what is in it is told by .html, .htm, .txt, .json or "
			   ".xml at its end",
			   what, STR_FMT(node->key), str_quote(node->value, value, sizeof(value)));
		return -EINVAL;
	}
	return read_body(context, node, what, page);
}

int error_pages_read(const struct field_context *context, const struct conf_node *node,
		     const char *what, struct error_pages *ret_pages)
{
	struct error_pages pages = {.count = 0};
	char errors_what[WHAT_MAX], value[VALUE_MAX];
	int result = 0;

	(void)snprintf(errors_what, sizeof(errors_what), "%s: errors", what);
	if (node->type != CONF_MAPPING && !conf_is_null(node)) {
		conf_error(context->errors, node,
			   "%s: expected a mapping of statuses to files, got %s", errors_what,
			   conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	pages.items = arena_new_array(context->arena, struct error_page, node->count);
	if (!pages.items)
		return field_no_memory(context, node);
	conf_for_each (member, node) {
		if (read_page(context, member, errors_what, &pages.items[pages.count]))
			result = -EINVAL;
		else
			pages.count++;
	}
	*ret_pages = pages;
	return result;
}

void error_pages_write(struct conf_writer *writer, const char *key, const struct error_pages *pages)
{
	if (!pages->count)
		return;
	conf_write_open_mapping(writer, key);
	for (unsigned int i = 0; i < pages->count; i++) {
		const struct error_page *page = &pages->items[i];
		char statuses[8];

		if (page->first == page->last)
			(void)snprintf(statuses, sizeof(statuses), "%u", page->first);
		else
			(void)snprintf(statuses, sizeof(statuses), "%uxx", page->first / 100);
		conf_write_member(writer, str_from_cstr(statuses), page->file);
	}
	conf_write_close(writer);
}
