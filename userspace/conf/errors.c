#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "conf/conf.h"

#define ERRORS_KEPT_MAX 200

struct conf_error_line {
	unsigned int
		file; /* 0: the configuration itself, others in the order of their first error */
	uint32_t line, column;
	unsigned int order; /* of the report, so that sorting is stable */
	char *text;
};

struct conf_errors {
	char *file_name;
	unsigned int count; /* reported, kept or not */
	unsigned int kept;
	bool sorted;
	unsigned int file_count;
	char *last_file; /* the latest other file */
	struct conf_error_line lines[ERRORS_KEPT_MAX];
};

struct conf_errors *conf_errors_new(const char *file_name)
{
	struct conf_errors *errors = calloc(1, sizeof(*errors));

	if (!errors)
		return NULL;
	errors->file_name = strdup(file_name);
	if (!errors->file_name) {
		free(errors);
		return NULL;
	}
	return errors;
}

void conf_errors_free(struct conf_errors *errors)
{
	if (!errors)
		return;
	for (unsigned int i = 0; i < errors->kept; i++)
		free(errors->lines[i].text);
	free(errors->last_file);
	free(errors->file_name);
	free(errors);
}

unsigned int conf_errors_count(const struct conf_errors *errors)
{
	return errors->count;
}

/* Number of the file for sorting. Files are read one after the other, so the latest is enough. */
static unsigned int file_number(struct conf_errors *errors, const char *file_name)
{
	char *copy;

	if (!file_name)
		return 0;
	if (errors->last_file && !strcmp(errors->last_file, file_name))
		return errors->file_count;
	copy = strdup(file_name);
	if (copy) {
		free(errors->last_file);
		errors->last_file = copy;
	}
	return ++errors->file_count;
}

/* Without memory for its text an error is still counted, so that the reading still fails. */
static void add(struct conf_errors *errors, const char *file_name, uint32_t line, uint32_t column,
		const char *fmt, va_list args)
{
	const char *shown = file_name ? file_name : errors->file_name;
	_cleanup_free_ char *sentence = NULL;
	char *text = NULL;
	int r;

	errors->count++;
	if (errors->kept == ERRORS_KEPT_MAX)
		return;
	if (vasprintf(&sentence, fmt, args) < 0) {
		sentence = NULL;
		return;
	}
	if (line)
		r = asprintf(&text, "%s:%u:%u: %s", shown, line, column, sentence);
	else
		r = asprintf(&text, "%s: %s", shown, sentence);
	if (r < 0)
		return;
	errors->lines[errors->kept++] = (struct conf_error_line){
		.file = file_number(errors, file_name),
		.line = line,
		.column = column,
		.order = errors->count,
		.text = text,
	};
	errors->sorted = false;
}

void conf_error(struct conf_errors *errors, const struct conf_node *node, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	add(errors, NULL, node ? node->line : 0, node ? node->column : 0, fmt, args);
	va_end(args);
}

void conf_error_key(struct conf_errors *errors, const struct conf_node *node, const char *fmt, ...)
{
	bool has_key = node && node->key.ptr;
	uint32_t line = has_key ? node->key_line : node ? node->line : 0;
	uint32_t column = has_key ? node->key_column : node ? node->column : 0;
	va_list args;

	va_start(args, fmt);
	add(errors, NULL, line, column, fmt, args);
	va_end(args);
}

void conf_error_at(struct conf_errors *errors, uint32_t line, uint32_t column, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	add(errors, NULL, line, column, fmt, args);
	va_end(args);
}

void conf_error_in_file(struct conf_errors *errors, const char *file_name, uint32_t line,
			uint32_t column, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	add(errors, file_name, line, column, fmt, args);
	va_end(args);
}

static int compare_u32(uint32_t left, uint32_t right)
{
	return left < right ? -1 : left > right;
}

static int compare_lines(const void *left_ptr, const void *right_ptr)
{
	const struct conf_error_line *left = left_ptr, *right = right_ptr;
	int r = compare_u32(left->file, right->file);

	if (!r)
		r = compare_u32(left->line, right->line);
	if (!r)
		r = compare_u32(left->column, right->column);
	return r ? r : compare_u32(left->order, right->order);
}

static void sort_lines(struct conf_errors *errors)
{
	if (errors->sorted)
		return;
	qsort(errors->lines, errors->kept, sizeof(errors->lines[0]), compare_lines);
	errors->sorted = true;
}

int conf_errors_print(struct conf_errors *errors, struct buf *out)
{
	unsigned int more = errors->count - errors->kept;
	int r = 0;

	sort_lines(errors);
	for (unsigned int i = 0; i < errors->kept && !r; i++)
		r = buf_printf(out, "%s\n", errors->lines[i].text);
	if (!r && more)
		r = buf_printf(out, "%s: %u more error%s\n", errors->file_name, more,
			       more == 1 ? "" : "s");
	return r;
}

const char *conf_errors_get(struct conf_errors *errors, unsigned int index)
{
	sort_lines(errors);
	return index < errors->kept ? errors->lines[index].text : NULL;
}
