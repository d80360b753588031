/*
 * transform: a policy that changes the head of a request on its way to the upstream and that of the
 * answer on its way to the client.
 *
 *   request:  method, path, query: remove, set, add; headers: remove, rename, set, add
 *   response: status; headers likewise
 *
 * In this order. Values are templates (http/template.h). A header whose value comes out empty is
 * not there: what is set from a claim that nobody has, is not what the client sent. Parameters of a
 * query are told apart as they stand, with %XX and '+' decoded in their names. The path that a
 * template gives must be canonical (http/path.h), or the request is refused with 400. What routes
 * and the log see stays as the client sent it. Thread rule: as http/policy.h says.
 */
#ifndef SLUICE_FILTER_TRANSFORM_H
#define SLUICE_FILTER_TRANSFORM_H

#include "http/policy.h"
#include "http/policy_fields_config.h"
#include "http/template.h"

struct transform_setting {
	struct str name;
	struct template value;
};

struct transform_settings {
	struct transform_setting *items;
	unsigned int count;
};

struct transform_renames {
	struct transform_rename {
		struct str from, to;
	} * items;
	unsigned int count;
};

struct transform_headers {
	struct field_names remove;
	struct transform_renames rename;
	struct transform_settings set, add;
};

struct transform_names {
	struct str *names;
	unsigned int count;
};

struct transform {
	struct transform_request {
		struct str method;    /* ptr NULL: as it is */
		struct template path; /* written.ptr NULL: as it is */
		struct {
			struct transform_names remove;
			struct transform_settings set, add;
		} query;
		struct transform_headers headers;
		bool asked, upstream_only; /* there is anything; it is of no use without upstream */
	} request;
	struct transform_response {
		uint64_t status; /* 0: as it is */
		struct transform_headers headers;
		bool asked;
	} response;
};

extern const struct policy_type transform_policy;

/* For transform_config.c and the policy's table. */
int transform_read(const struct field_context *context, const struct conf_node *node,
		   const char *what, void *conf);
void transform_write(struct conf_writer *writer, const void *conf);

#endif
