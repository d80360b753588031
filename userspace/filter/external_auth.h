/*
 * external_auth: a policy that asks a service of its own whether a request may pass.
 *
 *   request ──► GET path of the upstream, with the request's fields and X-Forwarded-Method, -Uri,
 *               -Host, -Proto, -For
 *   2xx: it passes, with take_headers of the answer put into the request
 *   401, 403, 429, redirects: the client's answer, with answer_headers
 *   anything else, no answer in time: 503 (HARDENING 24: time-out means deny)
 *
 * take_headers are the policy's own: what clients send under these names is taken out, also where
 * the service says nothing. Nothing else of the answer goes anywhere, its body least of all. The
 * request's body is not sent, and waits. Thread rule: as http/policy.h says.
 */
#ifndef SLUICE_FILTER_EXTERNAL_AUTH_H
#define SLUICE_FILTER_EXTERNAL_AUTH_H

#include "http/policy.h"
#include "http/policy_fields_config.h"

struct upstream_conf;

struct external_auth {
	const struct upstream_conf *upstream;
	struct str path;
	uint64_t timeout_ms;
	struct field_names take_headers, answer_headers;
};

extern const struct policy_type external_auth_policy;

/* For external_auth_config.c and the policy's table. */
int external_auth_read(const struct field_context *context, const struct conf_node *node,
		       const char *what, void *conf);
void external_auth_write(struct conf_writer *writer, const void *conf);

#endif
