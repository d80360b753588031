#include "conf/writer.h"

#include <errno.h>

void conf_writer_init(struct conf_writer *writer, struct buf *out)
{
	*writer = (struct conf_writer){.out = out};
}

int conf_writer_finish(struct conf_writer *writer)
{
	if (!writer->failed && writer->depth)
		writer->failed = -EPROTO;
	return writer->failed;
}

static void put(struct conf_writer *writer, struct str text)
{
	if (!writer->failed)
		writer->failed = buf_append(writer->out, text);
}

static bool is_plain_byte(char byte, bool first)
{
	if ((byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '/' ||
	    byte == '_')
		return true;
	return !first && ((byte >= '0' && byte <= '9') || byte == '.' || byte == '-');
}

/*
 * Text that YAML and our own readers take for text, whatever stands around it: no digits in front,
 * none of YAML's indicators, not one of the words that YAML 1.1 makes a bool or null.
 */
static bool is_plain(struct str value)
{
	static const char *const words[] = {"true", "false", "on", "off", "yes",
					    "no",   "null",  "y",  "n"};

	if (str_is_empty(value))
		return false;
	for (size_t i = 0; i < value.len; i++)
		if (!is_plain_byte(value.ptr[i], i == 0))
			return false;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (str_eq_nocase(value, str_from_cstr(words[i])))
			return false;
	return true;
}

/* Code point and length of the sequence at `at`; the text came out of a valid UTF-8 file. */
static uint32_t decode(struct str value, size_t at, size_t *ret_len)
{
	unsigned char first = (unsigned char)value.ptr[at];
	size_t len = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	uint32_t point = len == 1 ? first : first & (0x7fu >> len);

	len = MIN(len, value.len - at);
	for (size_t i = 1; i < len; i++)
		point = point << 6 | ((unsigned char)value.ptr[at + i] & 0x3f);
	*ret_len = len;
	return point;
}

/* What YAML refuses in a file, or takes for a line break (YAML 1.1 sections 5.1 and 5.4). */
static bool must_escape(uint32_t point)
{
	return point < ' ' || (point >= 127 && point < 0xa0) || point == 0x2028 ||
	       point == 0x2029 || point == 0xfeff || point == 0xfffe || point == 0xffff;
}

static void put_text(struct conf_writer *writer, struct str value)
{
	size_t len;

	if (is_plain(value)) {
		put(writer, value);
		return;
	}
	put(writer, STR("\""));
	for (size_t at = 0; at < value.len; at += len) {
		uint32_t point = decode(value, at, &len);
		char escape[12];

		if (point == '"' || point == '\\')
			(void)snprintf(escape, sizeof(escape), "\\%c", (char)point);
		else if (point == '\n')
			(void)snprintf(escape, sizeof(escape), "\\n");
		else if (must_escape(point))
			(void)snprintf(escape, sizeof(escape), "\\u%04x", point);
		else {
			put(writer, str_sub(value, at, len));
			continue;
		}
		put(writer, str_from_cstr(escape));
	}
	put(writer, STR("\""));
}

static void put_indent(struct conf_writer *writer, unsigned int depth)
{
	for (unsigned int i = 1; i < depth; i++)
		put(writer, STR("  "));
}

/* Starts the line of a member or of a list's element. */
static void begin(struct conf_writer *writer, struct str key)
{
	bool is_list = writer->depth && writer->levels[writer->depth].is_list;

	if (is_list == (key.ptr != NULL)) {
		writer->failed = writer->failed ? writer->failed : -EPROTO;
		return;
	}
	if (writer->depth && !writer->levels[writer->depth].filled && !writer->after_dash)
		put(writer, STR("\n"));
	writer->levels[writer->depth].filled = true;
	if (writer->after_dash)
		writer->after_dash = false;
	else
		put_indent(writer, writer->depth + 1);
	if (is_list) {
		put(writer, STR("-"));
	} else {
		put_text(writer, key);
		put(writer, STR(":"));
	}
}

static void open_level(struct conf_writer *writer, bool is_list)
{
	if (writer->depth == CONF_WRITER_DEPTH_MAX) {
		writer->failed = writer->failed ? writer->failed : -E2BIG;
		return;
	}
	writer->depth++;
	writer->levels[writer->depth].is_list = is_list;
	writer->levels[writer->depth].filled = false;
}

void conf_write_open_mapping(struct conf_writer *writer, const char *key)
{
	begin(writer, str_from_cstr(key));
	open_level(writer, false);
}

void conf_write_open_list(struct conf_writer *writer, const char *key)
{
	begin(writer, str_from_cstr(key));
	open_level(writer, true);
}

void conf_write_open_item(struct conf_writer *writer)
{
	begin(writer, STR_NULL);
	open_level(writer, false);
	put(writer, STR(" "));
	writer->after_dash = true;
}

void conf_write_close(struct conf_writer *writer)
{
	if (!writer->depth) {
		writer->failed = writer->failed ? writer->failed : -EPROTO;
		return;
	}
	if (!writer->levels[writer->depth].filled) {
		put(writer, writer->levels[writer->depth].is_list ? STR(" []\n")
			    : writer->after_dash		  ? STR("{}\n")
								  : STR(" {}\n"));
		writer->after_dash = false;
	}
	writer->depth--;
}

void conf_write_member(struct conf_writer *writer, struct str key, struct str value)
{
	begin(writer, key);
	put(writer, STR(" "));
	put_text(writer, value);
	put(writer, STR("\n"));
}

void conf_write_str(struct conf_writer *writer, const char *key, struct str value)
{
	conf_write_member(writer, str_from_cstr(key), value);
}

void conf_write_plain(struct conf_writer *writer, const char *key, const char *value)
{
	begin(writer, str_from_cstr(key));
	put(writer, STR(" "));
	put(writer, str_from_cstr(value));
	put(writer, STR("\n"));
}

void conf_write_texts(struct conf_writer *writer, const char *key, const struct str *texts,
		      unsigned int count)
{
	if (!count)
		return;
	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < count; i++)
		conf_write_str(writer, NULL, texts[i]);
	conf_write_close(writer);
}

void conf_write_u64(struct conf_writer *writer, const char *key, uint64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	conf_write_plain(writer, key, text);
}
