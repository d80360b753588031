/*
 * crc32c: the checksum of Castagnoli (RFC 3720 appendix B.4), for headers of a few hundred bytes.
 * In parts: the result of one goes into the next; the first begins with 0. Thread rule: pure.
 */
#ifndef SLUICE_BASE_CRC32C_H
#define SLUICE_BASE_CRC32C_H

#include "base/str.h"

uint32_t crc32c(uint32_t before, struct str bytes);

#endif
