#include "tools/output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "tools/cli.h"
#include "tools/text.h"

#define CELL_MAX (1024 * 1024)

/* A cell of a table: where its text is and how wide it looks. */
struct cell_text {
	size_t start, len, width;
};

const json_t *document_get(const json_t *doc, const char *path)
{
	struct str rest = str_from_cstr(path), name;
	char key[64];

	while (doc && str_next_token(&rest, '.', &name)) {
		if (str_to_cstr(name, key, sizeof(key)))
			return NULL;
		doc = json_object_get(doc, key);
	}
	return doc;
}

const char *document_string(const json_t *doc, const char *path)
{
	return json_string_value(document_get(doc, path));
}

int output_document(struct cli *cli, const json_t *doc)
{
	size_t flags = JSON_ENCODE_ANY | (cli->pretty ? JSON_INDENT(2) : JSON_COMPACT);
	_cleanup_free_ char *text = json_dumps(doc, flags);

	if (!text || buf_append(&cli->out, str_from_cstr(text)) || buf_append(&cli->out, STR("\n")))
		return -ENOMEM;
	return 0;
}

static bool is_absent(const json_t *value)
{
	return !value || json_is_null(value) || (json_is_array(value) && !json_array_size(value));
}

static int write_value(struct buf *out, const json_t *value)
{
	size_t index;
	json_t *element;
	int error = 0;

	switch (json_typeof(value)) {
	case JSON_STRING:
		return output_escape(
			out, str_make(json_string_value(value), json_string_length(value)), false);
	case JSON_INTEGER:
		return buf_printf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	case JSON_REAL:
		return buf_printf(out, "%g", json_real_value(value));
	case JSON_TRUE:
	case JSON_FALSE:
		return buf_append(out, json_is_true(value) ? STR("yes") : STR("no"));
	case JSON_ARRAY:
		json_array_foreach((json_t *)value, index, element)
		{
			if (index > 0)
				error = buf_append(out, STR(", "));
			/* Lists of lists do not occur: their inner ones are left out. */
			if (!error && !json_is_array(element) && !json_is_object(element))
				error = write_value(out, element);
			if (error)
				return error;
		}
		return 0;
	default:
		return 0;
	}
}

/* Numbers in their unit; what is no number of that kind is shown as it is. */
static int write_number(struct buf *out, const json_t *value, enum output_format format)
{
	uint64_t number;

	if (format == OUTPUT_RATE && json_is_real(value))
		return buf_printf(out, "%.1f", json_real_value(value));
	if (format == OUTPUT_RATE || !json_is_integer(value) || json_integer_value(value) < 0)
		return write_value(out, value);
	number = (uint64_t)json_integer_value(value);
	switch (format) {
	case OUTPUT_COUNT:
		return output_count(out, number);
	case OUTPUT_BYTES:
		return output_bytes(out, number);
	default:
		return output_seconds(out, number);
	}
}

int output_member(struct buf *out, const json_t *row, const char *path, enum output_format format,
		  const char *before, const char *after)
{
	const json_t *value = document_get(row, path);
	int error;

	if (is_absent(value))
		return 0;
	error = buf_append(out, str_from_cstr(before));
	if (error)
		return error;
	error = format == OUTPUT_TEXT ? write_value(out, value) : write_number(out, value, format);
	return error ? error : buf_append(out, str_from_cstr(after));
}

static int write_cell(struct buf *out, const json_t *row, const struct output_column *column)
{
	if (column->format == OUTPUT_CELL)
		return column->cell(row, out);
	return output_member(out, row, column->path, column->format, "", "");
}

static bool is_right_aligned(const struct output_column *column)
{
	return column->format == OUTPUT_COUNT || column->format == OUTPUT_BYTES ||
	       column->format == OUTPUT_RATE;
}

static int pad(struct buf *out, size_t count)
{
	int error = 0;

	while (count-- > 0 && !error)
		error = buf_append(out, STR(" "));
	return error;
}

static unsigned int columns_count(const struct output_column *columns)
{
	unsigned int count = 0;

	while (columns[count].title)
		count++;
	return count;
}

/* Writes cells row by row, each column as wide as its widest cell, none padded at the end. */
static int write_grid(struct buf *out, const struct buf *texts, const struct cell_text *cells,
		      size_t row_count, const struct output_column *columns)
{
	unsigned int column_count = columns_count(columns);
	_cleanup_free_ size_t *widths = calloc(column_count, sizeof(*widths));
	int error = 0;

	if (!widths)
		return -ENOMEM;
	for (size_t i = 0; i < row_count * column_count; i++)
		widths[i % column_count] = MAX(widths[i % column_count], cells[i].width);

	for (size_t i = 0; i < row_count * column_count && !error; i++) {
		size_t column = i % column_count;
		size_t space = widths[column] - cells[i].width;
		bool last = column == column_count - 1;

		if (is_right_aligned(&columns[column]))
			error = pad(out, space);
		if (!error)
			error = buf_append(out,
					   str_sub(buf_str(texts), cells[i].start, cells[i].len));
		if (!error && !last && !is_right_aligned(&columns[column]))
			error = pad(out, space);
		if (!error)
			error = buf_append(out, last ? STR("\n") : STR("  "));
	}
	return error;
}

static void note_cell(const struct buf *texts, size_t start, struct cell_text *cell)
{
	cell->start = start;
	cell->len = texts->len - start;
	cell->width = text_width(str_sub(buf_str(texts), start, cell->len));
}

static int print_table(struct buf *out, const json_t *rows, const struct output_column *columns)
{
	unsigned int column_count = columns_count(columns);
	size_t row_count = json_array_size(rows) + 1, at = 0, index;
	_cleanup_free_ struct cell_text *cells = calloc(row_count * column_count, sizeof(*cells));
	_cleanup_(buf_done)
	struct buf texts;
	json_t *row;

	buf_init(&texts, CLI_OUTPUT_MAX);
	if (!cells)
		return -ENOMEM;
	for (unsigned int column = 0; column < column_count; column++, at++) {
		size_t start = texts.len;
		int error = buf_append(&texts, str_from_cstr(columns[column].title));

		if (error)
			return error;
		note_cell(&texts, start, &cells[at]);
	}
	json_array_foreach((json_t *)rows, index, row)
	{
		for (unsigned int column = 0; column < column_count; column++, at++) {
			size_t start = texts.len;
			int error = write_cell(&texts, row, &columns[column]);

			if (!error && texts.len == start)
				error = buf_append(&texts, STR("-"));
			if (error)
				return error;
			note_cell(&texts, start, &cells[at]);
		}
	}
	return write_grid(out, &texts, cells, row_count, columns);
}

static int print_line(struct buf *out, const char *title, size_t width, struct str value)
{
	int error = buf_printf(out, "%s", title);

	if (!error)
		error = pad(out, width - strlen(title) + 2);
	if (!error)
		error = buf_append(out, value);
	return error ? error : buf_append(out, STR("\n"));
}

static int print_record(struct buf *out, const json_t *row, const struct output_column *columns)
{
	size_t width = 0;

	for (unsigned int i = 0; columns[i].title; i++)
		width = MAX(width, strlen(columns[i].title));
	for (unsigned int i = 0; columns[i].title; i++) {
		_cleanup_(buf_done)
		struct buf value;
		int error;

		buf_init(&value, CELL_MAX);
		error = write_cell(&value, row, &columns[i]);
		if (!error && value.len > 0)
			error = print_line(out, columns[i].title, width, buf_str(&value));
		if (error)
			return error;
	}
	return 0;
}

static int print_records(struct buf *out, const json_t *rows, const struct output_column *columns)
{
	size_t index;
	json_t *row;
	int error;

	json_array_foreach((json_t *)rows, index, row)
	{
		if (index > 0 && (error = buf_append(out, STR("\n"))))
			return error;
		error = print_record(out, row, columns);
		if (error)
			return error;
	}
	return 0;
}

static int print_members(struct buf *out, const json_t *object)
{
	size_t name_width = 0, value_width = 0;
	const char *name;
	json_t *value;

	/* Two passes: the first one measures, the second one writes. */
	for (int pass = 0; pass < 2; pass++) {
		json_object_foreach((json_t *)object, name, value)
		{
			_cleanup_(buf_done)
			struct buf text;
			_cleanup_(buf_done)
			struct buf key;
			int error;

			buf_init(&text, CELL_MAX);
			buf_init(&key, CELL_MAX);
			error = output_escape(&key, str_from_cstr(name), false);
			if (!error)
				error = write_number(&text, value, OUTPUT_COUNT);
			if (error)
				return error;
			if (pass == 0) {
				name_width = MAX(name_width, text_width(buf_str(&key)));
				value_width = MAX(value_width, text_width(buf_str(&text)));
				continue;
			}
			error = buf_append(out, buf_str(&key));
			if (!error)
				error = pad(out, name_width - text_width(buf_str(&key)) + 2 +
							 value_width - text_width(buf_str(&text)));
			if (!error)
				error = buf_append(out, buf_str(&text));
			if (!error)
				error = buf_append(out, STR("\n"));
			if (error)
				return error;
		}
	}
	return 0;
}

static int print_verbatim(struct buf *out, const json_t *value)
{
	struct str text = str_make(json_string_value(value), json_string_length(value));
	int error = output_escape(out, text, true);

	if (!error && text.len > 0 && text.ptr[text.len - 1] != '\n')
		error = buf_append(out, STR("\n"));
	return error;
}

static int print_lines(struct buf *out, const json_t *lines)
{
	size_t index;
	json_t *line;
	int error;

	json_array_foreach((json_t *)lines, index, line)
	{
		error = write_value(out, line);
		if (!error)
			error = buf_append(out, STR("\n"));
		if (error)
			return error;
	}
	return 0;
}

static bool fits_kind(const json_t *value, enum output_kind kind)
{
	size_t index;
	json_t *row;

	switch (kind) {
	case OUTPUT_RECORD:
	case OUTPUT_MEMBERS:
		return json_is_object(value);
	case OUTPUT_VERBATIM:
		return json_is_string(value);
	case OUTPUT_LINES:
		return json_is_array(value);
	default:
		if (!json_is_array(value))
			return false;
		json_array_foreach((json_t *)value, index, row)
		{
			if (!json_is_object(row))
				return false;
		}
		return true;
	}
}

static int print_section(struct buf *out, const json_t *value, const struct output_section *section)
{
	switch (section->kind) {
	case OUTPUT_RECORD:
		return print_record(out, value, section->columns);
	case OUTPUT_RECORDS:
		return print_records(out, value, section->columns);
	case OUTPUT_TABLE:
		return print_table(out, value, section->columns);
	case OUTPUT_MEMBERS:
		return print_members(out, value);
	case OUTPUT_LINES:
		return print_lines(out, value);
	case OUTPUT_VERBATIM:
		return print_verbatim(out, value);
	}
	return 0;
}

static bool is_empty(const json_t *value, enum output_kind kind)
{
	if (kind == OUTPUT_TABLE || kind == OUTPUT_RECORDS || kind == OUTPUT_LINES)
		return json_array_size(value) == 0;
	return kind == OUTPUT_MEMBERS && json_object_size(value) == 0;
}

int output_check(struct cli *cli, const json_t *doc, const struct output_view *view)
{
	for (unsigned int i = 0; i < view->count; i++) {
		const struct output_section *section = &view->sections[i];
		const json_t *value = section->path ? document_get(doc, section->path) : doc;

		if (value && !json_is_null(value) ? !fits_kind(value, section->kind)
						  : section->required)
			return p_err(cli, -EPROTO,
				     "the daemon's answer is not understood ('%s' is %s); are "
				     "sluice and sluiced of the same version?",
				     section->path ? section->path : "document",
				     value ? "of another form" : "missing");
	}
	return 0;
}

int output_print(struct cli *cli, json_t *doc, const struct output_view *view)
{
	int error = output_check(cli, doc, view);

	if (error)
		return error;
	if (cli->json)
		return output_document(cli, doc) ? p_out_of_memory(cli) : 0;

	for (unsigned int i = 0; i < view->count; i++) {
		const struct output_section *section = &view->sections[i];
		const json_t *value = section->path ? document_get(doc, section->path) : doc;
		size_t before = cli->out.len;

		if (!value || json_is_null(value))
			continue;
		if (is_empty(value, section->kind)) {
			if (section->empty)
				p_text(cli, "%s\n", section->empty);
			continue;
		}
		if (before > 0 && buf_append(&cli->out, STR("\n")))
			return p_out_of_memory(cli);
		if (print_section(&cli->out, value, section))
			return p_out_of_memory(cli);
		/* A record whose values are all absent leaves no empty line, either. */
		if (cli->out.len == before + (before > 0))
			cli->out.len = before;
	}
	return 0;
}
