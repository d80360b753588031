/*
 * duration: "90s", "10m", "24h": a whole number and ms, s, m, h or d. Thread rule: pure.
 */
#ifndef SLUICE_BASE_DURATION_H
#define SLUICE_BASE_DURATION_H

#include <stdint.h>

#include "base/str.h"

/* -EINVAL: no duration; -ERANGE: beyond 64 bits. */
int duration_parse_ms(struct str text, uint64_t *ret_ms);

#endif
