/*
 * query: parameters of a query string, read and taken out. A query begins with its '?', or is "".
 * Names are compared decoded ('+' and %XX), so that no spelling of a name gets past. Everything
 * that is not asked for stays byte for byte. Thread rule: pure, on the caller's arena.
 */
#ifndef SLUICE_HTTP_QUERY_H
#define SLUICE_HTTP_QUERY_H

#include "base/arena.h"

/* The next byte of what is not empty; a '%' without two digits stands for itself, '+' for a space.
 */
char query_decode_byte(struct str *rest);
bool query_decoded_is(struct str encoded, struct str wanted);
/*
 * The decoded value, in the arena where it had to be decoded; ptr NULL: there is no such parameter.
 * False: there are several, or memory ran out.
 */
bool query_find_single(struct arena *arena, struct str query, struct str name,
		       struct str *ret_value);
/* All of that name go. Without memory the whole query does. */
void query_remove(struct arena *arena, struct str *query, struct str name);
/* In a request target or query: values of that name become "***". Without memory all is cut. */
void query_redact(struct arena *arena, struct str *target, struct str name);

#endif
