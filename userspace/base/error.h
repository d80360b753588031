/*
 * error: the sentence a person reads when multi-step work failed (git's api-error-handling).
 *
 * The caller owns the struct; the first error wins, later ones are dropped, so that the cause and
 * not its consequences is reported. `code` is a negative errno. Passing NULL is allowed wherever a
 * `struct error *` is taken. Thread rule: one owner.
 */
#ifndef SLUICE_BASE_ERROR_H
#define SLUICE_BASE_ERROR_H

#include <stdbool.h>

#include "base/util.h"

struct error {
	int code; /* negative errno, 0 while nothing failed */
	char text[512];
};

/* Returns `code`, so that `return error_set(err, -EINVAL, "...")` reads well. */
int error_set(struct error *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* As error_set, with ": <errno in words>" appended. */
int error_set_errno(struct error *err, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Puts "context: " in front of a text that is set. */
void error_prefix(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

static inline void error_reset(struct error *err)
{
	if (err) {
		err->code = 0;
		err->text[0] = '\0';
	}
}

static inline bool error_is_set(const struct error *err)
{
	return err && err->code != 0;
}

#endif
