/*
 * auth: what all policies have in common that find out who the caller is.
 *
 *   policy_type ──► auth_request_head() ──► kind->check() ──► KNOWN: a finding for
 * exchange->identity, │               fields for the upstream ├ ABSENT, WRONG: 401 with a challenge
 *                                                └ WAITS: asked again
 *
 * A kind of authentication is a struct auth_kind; its configuration begins with struct auth_conf.
 * check() looks and says what it found, and changes nothing of the exchange; answering, counting
 * and forwarding are done here, so that `any` and `all` (filter/combination.c) ask the same checks.
 *
 * Fields of `forward` are the policy's own: the chain takes them out of what the client sent, by
 * folded name, before any policy is asked (http/policy.h). A text that could not stand in a field
 * as it is (controls, outer spaces) refuses the request: an upstream must not see another name than
 * the one that was checked (HARDENING 13). Credentials are taken out of the request before it goes
 * to the upstream, unless `keep_credentials` says otherwise.
 *
 * `optional`: a request without credentials passes, and nobody is known; wrong ones are refused all
 * the same. Thread rule: confs are immutable, checks run on the exchange's worker.
 */
#ifndef SLUICE_FILTER_AUTH_H
#define SLUICE_FILTER_AUTH_H

#include "conf/value_file.h"
#include "http/exchange.h"
#include "http/policy.h"

enum auth_verdict {
	AUTH_KNOWN,	  /* attempt->finding says who */
	AUTH_ABSENT,	  /* no credentials of this kind */
	AUTH_WRONG,	  /* attempt->why says in which way */
	AUTH_WAITS,	  /* asked again after exchange_policy_resume(exchange, attempt->resume) */
	AUTH_UNAVAILABLE, /* attempt->why: it could not be found out */
};

struct auth_attempt {
	void *resume; /* whom exchange_policy_resume() names */
	const struct identity_finding *finding;
	const char *why; /* a literal, for the log */
};

struct auth_kind {
	const char *scheme;
	size_t state_bytes; /* zeroed before the first check(), kept while it waits */
	enum auth_verdict (*check)(struct exchange *exchange, const void *conf, void *state,
				   struct auth_attempt *attempt);
	/* Takes its credentials out of what goes upstream. NULL: there is nothing to hide. */
	void (*hide)(struct exchange *exchange, const void *conf);
	/* Of one that waits: nothing may resume any more. */
	void (*abandon)(struct exchange *exchange, void *state);
};

/* A claim, "consumer", "groups" or "scopes", and the field that tells the upstream. */
struct auth_forward {
	struct str claim, field;
};

struct auth_conf {
	struct str challenge;	    /* value of WWW-Authenticate; ptr NULL: none */
	struct str challenge_wrong; /* where credentials were wrong; ptr NULL: as above */
	bool optional;
	bool keep_credentials;
	struct auth_forward *forwards;
	struct str *owned_fields; /* their names */
	unsigned int forward_count;
};

/* For policy_type: the conf begins with struct auth_conf, policy_type.auth is the kind. */
enum policy_verdict auth_request_head(struct exchange *exchange, const void *conf, void *state);
void auth_abandon(struct exchange *exchange, const void *conf, void *state);
const struct str *auth_owned_fields(const void *conf, unsigned int *ret_count);

/*
 * The parts of auth_request_head(). accept: notes the finding, hides and forwards; false: it was
 * refused. refuse: answers.
 */
bool auth_accept(struct exchange *exchange, const struct policy *policy,
		 const struct policy *found_by, const struct identity_finding *finding);
void auth_refuse(struct exchange *exchange, const struct policy *policy, enum auth_verdict verdict,
		 const char *why);
/* One more WWW-Authenticate of the answer. */
void auth_challenge(struct exchange *exchange, struct str value);

/* ---- configuration (auth_config.c) ---- */

/* The rows that each kind's table begins with; offsets count from the conf's beginning. */
int auth_forward_read(const struct field_context *context, const struct conf_node *node,
		      void *target);
void auth_forward_print(struct conf_writer *writer, const char *key, const void *target);
#define AUTH_FIELDS(keep_default)                                                                  \
	{.key = "optional",                                                                        \
	 .kind = FIELD_BOOL,                                                                       \
	 .offset = offsetof(struct auth_conf, optional),                                           \
	 .default_text = "false"},                                                                 \
		{.key = "keep_credentials",                                                        \
		 .kind = FIELD_BOOL,                                                               \
		 .offset = offsetof(struct auth_conf, keep_credentials),                           \
		 .default_text = keep_default},                                                    \
	{                                                                                          \
		.key = "forward", .kind = FIELD_CUSTOM, .read = auth_forward_read,                 \
		.print = auth_forward_print                                                        \
	}

/* A field that credentials are read of (ptr NULL: none) is not one that is set. */
int auth_check_forward(const struct field_context *context, const struct conf_node *node,
		       const char *what, const struct auth_conf *auth, struct str credentials);
/* `{ file: PATH }`. As value_file_read(): the file is the caller's to release in any case. */
int auth_file_read(const struct field_context *context, const struct conf_node *node,
		   const char *what, size_t bytes_max, struct value_file *file);
void auth_file_write(struct conf_writer *writer, const char *key, struct str path);
/* A field name that the policy may read. Lower case into the arena. */
int auth_field_name_read(const struct field_context *context, const struct conf_node *node,
			 const char *what, struct str *ret_name);

#endif
