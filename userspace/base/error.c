#include "base/error.h"

#include <stdarg.h>
#include <string.h>

static const char *errno_words(int code)
{
	const char *words = strerrordesc_np(code < 0 ? -code : code);

	return words ? words : "unknown error";
}

int error_set(struct error *err, int code, const char *fmt, ...)
{
	va_list args;

	if (!err || err->code)
		return code;
	err->code = code;
	va_start(args, fmt);
	(void)vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	return code;
}

int error_set_errno(struct error *err, int code, const char *fmt, ...)
{
	va_list args;
	size_t len;

	if (!err || err->code)
		return code;
	err->code = code;
	va_start(args, fmt);
	(void)vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	len = strlen(err->text);
	(void)snprintf(err->text + len, sizeof(err->text) - len, ": %s", errno_words(code));
	return code;
}

void error_prefix(struct error *err, const char *fmt, ...)
{
	char text[sizeof(err->text)];
	va_list args;
	size_t len, kept;

	if (!error_is_set(err))
		return;
	va_start(args, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);

	len = strlen(text);
	len = MIN(len, sizeof(text) - 3);
	kept = strlen(err->text);
	kept = MIN(kept, sizeof(text) - len - 3);
	memmove(err->text + len + 2, err->text, kept);
	err->text[len + 2 + kept] = '\0';
	memcpy(err->text, text, len);
	memcpy(err->text + len, ": ", 2);
}
