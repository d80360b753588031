/*
 * log: one line per event on standard error, text or JSON, from any thread.
 *
 * A function logs or returns an error, not both; base/, proto/ and kern/ only log at debug.
 * Each line is written with one write(2), so lines of several threads do not mix. Values that come
 * from outside are printed through str_quote(). Level and format are process-wide and atomic.
 */
#ifndef SLUICE_BASE_LOG_H
#define SLUICE_BASE_LOG_H

#include <stdbool.h>

#include "base/util.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

void log_configure(enum log_level level, enum log_format format);
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *area, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* `area` is the module's folder or file, such as "control" or "kern". */
#define log_at(level, area, ...)                                                                   \
	do {                                                                                       \
		if (log_enabled(level))                                                            \
			log_write(level, area, __VA_ARGS__);                                       \
	} while (0)
#define log_error(area, ...) log_at(LOG_LEVEL_ERROR, area, __VA_ARGS__)
#define log_warn(area, ...)  log_at(LOG_LEVEL_WARN, area, __VA_ARGS__)
#define log_info(area, ...)  log_at(LOG_LEVEL_INFO, area, __VA_ARGS__)
#define log_debug(area, ...) log_at(LOG_LEVEL_DEBUG, area, __VA_ARGS__)

#endif
