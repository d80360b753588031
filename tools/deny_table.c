#include "tools/deny_table.h"

#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "kern/access_text.h"
#include "tools/output.h"
#include "tools/text.h"

#define FLUSH_BYTES ((size_t)1 << 20)

enum column {
	COLUMN_CIDR,
	COLUMN_REASON,
	COLUMN_EXPIRES,
	COLUMN_FROM,
	COLUMN_PACKETS,
	COLUMN_BYTES
};
#define COLUMN_COUNT (COLUMN_BYTES + 1)

static const char *const titles[COLUMN_COUNT] = {"CIDR", "REASON",  "EXPIRES",
						 "FROM", "PACKETS", "BYTES"};

struct cell {
	uint8_t len, width;
};

int deny_flush(void *arg)
{
	struct cli *cli = arg;

	return !cli->in_batch && cli->out.len >= FLUSH_BYTES ? cli_flush(cli) : 0;
}

static int write_expiry(struct buf *out, const struct access_entry *entry, uint64_t now_ms)
{
	int error;

	if (!entry->expires_wall_ms)
		return buf_append(out, STR("never"));
	if (entry->expires_wall_ms <= now_ms)
		return buf_append(out, STR("now"));
	error = buf_append(out, STR("in "));
	return error ? error : output_seconds(out, (entry->expires_wall_ms - now_ms + 999) / 1000);
}

static int write_cell(struct buf *out, enum column column, const struct access_entry *entry,
		      uint64_t now_ms)
{
	char cidr[ADDR_TEXT_MAX];

	switch (column) {
	case COLUMN_CIDR:
		(void)ip_prefix_format(&entry->prefix, cidr, sizeof(cidr));
		return buf_append(out, str_from_cstr(cidr));
	case COLUMN_REASON:
		return entry->reason[0] ? output_escape(out, str_from_cstr(entry->reason), false)
					: buf_append(out, STR("-"));
	case COLUMN_EXPIRES:
		return write_expiry(out, entry, now_ms);
	case COLUMN_FROM:
		return buf_append(out,
				  entry->origin == ACCESS_FROM_CLI ? STR("cli") : STR("config"));
	case COLUMN_PACKETS:
		return output_count(out, entry->packets);
	default:
		return output_bytes(out, entry->bytes);
	}
}

static int pad(struct buf *out, size_t count)
{
	static const char blanks[] = "                                ";
	int error = 0;

	while (count && !error) {
		size_t len = MIN(count, sizeof(blanks) - 1);

		error = buf_append(out, str_make(blanks, len));
		count -= len;
	}
	return error;
}

static int write_row(struct buf *out, const char *text, const struct cell *cells,
		     const size_t *widths)
{
	int error = 0;

	for (unsigned int i = 0; i < COLUMN_COUNT && !error; i++) {
		size_t space = widths[i] - cells[i].width;

		if (i >= COLUMN_PACKETS)
			error = pad(out, space);
		if (!error)
			error = buf_append(out, str_make(text, cells[i].len));
		text += cells[i].len;
		if (!error && i < COLUMN_PACKETS)
			error = pad(out, space);
		if (!error)
			error = buf_append(out, i == COLUMN_COUNT - 1 ? STR("\n") : STR("  "));
	}
	return error;
}

/* All cells once, one behind the other, and how long they are. */
static int write_cells(const struct access_entries *entries, struct buf *texts, struct cell *cells,
		       size_t *widths)
{
	uint64_t now_ms = clock_wall_ms();

	for (unsigned int i = 0; i < COLUMN_COUNT; i++) {
		size_t len = strlen(titles[i]);

		if (buf_append(texts, str_make(titles[i], len)))
			return -1;
		*cells++ = (struct cell){(uint8_t)len, (uint8_t)len};
		widths[i] = len;
	}
	for (size_t at = 0; at < access_entries_places(entries); at++) {
		struct access_entry entry;

		if (!access_entries_get(entries, at, &entry))
			continue;
		for (unsigned int i = 0; i < COLUMN_COUNT; i++, cells++) {
			size_t start = texts->len;

			if (write_cell(texts, (enum column)i, &entry, now_ms))
				return -1;
			cells->len = (uint8_t)(texts->len - start);
			cells->width =
				(uint8_t)text_width(str_sub(buf_str(texts), start, cells->len));
			widths[i] = MAX(widths[i], (size_t)cells->width);
		}
	}
	return 0;
}

int deny_print_table(struct cli *cli, const struct access_entries *entries)
{
	size_t count = access_entries_count(entries) + 1, widths[COLUMN_COUNT];
	_cleanup_free_ struct cell *cells = calloc(count * COLUMN_COUNT, sizeof(*cells));
	_cleanup_(buf_done)
	struct buf texts;
	const struct cell *row = cells;
	const char *text;
	int error;

	buf_init(&texts, SIZE_MAX);
	if (!cells || write_cells(entries, &texts, cells, widths))
		return p_out_of_memory(cli);
	text = buf_str(&texts).ptr;
	for (; count; count--, row += COLUMN_COUNT) {
		if (write_row(&cli->out, text, row, widths))
			return p_out_of_memory(cli);
		for (unsigned int i = 0; i < COLUMN_COUNT; i++)
			text += row[i].len;
		error = deny_flush(cli);
		if (error)
			return error;
	}
	return 0;
}

/* ---- JSON ---- */

static void write_time(struct json_writer *json, const char *key, uint64_t wall_ms)
{
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm utc;
	char text[40];

	if (!wall_ms || !gmtime_r(&seconds, &utc) ||
	    !strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &utc))
		json_nil(json, key);
	else
		json_cstring(json, key, text);
}

static void write_entry(struct json_writer *json, const struct access_entry *entry, uint64_t now_ms)
{
	char cidr[ADDR_TEXT_MAX];
	uint64_t left = entry->expires_wall_ms > now_ms ? entry->expires_wall_ms - now_ms : 0;

	json_open_object(json, NULL);
	json_cstring(json, "cidr", ip_prefix_format(&entry->prefix, cidr, sizeof(cidr)));
	json_cstring(json, "reason", entry->reason[0] ? entry->reason : NULL);
	write_time(json, "expires_at", entry->expires_wall_ms);
	if (entry->expires_wall_ms)
		json_u64(json, "ttl_s", (left + 999) / 1000);
	else
		json_nil(json, "ttl_s");
	json_cstring(json, "origin", entry->origin == ACCESS_FROM_CLI ? "cli" : "config");
	json_u64(json, "packets", entry->packets);
	json_u64(json, "bytes", entry->bytes);
	json_close_object(json);
}

int deny_print_json(struct cli *cli, const struct access_entries *entries, bool daemon)
{
	uint64_t now_ms = clock_wall_ms();
	struct json_writer json;
	int error;

	json_init(&json, &cli->out, cli->pretty);
	json_open_object(&json, NULL);
	json_open_array(&json, "entries");
	for (size_t at = 0; at < access_entries_places(entries); at++) {
		struct access_entry entry;

		if (access_entries_get(entries, at, &entry))
			write_entry(&json, &entry, now_ms);
		error = deny_flush(cli);
		if (error)
			return error;
	}
	json_close_array(&json);
	json_bool(&json, "daemon", daemon);
	json_close_object(&json);
	return json_finish(&json) || buf_append(&cli->out, STR("\n")) ? p_out_of_memory(cli) : 0;
}

/* ---- text ---- */

int deny_write_text(const struct access_entries *entries, struct buf *out, int (*flush)(void *arg),
		    void *arg)
{
	int error = 0;

	for (size_t at = 0; at < access_entries_places(entries) && !error; at++) {
		struct access_entry entry;

		if (access_entries_get(entries, at, &entry))
			error = access_text_write(out, &entry, false);
		if (!error)
			error = flush(arg);
	}
	return error;
}
