/*
 * fuzz_access_text: any bytes as the text of an allow or deny list. What is read is written and
 * read back as the same; in whole or cut in two at a line's end it is the same; errors lie within
 * the text, one a line. The first byte says where the cut is and which words are known.
 */
#include <errno.h>
#include <stdlib.h>

#include "kern/access_text.h"

#define NOW_MS 1790000000000ULL

struct seen {
	uint64_t hash;
	size_t entries, errors;
	uint64_t last_error_line;
	const struct access_entry *wanted; /* of a line written by us; NULL: of the input */
};

static void check(bool holds)
{
	if (!holds)
		abort();
}

static void read_error(uint64_t line, size_t column, const char *text, void *arg)
{
	struct seen *seen = arg;

	check(!seen->wanted && text[0]);
	check(line > seen->last_error_line && column >= 1 && column <= ACCESS_LINE_MAX + 1);
	seen->last_error_line = line;
	seen->errors++;
}

static bool is_same(const struct access_entry *left, const struct access_entry *right)
{
	return left->prefix.bits == right->prefix.bits &&
	       !memcmp(&left->prefix.addr, &right->prefix.addr, sizeof(left->prefix.addr)) &&
	       !strcmp(left->reason, right->reason) &&
	       left->expires_wall_ms == right->expires_wall_ms && left->origin == right->origin &&
	       left->packets == right->packets && left->bytes == right->bytes;
}

static int read_entry(const struct access_entry *entry, void *arg);

static struct access_text_reader reader_for(struct seen *seen, bool is_shown)
{
	return (struct access_text_reader){
		.now_wall_ms = NOW_MS,
		.is_shown = is_shown,
		.entry = read_entry,
		.error = read_error,
		.arg = seen,
	};
}

/* Written and read back. */
static void check_again(const struct access_entry *entry)
{
	struct seen seen = {.wanted = entry};
	struct access_text_reader reader = reader_for(&seen, true);
	struct buf line;

	buf_init(&line, ACCESS_LINE_MAX);
	check(access_text_write(&line, entry, true) == 0);
	check(buf_str(&line).ptr[line.len - 1] == '\n');
	check(access_text_read(&reader, buf_str(&line)) == 0 && seen.entries == 1);
	buf_done(&line);
}

static int read_entry(const struct access_entry *entry, void *arg)
{
	struct seen *seen = arg;
	struct ip_prefix prefix;
	char text[ADDR_TEXT_MAX];

	check(!access_reason_check(str_from_cstr(entry->reason)));
	(void)ip_prefix_format(&entry->prefix, text, sizeof(text));
	check(ip_prefix_parse(str_from_cstr(text), &prefix, NULL) == 0);
	check(prefix.bits == entry->prefix.bits && prefix.addr.family == entry->prefix.addr.family);
	seen->entries++;
	for (const char *byte = text; *byte; byte++)
		seen->hash = (seen->hash ^ (uint8_t)*byte) * 1099511628211ULL;
	seen->hash = (seen->hash ^ entry->expires_wall_ms) * 1099511628211ULL;
	if (seen->wanted)
		check(is_same(entry, seen->wanted));
	else
		check_again(entry);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen whole = {0}, parts = {0};
	struct access_text_reader reader, second;
	struct str text;
	const char *feed;
	size_t cut;
	int r;

	if (!size)
		return 0;
	text = str_make((const char *)data + 1, size - 1);
	reader = reader_for(&whole, data[0] & 1);
	r = access_text_read(&reader, text);
	check(r == (whole.errors ? -EINVAL : 0));
	check(whole.entries + whole.errors <= reader.line);

	feed = memchr(text.ptr + MIN(text.len, (size_t)data[0] / 2), '\n',
		      text.len - MIN(text.len, (size_t)data[0] / 2));
	cut = feed ? (size_t)(feed - text.ptr) + 1 : text.len;
	second = reader_for(&parts, data[0] & 1);
	(void)access_text_read(&second, str_sub(text, 0, cut));
	(void)access_text_read(&second, str_sub(text, cut, text.len));
	check(parts.hash == whole.hash && parts.entries == whole.entries);
	check(parts.errors == whole.errors && second.line == reader.line);
	return 0;
}
