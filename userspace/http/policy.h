/*
 * policy: named steps between routing and action, in the order in which a route lists them.
 *
 *   route ──► policy ──► policy ──► ... ──► action ──► answer
 *               │ ANSWERED: the exchange has its answer, nothing behind it runs
 *               └ WAITS: it goes on with exchange_policy_resume(), after any time
 *
 * A kind of policy is a `struct policy_type`: how its configuration is read and written, and what
 * it does at each step. It lives in filter/ (jwt.c does it, jwt_config.c reads it); the table of
 * all kinds is handed to policies_read() by config/, so that http/ knows none of them. A policy
 * works on the exchange: it changes what the action will ask (upstream_path, ...), adds fields to
 * the final answer (added[]), or answers itself by exchange_respond() or
 * local_answer_start_error(). A step that a type leaves NULL costs nothing, and a route without
 * policies one comparison.
 *
 * Waiting: the policy keeps what it needs behind exchange->policy_state and is asked again when it
 * resumes; meanwhile the request's body stays where it is, unread. When the client leaves, or the
 * exchange grows too old, abandon() is called and must see to it that nothing resumes any more.
 * exchange_policy_resume() may not be called from within request_head().
 * Thread rule: confs are immutable and shared, steps run on the exchange's worker.
 */
#ifndef SLUICE_HTTP_POLICY_H
#define SLUICE_HTTP_POLICY_H

#include "conf/field.h"

struct exchange;

enum policy_verdict { POLICY_NEXT, POLICY_ANSWERED, POLICY_WAITS };

struct policy_type {
	const char *key;   /* in the configuration: { name: x, KEY: { ... } } */
	size_t conf_bytes; /* of what read() fills, zeroed before */
	bool proxy_only;   /* it changes what an upstream is asked: of no use with other actions */

	/* 0 or -EINVAL with errors reported. `what`: "policy 'x': KEY". */
	int (*read)(const struct field_context *context, const struct conf_node *node,
		    const char *what, void *conf);
	/* The members of an open mapping. */
	void (*write)(struct conf_writer *writer, const void *conf);

	/* The head is there, the route found. */
	enum policy_verdict (*request_head)(struct exchange *exchange, const void *conf);
	/* Of a type that waits: it will not be asked again, policy_state is its to release. */
	void (*abandon)(struct exchange *exchange, const void *conf);
};

/* In the snapshot. */
struct policy {
	struct str name;
	const struct policy_type *type;
	const void *conf;
};

/*
 * Asks the policies of exchange->route from exchange->policy_at on. True: all are through and the
 * action may begin. False: there is an answer, or one of them waits.
 */
bool policy_chain_run(struct exchange *exchange);
/* What the waiting policy waited for has come: it is asked again, and then those behind it. */
void exchange_policy_resume(struct exchange *exchange);

#endif
