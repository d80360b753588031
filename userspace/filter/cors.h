/*
 * cors: a policy that tells browsers which pages of other origins may use a route (Fetch standard).
 *
 *   OPTIONS with Origin and Access-Control-Request-Method ──► answered here: 204, what is allowed
 *   everything else ──► goes on; its answer, whoever makes it, says whether its origin may read it
 *
 * What the upstream says in these fields is replaced: the policy decides. A preflight of an
 * origin that is not allowed is refused with 403 and told nothing. Answers that depend on the
 * origin say so in Vary. It stands in front of policies that ask who the caller is, since
 * preflights carry no credentials. Thread rule: as http/policy.h says.
 */
#ifndef SLUICE_FILTER_CORS_H
#define SLUICE_FILTER_CORS_H

#include "http/policy.h"

/* "https://shop.example.com:8443", or one with a wildcard: `head` and `tail` around it. */
struct cors_origin {
	struct str written, head, tail;
	bool wildcard;
};

struct cors {
	struct cors_origin *origins;
	unsigned int origin_count;
	bool any_origin; /* "*" */
	bool any_header;
	bool credentials;
	uint64_t max_age_ms;
	struct str *methods, *headers, *expose; /* as written, for --check */
	unsigned int method_count, header_count, expose_count;
	/* The lists as fields' values; ptr NULL: empty. */
	struct str methods_text, headers_text, expose_text, max_age_text;
};

extern const struct policy_type cors_policy;

bool cors_allows(const struct cors *cors, struct str origin);

/* For cors_config.c and the policy's table. */
int cors_read(const struct field_context *context, const struct conf_node *node, const char *what,
	      void *conf);
void cors_write(struct conf_writer *writer, const void *conf);

#endif
