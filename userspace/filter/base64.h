/*
 * base64: RFC 4648, read strictly: no space, no foreign byte, no bits behind the end, so that one
 * value has one spelling. Thread rule: pure.
 */
#ifndef SLUICE_FILTER_BASE64_H
#define SLUICE_FILTER_BASE64_H

#include <stdint.h>

#include "base/str.h"

/* Bytes that so many digits give at most. */
#define BASE64_ROOM(len) ((len) / 4 * 3 + 3)

/* The URL's alphabet without padding (section 5). -EINVAL; else the length. `room`: BASE64_ROOM. */
ptrdiff_t base64url_decode(struct str text, uint8_t *room);
/* The usual alphabet, padded (section 4). */
ptrdiff_t base64_decode(struct str text, uint8_t *room);

#endif
