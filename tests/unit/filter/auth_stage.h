/*
 * auth_stage: a policy from a configuration's text, on the route of an exchange_fixture, and what
 * became of a request. The working directory is that of config_fixture.
 */
#ifndef SLUICE_TESTS_UNIT_AUTH_STAGE_H
#define SLUICE_TESTS_UNIT_AUTH_STAGE_H

#include "config/config_fixture.h"
#include "http/exchange_fixture.h"
#include "http/refusal.h"

struct auth_stage {
	struct exchange_fixture *fixture;
	struct registry *registry;
	struct loaded loaded;
	const struct policy *list[8];
};

/* `policies`: the inside of the list. All of them, in order, are the route's. */
void auth_stage_begin(struct auth_stage *stage, const char *policies);
void auth_stage_end(struct auth_stage *stage);

/* A GET with one field (name NULL: none); the answer's status. */
unsigned int auth_stage_ask(struct auth_stage *stage, const char *target, const char *name,
			    const char *value);
/* With fields "name: value" that end in NULL. */
unsigned int auth_stage_ask_all(struct auth_stage *stage, const char *target,
				const char *const *fields);
/* "name: value\n" of the request's fields as they would go upstream. */
const char *auth_stage_fields(const struct auth_stage *stage);
/* Why the log says it was refused: "said: policy 'p': rule"; "" where it was not. */
const char *auth_stage_reason(const struct auth_stage *stage);

/* The policy's text gives just this error; for tables. */
void assert_policy_refused(const char *policy, const char *error);

#endif
