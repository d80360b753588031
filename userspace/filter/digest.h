/*
 * digest: SHA-256 in one call, and what belongs to comparing secrets. Thread rule: pure.
 */
#ifndef SLUICE_FILTER_DIGEST_H
#define SLUICE_FILTER_DIGEST_H

#include <stdint.h>

#include "base/str.h"

#define DIGEST_BYTES 32
#define DIGEST_HEX   64

/* Quick also for a few bytes, unlike OpenSSL's EVP. */
void digest_sha256(struct str bytes, uint8_t ret_digest[DIGEST_BYTES]);
/* False: not exactly DIGEST_HEX digits. */
bool digest_from_hex(struct str hex, uint8_t ret_digest[DIGEST_BYTES]);
/* Takes the same time wherever they differ. */
bool digest_equal(const uint8_t *left, const uint8_t *right);

#endif
