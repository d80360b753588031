/*
 * jwt_token: a signed JSON Web Token in its compact form (RFC 7515, 7519), read and judged.
 *
 *   HEADER . PAYLOAD . SIGNATURE ──► parse ──► algorithm, key, signature ──► claims ──► finding
 *
 * What decides is configured, never said by the token (HARDENING 23, RFC 8725): its algorithm must
 * be one of the list, its key fit that algorithm, `crit` is not understood and refused, `jku`,
 * `x5u`, `jwk` and `x5c` are not looked at. `exp` is required; `nbf`, `iss`, `aud` and `typ` must
 * agree. Every text is UTF-8 without NUL, names are unique in their object.
 *
 * A good token is one block of memory with a count: its bytes, its claims as dotted paths, and the
 * finding. Thread rule: the count is atomic, everything else immutable once made.
 */
#ifndef SLUICE_FILTER_JWT_TOKEN_H
#define SLUICE_FILTER_JWT_TOKEN_H

#include <stdatomic.h>

#include "filter/jwk.h"
#include "http/identity.h"

#define JWT_BYTES_MAX  8192
#define JWT_CLAIMS_MAX 128

struct jwt_rules {
	unsigned int algorithms; /* bits 1 << enum jwt_algorithm */
	struct str issuer;	 /* ptr NULL: any */
	struct str *audiences;	 /* one of them; none: any */
	unsigned int audience_count;
	uint64_t skew_s;
	struct str consumer; /* the claim that names the caller */
	struct str groups;   /* the claim with his groups; ptr NULL: none */
};

struct jwt_token {
	atomic_uint refs;
	uint64_t expires_s; /* from then on it is of no use, skew included */
	struct str text;
	struct identity_finding finding;
};

/* A token that is none, or none of ours: NULL with the reason, a literal. */
struct jwt_token *jwt_token_verify(struct str text, const struct jwt_rules *rules,
				   const struct jwk_set *keys, uint64_t now_s,
				   const char **ret_why);
struct jwt_token *jwt_token_ref(struct jwt_token *token);
void jwt_token_unref(struct jwt_token *token); /* NULL allowed */

extern const char jwt_why_key[]; /* of *ret_why: there is no such key in the set */

#endif
