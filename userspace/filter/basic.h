/*
 * basic: the policy `basic`: callers that show a user name and a password (RFC 7617).
 *
 *   Authorization ──► verified a moment ago ──► known
 *                └──► the node's threads (io/work_pool.h): password_matches() ──► known or 401
 *
 * Passwords are never checked on an event loop. A user that is not there costs the time of one that
 * is: the hash of another one is tried in vain, always the same for a name. More than the pool's
 * queue takes are answered 503. A pair that was right is remembered for a while by a keyed digest
 * of user, password and hash, per worker; nothing of it outlives the snapshot. Thread rule: confs
 * are immutable but for the worker's own row of pairs.
 */
#ifndef SLUICE_FILTER_BASIC_H
#define SLUICE_FILTER_BASIC_H

#include "filter/auth.h"
#include "filter/digest.h"

#define BASIC_PAIRS 256 /* that each worker remembers */

struct basic_user {
	const char *hash;
	struct identity_finding finding; /* consumer: the name */
};

struct basic_pair {
	uint8_t digest[DIGEST_BYTES];
	uint64_t until_ms; /* 0: free */
};

struct basic {
	struct auth_conf auth; /* first */
	struct str realm, file;
	uint64_t cached_for_ms;
	struct basic_user *users;
	unsigned int user_count;
	uint32_t *slots; /* number of a user from 1; 0: empty */
	uint32_t mask;
	uint8_t key[DIGEST_BYTES];
	struct basic_pair *pairs; /* BASIC_PAIRS for each worker */
};

extern const struct policy_type basic_policy;

const struct basic_user *basic_find(const struct basic *basic, struct str name);
uint32_t basic_hash_name(struct str name);

/* basic_config.c */
int basic_read(const struct field_context *context, const struct conf_node *node, const char *what,
	       void *conf);
void basic_write(struct conf_writer *writer, const void *conf);

#endif
