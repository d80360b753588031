/*
 * http_bytes: which bytes HTTP's grammars allow where, as one table for all codecs.
 *
 * A byte's classes are the bits of http_byte_class[byte]; CR, LF and NUL are in none of them, so a
 * loop over any class stops at the end of a line. http_value_span() is the same for field values,
 * eight bytes at a time, because values are most of a head. Thread rule: constant data.
 */
#ifndef SLUICE_PROTO_HTTP_BYTES_H
#define SLUICE_PROTO_HTTP_BYTES_H

#include <stdbool.h>
#include <stdint.h>

#define HTTP_BYTE_TOKEN	 0x01u /* tchar, RFC 9110 5.6.2 */
#define HTTP_BYTE_VALUE	 0x02u /* HTAB, SP, VCHAR, obs-text: RFC 9110 5.5 */
#define HTTP_BYTE_TARGET 0x04u /* visible ASCII without '#': a fragment is never sent */
#define HTTP_BYTE_QUOTED 0x08u /* qdtext, RFC 9110 5.6.4 */
#define HTTP_BYTE_HOST	 0x10u /* of a host name: letters, digits, "-", ".", "_" */
#define HTTP_BYTE_DIGIT	 0x20u
#define HTTP_BYTE_BLANK	 0x40u /* SP, HTAB */

extern const uint8_t http_byte_class[256];

static inline bool http_byte_is(char byte, uint8_t classes)
{
	return http_byte_class[(uint8_t)byte] & classes;
}

/* 0 to 15, or -1. */
static inline int http_byte_hex(char byte)
{
	if (byte >= '0' && byte <= '9')
		return byte - '0';
	byte |= 0x20; /* only letters become 'a' to 'f' by this */
	return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* The first byte of [pos, end) that may not stand in a field value, or end. */
const char *http_value_span(const char *pos, const char *end);

#endif
