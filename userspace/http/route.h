/*
 * route: what is matched in a request and what is done about it, in the snapshot. The router that
 * finds the route of a request is in http/router.h; how specific one is, is said there.
 * Immutable once published; counters are rows per worker. Thread rule: read by any thread.
 */
#ifndef SLUICE_HTTP_ROUTE_H
#define SLUICE_HTTP_ROUTE_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/registry.h"
#include "http/route_condition.h"
#include "http/route_template.h"
#include "proto/http_head.h"

struct files_root;
struct policy;
struct split;
struct upstream_conf;

/* Bytes of a regex's literal beginning that it is looked up by. */
#define ROUTE_LITERAL_BYTES_MAX 64

enum route_path_kind { ROUTE_PATH_PREFIX, ROUTE_PATH_EXACT, ROUTE_PATH_TEMPLATE, ROUTE_PATH_REGEX };
enum route_action { ROUTE_PROXY, ROUTE_REDIRECT, ROUTE_RESPOND, ROUTE_FILES };

/* Upper bounds of the histogram of durations; one bucket more has the rest. */
#define ROUTE_DURATION_BOUNDS 14
extern const uint64_t route_durations_us[ROUTE_DURATION_BOUNDS];

/* Three lines of the CPU's cache; the second and third are the histogram. */
struct route_row {
	_Alignas(64) atomic_uint_fast64_t responses[6]; /* by first digit of the status; 0: none */
	atomic_uint_fast64_t bytes_in;			/* request bodies */
	atomic_uint_fast64_t bytes_out;			/* response bodies */
	atomic_uint_fast64_t durations[ROUTE_DURATION_BOUNDS + 1]; /* each in one bucket */
	atomic_uint_fast64_t duration_sum_us;
};
_Static_assert(sizeof(struct route_row) == 192, "three lines of the cache");

/* Runtime: registry kind "route", by name. */
struct route_stats {
	struct registry_entry entry;
	unsigned int row_count;
	struct route_row *rows; /* one per worker */
};

int route_stats_acquire(struct registry *registry, struct str name, unsigned int worker_count,
			struct route_stats **ret_stats);
void route_stats_unref(struct route_stats *stats);
struct route_row route_stats_sum(const struct route_stats *stats);
/* Adds a row that its worker may be writing. */
void route_row_add(struct route_row *sum, const struct route_row *row);
/* Every request has one answer, or none: responses[0]. */
uint64_t route_row_requests(const struct route_row *sum);
/* Of the worker whose row it is. */
void route_row_count(struct route_row *row, uint16_t status, uint64_t bytes_in, uint64_t bytes_out,
		     uint64_t duration_us);

struct route_field {
	struct str name, value; /* checked to be valid at load */
};

struct route {
	struct str name;
	uint32_t line, column;
	unsigned int order; /* in the file */

	/* match */
	struct str *hosts; /* lower-case; "*.example.com" for wildcards; none: every host */
	unsigned int host_count;
	enum route_path_kind path_kind;
	struct str path; /* canonical, prefix "/" by default; or the template or pattern */
	const struct route_template *template; /* ROUTE_PATH_TEMPLATE */
	const struct route_regex *regex;       /* ROUTE_PATH_REGEX: of the whole path */
	struct str regex_prefix; /* what each path that it matches begins with; perhaps "" */
	uint32_t methods; /* bit (1 << enum http_method); 0: all. HTTP_METHOD_OTHER: see below */
	struct str *other_methods; /* names without an enum */
	unsigned int other_method_count;
	struct route_conditions headers, query;
	struct str upgrade;    /* only requests that ask for this protocol; ptr NULL: all */
	struct str *listeners; /* names; none: every http listener */
	unsigned int listener_count;
	bool unsafe_paths; /* "//", %2F and %5C in a path are passed on as they are */

	const struct policy *const *policies; /* in the order in which they are asked */
	unsigned int policy_count;
	unsigned int policy_steps; /* POLICY_STEP_* of all of them */
	struct str *owned_fields;  /* that they may set for the upstream */
	unsigned int owned_field_count;

	/* action */
	enum route_action action;
	struct {
		const struct upstream_conf *upstream; /* NULL: `split` says which */
		struct split *split;
		uint64_t timeout_ms;  /* 0: the upstream's response timeout */
		uint32_t exposed;     /* fields that http/hiding.h leaves alone, by number */
		bool trailers;	      /* forward filtered trailers; off by default */
		struct str *upgrades; /* protocols that may be asked for, in lower case */
		unsigned int upgrade_count;
		uint64_t tunnel_idle_ms;
	} proxy;
	struct {
		struct str scheme, host, path; /* ptr NULL: keep the request's */
		uint16_t port;		       /* 0: the scheme's own */
		uint16_t status;	       /* 301 302 303 307 308 */
	} redirect;
	struct {
		uint16_t status;
		struct str body;
		struct route_field *fields;
		unsigned int field_count;
	} respond;
	struct route_files {
		struct str root;     /* absolute */
		struct str *indexes; /* names to try for a directory, in order */
		unsigned int index_count;
		bool hidden; /* serve names that begin with '.' */
		struct route_field *fields;
		unsigned int field_count;
		struct files_root *directory; /* one reference */
	} files;

	struct route_stats *stats; /* one reference */
};

/* Is it in force at the listener of that name? */
bool route_is_served(const struct route *route, struct str listener);
/* "prefix" and so on: the key in the configuration. */
const char *route_path_kind_name(enum route_path_kind kind);

#endif
