/*
 * jwt_claims: the payload of a good token as claims by dotted path (http/identity.h).
 *
 * Objects within objects are joined by dots, elements of a list are claims of its name; lists in
 * lists and objects in lists are left out. A name with a dot is a claim only at the top, where it
 * wins over a path that is spelt alike: an issuer's "a.b" is nobody else's {"a": {"b": ...}}.
 * `scope` (RFC 8693: words in one text) and `scp` are the scopes. Thread rule: pure.
 */
#ifndef SLUICE_FILTER_JWT_CLAIMS_H
#define SLUICE_FILTER_JWT_CLAIMS_H

#include <jansson.h>

#include "filter/jwt_token.h"

/* NULL with a token in *ret_token; else why not, a literal. */
const char *jwt_claims_make(const json_t *payload, const struct jwt_rules *rules, struct str text,
			    struct jwt_token **ret_token);

#endif
