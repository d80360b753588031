/*
 * fetch: a small request of our own to one of the configured upstreams, and its answer as a whole.
 *
 *   inputs ──► fetch_start() ──► upstream_call (pool, limits, retry, TLS) ──► on_done(), once
 *                   └──────── deadline ────────┘      └ status, fields, body up to body_max
 *
 * For policies that have to ask somebody (external_auth, keys from a URL). on_done() comes once,
 * never from inside fetch_start(), and not after fetch_abandon(). An answer that came whole in time
 * has a status; everything else has none, and `failure` says why: an answer that is too long or too
 * late is as good as none. Redirects are not followed: destinations come from the configuration
 * alone (HARDENING 29). Interim answers are passed over.
 *
 * Owner: embeds the struct, zeroed, and fills in the inputs, which stay valid until it is over.
 * Everything is in the arena that the owner gives. The snapshot that `upstream` is of is kept until
 * the fetch is over. Thread rule: the worker's thread.
 */
#ifndef SLUICE_HTTP_FETCH_H
#define SLUICE_HTTP_FETCH_H

#include "proto/http_head.h"
#include "upstream/upstream_call.h"

struct http_worker;
struct worker_snapshot;

struct fetch {
	/* Inputs. */
	struct http_worker *worker;
	struct worker_snapshot *config; /* NULL: the worker's current one */
	const struct upstream_conf *upstream;
	struct arena *arena;
	struct str method; /* "GET" */
	struct str target; /* path and query, as they are sent */
	struct str host;   /* "": the upstream's name */
	/* Ours: framing fields are written here, others as they are (HARDENING 13). */
	const struct http_field *fields;
	unsigned int field_count;
	struct str body; /* ptr NULL: none */
	uint64_t timeout_ms;
	size_t body_max;
	void (*on_done)(struct fetch *fetch);

	/* Results, in the arena. */
	uint16_t status;     /* 0: there is no answer, but */
	const char *failure; /* a literal */
	const struct http_field *answer_fields;
	unsigned int answer_field_count;
	struct str answer;

	/* Own. */
	bool running;
	char *room; /* of the answer's body */
	size_t room_bytes, len;
	struct upstream_call call;
	struct timer deadline;
};

/* 0, or a negative errno: `failure` is set and on_done() will not come. */
int fetch_start(struct fetch *fetch);
/* Harmless when it is over. */
void fetch_abandon(struct fetch *fetch);
/* The first of that name in the answer; NULL: none. */
const struct http_field *fetch_answer_field(const struct fetch *fetch, struct str name);

#endif
