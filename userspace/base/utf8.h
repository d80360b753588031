/*
 * utf8: where one well-formed character of UTF-8 ends (RFC 3629). Thread rule: pure.
 */
#ifndef SLUICE_BASE_UTF8_H
#define SLUICE_BASE_UTF8_H

#include <stddef.h>

/* Bytes of the character at the front, 1 to 4; 0 when there is none that is well-formed. */
size_t utf8_len(const unsigned char *bytes, size_t len);

#endif
