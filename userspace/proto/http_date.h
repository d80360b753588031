/*
 * http_date: dates of HTTP fields (RFC 9110 5.6.7), to and from seconds since 1970.
 *
 * Written always as "Sun, 06 Nov 1994 08:49:37 GMT"; read in that form and the two obsolete ones
 * ("Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"). Independent of locale and time
 * zone. Thread rule: pure functions.
 */
#ifndef SLUICE_PROTO_HTTP_DATE_H
#define SLUICE_PROTO_HTTP_DATE_H

#include "base/str.h"

#define HTTP_DATE_LEN 29

/* Years 0 to 9999; beyond them the nearest date that can be written. */
struct str http_date_format(int64_t seconds, char room[HTTP_DATE_LEN]);
/*
 * `now` (seconds) gives the century to two-digit years: never more than 50 years ahead. -EINVAL:
 * none of the three forms. The name of the day must be one, but need not be that of the date.
 */
int http_date_parse(struct str text, int64_t now, int64_t *ret_seconds);

#endif
