#include "http/access_log_format.h"

#include <time.h>

#include "base/utf8.h"
#include "base/util.h"

#define REASON_MAX 256
/* "\u00XX" for one byte. */
#define EXPANSION 6
/* What nginx writes for a client that left before it was answered; no answer has it. */
#define STATUS_NONE 499

#define PUT(pos, literal) put((pos), literal, sizeof(literal) - 1)

static inline char *put(char *pos, const char *bytes, size_t len)
{
	memcpy(pos, bytes, len);
	return pos + len;
}

static char *put_u64(char *pos, uint64_t number)
{
	char digits[20];
	size_t at = sizeof(digits);

	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	return put(pos, digits + at, sizeof(digits) - at);
}

static char *put_3(char *pos, unsigned int number)
{
	pos[0] = (char)('0' + number / 100 % 10);
	pos[1] = (char)('0' + number / 10 % 10);
	pos[2] = (char)('0' + number % 10);
	return pos + 3;
}

/* Milliseconds with the microseconds behind the point; null where it never came to that. */
static char *put_ms(char *pos, uint64_t time_us)
{
	if (time_us == ACCESS_LOG_NEVER)
		return PUT(pos, "null");
	pos = put_u64(pos, time_us / 1000);
	*pos++ = '.';
	return put_3(pos, (unsigned int)(time_us % 1000));
}

static char *put_ip(char *pos, const struct ip_addr *addr)
{
	char text[ADDR_TEXT_MAX];

	if (addr->family != AF_INET) {
		(void)ip_addr_format(addr, text, sizeof(text));
		return put(pos, text, strlen(text));
	}
	/* inet_ntop() goes through printf, which would be the dearest part of a line. */
	for (unsigned int i = 0; i < 4; i++) {
		pos = put_u64(pos, addr->bytes[i]);
		*pos++ = '.';
	}
	return pos - 1;
}

/* ---- values of a peer ---- */

/* Does one of eight bytes need a closer look? All others stand for themselves in both formats. */
static bool needs_care(uint64_t word)
{
	const uint64_t ones = 0x0101010101010101ULL, tops = ones << 7;
	uint64_t quote = word ^ ones * '"', slash = word ^ ones * '\\', del = word ^ ones * 127;

	/* A byte below n borrows from its top bit; a borrow from below only costs the look. */
	return ((word | ((word - ones * ' ') & ~word) | ((quote - ones) & ~quote) |
		 ((slash - ones) & ~slash) | ((del - ones) & ~del)) &
		tops) != 0;
}

static bool is_plain(char byte)
{
	return byte >= ' ' && byte < 127 && byte != '"' && byte != '\\';
}

static char *put_json_char(char *pos, const char *bytes, size_t len, size_t *ret_taken)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char byte = (unsigned char)bytes[0];

	*ret_taken = 1;
	if (byte == '"' || byte == '\\') {
		*pos++ = '\\';
		*pos++ = (char)byte;
		return pos;
	}
	if (byte < ' ' || byte == 127) {
		pos = PUT(pos, "\\u00");
		*pos++ = hex[byte >> 4];
		*pos++ = hex[byte & 15];
		return pos;
	}
	*ret_taken = utf8_len((const unsigned char *)bytes, len);
	if (*ret_taken)
		return put(pos, bytes, *ret_taken);
	*ret_taken = 1;
	return PUT(pos, "\xef\xbf\xbd");
}

static char *put_combined_char(char *pos, const char *bytes, size_t len, size_t *ret_taken)
{
	static const char hex[] = "0123456789ABCDEF";
	unsigned char byte = (unsigned char)bytes[0];

	*ret_taken = 1;
	*pos++ = '\\';
	*pos++ = 'x';
	*pos++ = hex[byte >> 4];
	*pos++ = hex[byte & 15];
	return pos;
}

static inline char *put_escaped(char *pos, struct str value, size_t len_max,
				char *(*put_char)(char *pos, const char *bytes, size_t len,
						  size_t *ret_taken))
{
	size_t left = MIN(value.len, len_max), taken;
	const char *from = value.ptr;

	while (left) {
		uint64_t word;

		for (; left >= sizeof(word); left -= sizeof(word)) {
			memcpy(&word, from, sizeof(word));
			if (needs_care(word))
				break;
			pos = put(pos, (const char *)&word, sizeof(word));
			from += sizeof(word);
		}
		/* Up to the end, or past the byte that needs care. */
		for (; left && is_plain(*from); left--)
			*pos++ = *from++;
		if (!left)
			break;
		pos = put_char(pos, from, left, &taken);
		from += taken;
		left -= taken;
	}
	return pos;
}

static char *put_json(char *pos, struct str value, size_t len_max)
{
	if (!value.ptr)
		return PUT(pos, "null");
	*pos++ = '"';
	pos = put_escaped(pos, value, len_max, put_json_char);
	*pos++ = '"';
	return pos;
}

static char *put_combined(char *pos, struct str value, size_t len_max)
{
	if (!value.len)
		return PUT(pos, "-");
	return put_escaped(pos, value, len_max, put_combined_char);
}

/* ---- the two formats ---- */

static void clock_set(struct access_log_clock *clock, uint64_t second)
{
	time_t now = (time_t)second;
	struct tm utc;

	if (clock->second == second && clock->json[0])
		return;
	clock->second = second;
	(void)gmtime_r(&now, &utc);
	(void)strftime(clock->json, sizeof(clock->json), "%Y-%m-%dT%H:%M:%S.", &utc);
	(void)strftime(clock->combined, sizeof(clock->combined), "[%d/%b/%Y:%H:%M:%S +0000]", &utc);
}

static char *put_json_reason(char *pos, const struct access_log_entry *entry)
{
	char text[REASON_MAX];

	if (!entry->reason || !entry->reason_detail)
		return put_json(pos, str_from_cstr(entry->reason), REASON_MAX);
	(void)snprintf(text, sizeof(text), "%s: %s", entry->reason, entry->reason_detail);
	return put_json(pos, str_from_cstr(text), REASON_MAX);
}

static char *put_json_upstream(char *pos, const struct access_log_entry *entry)
{
	pos = PUT(pos, ",\"upstream\":");
	pos = put_json(pos, entry->upstream, ACCESS_LOG_NAME_MAX);
	pos = PUT(pos, ",\"endpoint\":");
	pos = put_json(pos, entry->endpoint, ACCESS_LOG_NAME_MAX);
	pos = PUT(pos, ",\"attempts\":");
	pos = put_u64(pos, entry->attempts);
	pos = entry->reused ? PUT(pos, ",\"reused\":true") : PUT(pos, ",\"reused\":false");
	pos = PUT(pos, ",\"connect_ms\":");
	pos = put_ms(pos, entry->connect_us);
	pos = PUT(pos, ",\"upstream_ms\":");
	return put_ms(pos, entry->head_us);
}

static char *put_version(char *pos, const struct access_log_entry *entry)
{
	if (entry->is_http2)
		return PUT(pos, "HTTP/2");
	pos = PUT(pos, "HTTP/1.");
	*pos++ = (char)('0' + entry->version_minor);
	return pos;
}

static char *put_json_tls(char *pos, const struct access_log_entry *entry)
{
	pos = PUT(pos, ",\"tls\":{\"version\":");
	pos = put_json(pos, entry->tls_version, ACCESS_LOG_NAME_MAX);
	pos = PUT(pos, ",\"cipher\":");
	pos = put_json(pos, entry->tls_cipher, ACCESS_LOG_NAME_MAX);
	pos = entry->tls_resumed ? PUT(pos, ",\"resumed\":true") : PUT(pos, ",\"resumed\":false");
	pos = PUT(pos, ",\"sni\":");
	pos = put_json(pos, entry->tls_sni, ACCESS_LOG_SNI_MAX);
	pos = PUT(pos, ",\"alpn\":");
	pos = put_json(pos, entry->tls_alpn, ACCESS_LOG_NAME_MAX);
	if (entry->client_fingerprint.ptr) {
		pos = PUT(pos, ",\"client_san\":");
		pos = put_json(pos, entry->client_san, ACCESS_LOG_SAN_MAX);
		pos = PUT(pos, ",\"client_fingerprint\":");
		pos = put_json(pos, entry->client_fingerprint, ACCESS_LOG_NAME_MAX);
	}
	*pos++ = '}';
	return pos;
}

static char *put_json_request(char *pos, const struct access_log_entry *entry)
{
	if (!entry->method.ptr) {
		pos = PUT(pos, ",\"method\":null,\"host\":null,\"target\":null,\"protocol\":null,"
			       "\"refused_line\":");
		return put_json(pos, entry->refused_line, ACCESS_LOG_VALUE_MAX);
	}
	pos = PUT(pos, ",\"method\":");
	pos = put_json(pos, entry->method, ACCESS_LOG_VALUE_MAX);
	pos = PUT(pos, ",\"host\":");
	pos = put_json(pos, entry->host, ACCESS_LOG_VALUE_MAX);
	pos = PUT(pos, ",\"target\":");
	pos = put_json(pos, entry->target, ACCESS_LOG_TARGET_MAX);
	pos = PUT(pos, ",\"protocol\":\"");
	pos = put_version(pos, entry);
	*pos++ = '"';
	return pos;
}

static char *put_line_json(char *pos, const struct access_log_entry *entry,
			   const struct access_log_clock *clock)
{
	pos = PUT(pos, "{\"time\":\"");
	pos = put(pos, clock->json, strlen(clock->json));
	pos = put_3(pos, (unsigned int)(entry->wall_ms % 1000));
	pos = PUT(pos, "Z\",\"client\":\"");
	pos = put_ip(pos, &entry->client);
	if (memcmp(&entry->client, &entry->peer, sizeof(entry->peer))) {
		pos = PUT(pos, "\",\"peer\":\"");
		pos = put_ip(pos, &entry->peer);
	}
	pos = PUT(pos, "\",\"listener\":");
	pos = put_json(pos, entry->listener, ACCESS_LOG_NAME_MAX);
	pos = PUT(pos, ",\"route\":");
	pos = put_json(pos, entry->route, ACCESS_LOG_NAME_MAX);
	if (entry->consumer.ptr) {
		pos = PUT(pos, ",\"consumer\":");
		pos = put_json(pos, entry->consumer, ACCESS_LOG_NAME_MAX);
	}
	pos = put_json_request(pos, entry);
	pos = PUT(pos, ",\"status\":");
	pos = entry->status ? put_u64(pos, entry->status) : PUT(pos, "null");
	pos = PUT(pos, ",\"reason\":");
	pos = put_json_reason(pos, entry);
	pos = PUT(pos, ",\"bytes_in\":");
	pos = put_u64(pos, entry->bytes_in);
	pos = PUT(pos, ",\"bytes_out\":");
	pos = put_u64(pos, entry->bytes_out);
	pos = PUT(pos, ",\"duration_ms\":");
	pos = put_ms(pos, entry->duration_us);
	pos = PUT(pos, ",\"first_byte_ms\":");
	pos = put_ms(pos, entry->first_byte_us);
	if (entry->has_upstream)
		pos = put_json_upstream(pos, entry);
	if (entry->has_tls)
		pos = put_json_tls(pos, entry);
	pos = PUT(pos, ",\"user_agent\":");
	pos = put_json(pos, entry->user_agent, ACCESS_LOG_VALUE_MAX);
	pos = PUT(pos, ",\"referer\":");
	pos = put_json(pos, entry->referer, ACCESS_LOG_VALUE_MAX);
	return PUT(pos, "}\n");
}

static char *put_line_combined(char *pos, const struct access_log_entry *entry,
			       const struct access_log_clock *clock)
{
	pos = put_ip(pos, &entry->client);
	pos = PUT(pos, " - ");
	pos = put_combined(pos, entry->consumer, ACCESS_LOG_NAME_MAX);
	*pos++ = ' ';
	pos = put(pos, clock->combined, strlen(clock->combined));
	pos = PUT(pos, " \"");
	if (entry->method.ptr) {
		pos = put_combined(pos, entry->method, ACCESS_LOG_VALUE_MAX);
		*pos++ = ' ';
		pos = put_combined(pos, entry->target, ACCESS_LOG_TARGET_MAX);
		*pos++ = ' ';
		pos = put_version(pos, entry);
	} else {
		pos = put_combined(pos, entry->refused_line, ACCESS_LOG_VALUE_MAX);
	}
	pos = PUT(pos, "\" ");
	pos = put_u64(pos, entry->status ? entry->status : STATUS_NONE);
	*pos++ = ' ';
	pos = put_u64(pos, entry->bytes_out);
	pos = PUT(pos, " \"");
	pos = put_combined(pos, entry->referer, ACCESS_LOG_VALUE_MAX);
	pos = PUT(pos, "\" \"");
	pos = put_combined(pos, entry->user_agent, ACCESS_LOG_VALUE_MAX);
	return PUT(pos, "\"\n");
}

size_t access_log_format_bound(const struct access_log_entry *entry)
{
	size_t values = entry->listener.len + entry->route.len + entry->consumer.len +
			entry->method.len + entry->host.len + entry->target.len +
			entry->refused_line.len + entry->upstream.len + entry->endpoint.len +
			entry->user_agent.len + entry->referer.len + entry->tls_sni.len +
			entry->client_san.len;

	return MIN(ACCESS_LOG_FIXED_MAX + EXPANSION * values, ACCESS_LOG_LINE_MAX);
}

size_t access_log_format(enum access_log_format format, const struct access_log_entry *entry,
			 struct access_log_clock *clock, char *room)
{
	char *end;

	clock_set(clock, entry->wall_ms / 1000);
	if (format == ACCESS_LOG_JSON)
		end = put_line_json(room, entry, clock);
	else
		end = put_line_combined(room, entry, clock);
	return (size_t)(end - room);
}
