#include "proto/http1/http1.h"

static const struct {
	uint16_t status;
	const char *symbol, *text;
} errors[HTTP1_ERROR_COUNT] = {[HTTP1_OK] = {200, "OK", "no error"},
#define X(symbol, status, text) [HTTP1_E_##symbol] = {status, #symbol, text},
			       HTTP1_ERRORS(X)
#undef X
};

/* The symbols in lower case, made from the table before main() and then constant. */
static char names[HTTP1_ERROR_COUNT][32];

__attribute__((constructor)) static void names_fill(void)
{
	for (unsigned int i = 0; i < HTTP1_ERROR_COUNT; i++)
		for (size_t j = 0; errors[i].symbol[j] && j < sizeof(names[i]) - 1; j++)
			names[i][j] = ascii_lower(errors[i].symbol[j]);
}

const char *http1_error_name(enum http1_error error)
{
	return (unsigned int)error < HTTP1_ERROR_COUNT ? names[error] : "unknown";
}

const char *http1_error_text(enum http1_error error)
{
	return (unsigned int)error < HTTP1_ERROR_COUNT ? errors[error].text : "unknown error";
}

uint16_t http1_error_status(enum http1_error error)
{
	return (unsigned int)error < HTTP1_ERROR_COUNT ? errors[error].status : 400;
}
