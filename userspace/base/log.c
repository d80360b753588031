#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/json.h"

#define LOG_MESSAGE_MAX 2048
/* Every byte of a message may become a six-byte escape, the other members are short. */
#define LOG_LINE_MAX (6 * LOG_MESSAGE_MAX + 512)

static _Atomic int log_level_now = LOG_LEVEL_INFO;
static _Atomic int log_format_now = LOG_FORMAT_TEXT;

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARN] = "warn",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

void log_configure(enum log_level level, enum log_format format)
{
	atomic_store_explicit(&log_level_now, (int)level, memory_order_relaxed);
	atomic_store_explicit(&log_format_now, (int)format, memory_order_relaxed);
}

bool log_enabled(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&log_level_now, memory_order_relaxed);
}

static void format_time(char *buf, size_t buf_len)
{
	struct timespec now;
	struct tm utc;
	size_t len;

	(void)clock_gettime(CLOCK_REALTIME, &now);
	(void)gmtime_r(&now.tv_sec, &utc);
	len = strftime(buf, buf_len, "%Y-%m-%dT%H:%M:%S", &utc);
	(void)snprintf(buf + len, buf_len - len, ".%03dZ", (int)(now.tv_nsec / 1000000));
}

static void append_text(struct buf *line, const char *when, const char *level, const char *area,
			char *message)
{
	/* A line break inside a message must not look like a second event. */
	for (char *byte = message; *byte; byte++)
		if ((unsigned char)*byte < ' ' || *byte == 127)
			*byte = ' ';
	(void)buf_printf(line, "%s %s %s: %s\n", when, level, area, message);
}

static void append_json(struct buf *line, const char *when, const char *level, const char *area,
			const char *message)
{
	struct json_writer json;

	json_init(&json, line, false);
	json_open_object(&json, NULL);
	json_cstring(&json, "time", when);
	json_cstring(&json, "level", level);
	json_cstring(&json, "area", area);
	json_cstring(&json, "message", message);
	json_close_object(&json);
	if (json_finish(&json))
		buf_reset(line);
	else
		(void)buf_append(line, STR("\n"));
}

void log_write(enum log_level level, const char *area, const char *fmt, ...)
{
	_cleanup_(buf_done)
	struct buf line;
	char message[LOG_MESSAGE_MAX], when[40];
	va_list args;

	va_start(args, fmt);
	(void)vsnprintf(message, sizeof(message), fmt, args);
	va_end(args);
	format_time(when, sizeof(when));

	buf_init(&line, LOG_LINE_MAX);
	if (atomic_load_explicit(&log_format_now, memory_order_relaxed) == LOG_FORMAT_JSON)
		append_json(&line, when, level_names[level], area, message);
	else
		append_text(&line, when, level_names[level], area, message);
	/* Nobody is left to tell when standard error is gone or memory has run out. */
	if (line.len)
		(void)!write(STDERR_FILENO, line.data + line.start, line.len);
}
