/*
 * sha1: the digest of FIPS 180-4, for protocols that use it to tell two programs apart (RFC 6455)
 * and not to keep a secret: it must not be used for anything that has to resist an attacker.
 * Thread rule: pure.
 */
#ifndef SLUICE_BASE_SHA1_H
#define SLUICE_BASE_SHA1_H

#include "base/str.h"

#define SHA1_BYTES 20

void sha1(struct str bytes, uint8_t ret_digest[SHA1_BYTES]);

#endif
