#include "kern/access_text.h"

#include <errno.h>
#include <stdarg.h>
#include <time.h>

#include "base/duration.h"
#include "base/utf8.h"

#define DAY_MS	 86400000ULL
#define WORD_MAX 128 /* of an error */

/* ---- a line ---- */

struct line {
	struct access_text_reader *reader;
	const char *start, *pos, *end;
	bool failed;
};

static void fail(struct line *line, const char *at, const char *fmt, ...) PRINTF_LIKE(3, 4);

static void fail(struct line *line, const char *at, const char *fmt, ...)
{
	char text[512];
	va_list args;

	if (line->failed)
		return;
	line->failed = true;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	line->reader->error(line->reader->line, (size_t)(at - line->start) + 1, text,
			    line->reader->arg);
}

static bool is_blank(char byte)
{
	return byte == ' ' || byte == '\t';
}

/* False at the end of the line or at its comment. */
static bool next_word(struct line *line, struct str *ret_word)
{
	const char *from;

	while (line->pos < line->end && is_blank(*line->pos))
		line->pos++;
	if (line->pos == line->end || *line->pos == '#')
		return false;
	from = line->pos;
	while (line->pos < line->end && !is_blank(*line->pos) && *line->pos != '#')
		line->pos++;
	*ret_word = str_make(from, (size_t)(line->pos - from));
	return true;
}

/* ---- prefixes ---- */

static unsigned int take_octet(const char **pos, const char *end, unsigned int most)
{
	const char *from = *pos;
	unsigned int number = 0;

	while (*pos < end && *pos - from < 3 && **pos >= '0' && **pos <= '9')
		number = number * 10 + (unsigned int)(*(*pos)++ - '0');
	if (*pos == from || (*from == '0' && *pos - from > 1) || number > most)
		return ~0u;
	return number;
}

/* The plain IPv4 address or prefix that most lines have; false: look closer. */
static bool read_ipv4(struct str word, struct ip_prefix *ret_prefix)
{
	const char *pos = word.ptr, *end = word.ptr + word.len;
	unsigned int bits = 32;
	uint32_t addr = 0;

	for (int i = 0; i < 4; i++) {
		unsigned int octet;

		if (i && (pos == end || *pos++ != '.'))
			return false;
		octet = take_octet(&pos, end, 255);
		if (octet == ~0u)
			return false;
		addr = addr << 8 | octet;
	}
	if (pos < end) {
		if (*pos++ != '/')
			return false;
		bits = take_octet(&pos, end, 32);
		if (bits == ~0u || pos != end)
			return false;
	}
	if (bits < 32 && (uint32_t)((uint64_t)addr << bits))
		return false;
	*ret_prefix = (struct ip_prefix){.addr.family = AF_INET, .bits = (uint8_t)bits};
	addr = htonl(addr);
	memcpy(ret_prefix->addr.bytes, &addr, sizeof(addr));
	return true;
}

int access_prefix_parse(struct str text, struct ip_prefix *ret_prefix, struct error *err)
{
	return read_ipv4(text, ret_prefix) ? 0 : ip_prefix_parse(text, ret_prefix, err);
}

static void read_prefix(struct line *line, struct str word, struct ip_prefix *ret_prefix)
{
	struct error err = {0};

	if (access_prefix_parse(word, ret_prefix, &err))
		fail(line, word.ptr, "%s", err.text);
}

/* ---- moments ---- */

/* Days from 1970-01-01, of the Gregorian calendar; the year begins in March. */
static uint64_t days_of(unsigned int year, unsigned int month, unsigned int day)
{
	unsigned int from_march = (month + 9) % 12;
	uint64_t years = year - (month <= 2);

	return years * 365 + years / 4 - years / 100 + years / 400 + (from_march * 153 + 2) / 5 +
	       day - 1 - 719468;
}

static unsigned int days_in(unsigned int year, unsigned int month)
{
	static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	bool is_leap = year % 4 == 0 && (year % 100 || year % 400 == 0);

	return days[month - 1] + (month == 2 && is_leap);
}

/* Digits as in the pattern, where 'd' is one of them. */
static bool has_form(struct str text, const char *pattern)
{
	if (text.len != strlen(pattern))
		return false;
	for (size_t i = 0; i < text.len; i++)
		if (pattern[i] == 'd' ? text.ptr[i] < '0' || text.ptr[i] > '9'
				      : text.ptr[i] != pattern[i])
			return false;
	return true;
}

static unsigned int number_at(struct str text, size_t from, size_t len)
{
	unsigned int number = 0;

	for (size_t i = from; i < from + len; i++)
		number = number * 10 + (unsigned int)(text.ptr[i] - '0');
	return number;
}

static int read_moment(struct str text, uint64_t *ret_wall_ms)
{
	bool has_ms = has_form(text, "dddd-dd-ddTdd:dd:dd.dddZ");
	unsigned int year, month, day, hour, minute, second;

	if (!has_ms && !has_form(text, "dddd-dd-ddTdd:dd:ddZ"))
		return -EINVAL;
	year = number_at(text, 0, 4);
	month = number_at(text, 5, 2);
	day = number_at(text, 8, 2);
	hour = number_at(text, 11, 2);
	minute = number_at(text, 14, 2);
	second = number_at(text, 17, 2);
	if (year < 1970 || month < 1 || month > 12 || day < 1 || day > days_in(year, month) ||
	    hour > 23 || minute > 59 || second > 59)
		return -EINVAL;
	*ret_wall_ms = days_of(year, month, day) * DAY_MS +
		       ((hour * 60ULL + minute) * 60 + second) * 1000 +
		       (has_ms ? number_at(text, 20, 3) : 0);
	return 0;
}

/* ---- words behind the prefix ---- */

const char *access_reason_check(struct str reason)
{
	_Static_assert(ACCESS_REASON_MAX == 32, "the sentence says 31");
	if (reason.len >= ACCESS_REASON_MAX)
		return "is longer than 31 bytes";
	for (size_t at = 0; at < reason.len;) {
		const unsigned char *bytes = (const unsigned char *)reason.ptr + at;
		size_t len = utf8_len(bytes, reason.len - at);

		if (!len)
			return "is not UTF-8";
		if (*bytes < ' ' || *bytes == 127)
			return "has a control character";
		at += len;
	}
	return NULL;
}

/* "two words": behind the opening quote. */
static void read_quoted(struct line *line, char *room, size_t room_len, struct str *ret_text)
{
	const char *opening = line->pos++;
	size_t len = 0;

	for (; line->pos < line->end && *line->pos != '"'; line->pos++) {
		if (*line->pos == '\\' && line->pos + 1 < line->end &&
		    (line->pos[1] == '"' || line->pos[1] == '\\'))
			line->pos++;
		if (len < room_len)
			room[len++] = *line->pos;
	}
	if (line->pos == line->end) {
		fail(line, opening, "the quote is not closed on its line");
		return;
	}
	line->pos++;
	if (line->pos < line->end && !is_blank(*line->pos) && *line->pos != '#')
		fail(line, line->pos, "expected a blank after the closing quote");
	*ret_text = str_make(room, len);
}

static void read_reason(struct line *line, struct access_entry *entry)
{
	char room[ACCESS_REASON_MAX + 1], quoted[WORD_MAX];
	const char *at, *wrong;
	struct str text = STR("");

	while (line->pos < line->end && is_blank(*line->pos))
		line->pos++;
	at = line->pos;
	if (line->pos < line->end && *line->pos == '"')
		read_quoted(line, room, sizeof(room), &text);
	else if (!next_word(line, &text))
		fail(line, at, "'reason' needs a value: reason TEXT");
	if (line->failed)
		return;
	wrong = access_reason_check(text);
	if (wrong)
		fail(line, at, "the reason %s %s", str_quote(text, quoted, sizeof(quoted)), wrong);
	else
		(void)str_to_cstr(text, entry->reason, sizeof(entry->reason));
}

static void read_ttl(struct line *line, struct str text, struct access_entry *entry)
{
	char quoted[WORD_MAX];
	uint64_t ms;
	int error = duration_parse_ms(text, &ms);

	(void)str_quote(text, quoted, sizeof(quoted));
	if (error == -EINVAL)
		fail(line, text.ptr, "ttl %s is not a duration; write it as 90s, 10m, 24h or 7d",
		     quoted);
	else if (error || ms > ACCESS_TTL_MS_MAX)
		fail(line, text.ptr, "ttl %s is too long; leave it out for an entry without an end",
		     quoted);
	else if (!ms)
		fail(line, text.ptr, "ttl %s is no time at all", quoted);
	else
		entry->expires_wall_ms = line->reader->now_wall_ms + ms;
}

static void read_until(struct line *line, struct str text, struct access_entry *entry)
{
	char quoted[WORD_MAX];

	if (read_moment(text, &entry->expires_wall_ms) || !entry->expires_wall_ms)
		fail(line, text.ptr, "until %s is not a moment such as 2026-11-24T05:00:00Z",
		     str_quote(text, quoted, sizeof(quoted)));
	else if (entry->expires_wall_ms > line->reader->now_wall_ms + ACCESS_TTL_MS_MAX)
		fail(line, text.ptr,
		     "until %s is more than a century away; leave it out for an entry without an "
		     "end",
		     str_quote(text, quoted, sizeof(quoted)));
}

static void read_from(struct line *line, struct str text, struct access_entry *entry)
{
	char quoted[WORD_MAX];

	if (str_eq(text, STR("config")))
		entry->origin = ACCESS_FROM_CONFIG;
	else if (!str_eq(text, STR("cli")))
		fail(line, text.ptr, "from %s: expected 'config' or 'cli'",
		     str_quote(text, quoted, sizeof(quoted)));
}

static void read_number(struct line *line, struct str text, uint64_t *ret_number)
{
	char quoted[WORD_MAX];

	if (str_to_u64(text, ret_number))
		fail(line, text.ptr, "%s is not a whole number",
		     str_quote(text, quoted, sizeof(quoted)));
}

enum word { WORD_REASON, WORD_TTL, WORD_UNTIL, WORD_FROM, WORD_PACKETS, WORD_BYTES, WORD_COUNT };

static const struct {
	struct str name;
	const char *value;
} words[WORD_COUNT] = {
	[WORD_REASON] = {STR("reason"), "TEXT"}, [WORD_TTL] = {STR("ttl"), "DURATION"},
	[WORD_UNTIL] = {STR("until"), "MOMENT"}, [WORD_FROM] = {STR("from"), "ORIGIN"},
	[WORD_PACKETS] = {STR("packets"), "N"},	 [WORD_BYTES] = {STR("bytes"), "N"},
};

static enum word find_word(const struct line *line, struct str name)
{
	enum word word = 0, count = line->reader->is_shown ? WORD_COUNT : WORD_FROM;

	while (word < count && !str_eq(name, words[word].name))
		word++;
	return word < count ? word : WORD_COUNT;
}

static void read_word(struct line *line, enum word word, struct str value,
		      struct access_entry *entry)
{
	switch (word) {
	case WORD_TTL:
		read_ttl(line, value, entry);
		break;
	case WORD_UNTIL:
		read_until(line, value, entry);
		break;
	case WORD_FROM:
		read_from(line, value, entry);
		break;
	case WORD_PACKETS:
		read_number(line, value, &entry->packets);
		break;
	default:
		read_number(line, value, &entry->bytes);
		break;
	}
}

static void read_words(struct line *line, struct access_entry *entry)
{
	unsigned int seen = 0;
	char quoted[WORD_MAX];
	struct str name, value;

	while (!line->failed && next_word(line, &name)) {
		enum word word = find_word(line, name);

		if (word == WORD_COUNT)
			fail(line, name.ptr, "unknown word %s; expected 'reason', 'ttl' or 'until'",
			     str_quote(name, quoted, sizeof(quoted)));
		else if (seen & 1u << word)
			fail(line, name.ptr, "'%.*s' is given twice", STR_FMT(name));
		else if (seen & (1u << WORD_TTL | 1u << WORD_UNTIL) &&
			 (word == WORD_TTL || word == WORD_UNTIL))
			fail(line, name.ptr, "'ttl' and 'until' do not go together");
		if (line->failed)
			return;
		seen |= 1u << word;
		if (word == WORD_REASON)
			read_reason(line, entry);
		else if (next_word(line, &value))
			read_word(line, word, value, entry);
		else
			fail(line, name.ptr, "'%.*s' needs a value: %.*s %s", STR_FMT(name),
			     STR_FMT(name), words[word].value);
	}
}

static int read_line(struct access_text_reader *reader, struct str text)
{
	struct line line = {reader, text.ptr, text.ptr, text.ptr + text.len, false};
	struct access_entry entry;
	struct str word;

	if (text.len > ACCESS_LINE_MAX) {
		fail(&line, text.ptr + ACCESS_LINE_MAX, "the line is longer than %d bytes",
		     ACCESS_LINE_MAX);
		return -EINVAL;
	}
	if (!next_word(&line, &word))
		return 0;
	memset(&entry, 0, sizeof(entry));
	entry.origin = ACCESS_FROM_CLI;
	entry.expires_wall_ms = reader->expires_wall_ms;
	if (reader->reason)
		(void)snprintf(entry.reason, sizeof(entry.reason), "%s", reader->reason);
	read_prefix(&line, word, &entry.prefix);
	read_words(&line, &entry);
	return line.failed ? -EINVAL : reader->entry(&entry, reader->arg);
}

int access_text_read(struct access_text_reader *reader, struct str text)
{
	int result = 0;

	while (text.len) {
		const char *feed = memchr(text.ptr, '\n', text.len);
		size_t len = feed ? (size_t)(feed - text.ptr) : text.len;
		struct str line = str_make(text.ptr, len);
		int r;

		text = str_sub(text, len + 1, text.len);
		if (line.len && line.ptr[line.len - 1] == '\r')
			line.len--;
		reader->line++;
		r = read_line(reader, line);
		if (r && r != -EINVAL)
			return r;
		if (r)
			result = r;
	}
	return result;
}

/* ---- writing ---- */

static char *put(char *pos, struct str text)
{
	memcpy(pos, text.ptr, text.len);
	return pos + text.len;
}

static char *put_number(char *pos, uint64_t number)
{
	char digits[20];
	unsigned int len = 0;

	do
		digits[len++] = (char)('0' + number % 10);
	while (number /= 10);
	while (len)
		*pos++ = digits[--len];
	return pos;
}

static bool needs_quotes(const char *reason)
{
	for (; *reason; reason++)
		if (*reason <= ' ' || *reason == '"' || *reason == '\\' || *reason == '#' ||
		    (unsigned char)*reason >= 127)
			return true;
	return false;
}

/* What cannot be a reason, since it comes from elsewhere, gets question marks for its bytes. */
static char *put_reason(char *pos, const char *reason)
{
	bool is_good = !access_reason_check(str_from_cstr(reason));

	pos = put(pos, STR(" reason "));
	if (!needs_quotes(reason))
		return put(pos, str_from_cstr(reason));
	*pos++ = '"';
	for (; *reason; reason++) {
		bool is_plain = *reason >= ' ' && *reason < 127;

		if (*reason == '"' || *reason == '\\')
			*pos++ = '\\';
		*pos++ = is_plain || is_good ? *reason : '?';
	}
	*pos++ = '"';
	return pos;
}

static char *put_moment(char *pos, uint64_t wall_ms)
{
	time_t seconds = (time_t)(wall_ms / 1000);
	struct tm utc;
	char text[80];
	int len;

	/* A moment that has no four-digit year is no end that anybody will see. */
	if (!gmtime_r(&seconds, &utc) || utc.tm_year > 9999 - 1900)
		return pos;
	len = snprintf(text, sizeof(text), " until %04d-%02d-%02dT%02d:%02d:%02d",
		       utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min,
		       utc.tm_sec);
	pos = put(pos, str_make(text, (size_t)len));
	if (wall_ms % 1000) {
		len = snprintf(text, sizeof(text), ".%03u", (unsigned int)(wall_ms % 1000));
		pos = put(pos, str_make(text, (size_t)len));
	}
	return put(pos, STR("Z"));
}

int access_text_write(struct buf *out, const struct access_entry *entry, bool is_shown)
{
	char *room, *pos, addr[ADDR_TEXT_MAX];
	int r = buf_reserve(out, 512, &room);

	if (r)
		return r;
	pos = put(room, str_from_cstr(ip_addr_format(&entry->prefix.addr, addr, sizeof(addr))));
	*pos++ = '/';
	pos = put_number(pos, entry->prefix.bits);
	if (entry->reason[0])
		pos = put_reason(pos, entry->reason);
	if (entry->expires_wall_ms)
		pos = put_moment(pos, entry->expires_wall_ms);
	if (is_shown) {
		pos = put(pos, entry->origin == ACCESS_FROM_CONFIG ? STR(" from config")
								   : STR(" from cli"));
		pos = put_number(put(pos, STR(" packets ")), entry->packets);
		pos = put_number(put(pos, STR(" bytes ")), entry->bytes);
	}
	*pos++ = '\n';
	buf_commit(out, (size_t)(pos - room));
	return 0;
}
