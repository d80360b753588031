/*
 * route: what is matched and what is done about it, in the snapshot; and the router that finds it.
 *
 * Precedence is that of the Kubernetes Gateway API: host (exact, then the longest wildcard, then
 * none), then exact path, then the longest prefix, then method, then order in the file. Prefixes
 * match whole segments: /cart matches /cart and /cart/3, not /cartoon. Host is compared without
 * case and port, the path in canonical form (http/path.h). Lookup costs one hash probe per host
 * candidate and per distinct prefix length, whatever the number of routes.
 * Immutable once published; counters are rows per worker. Thread rule: read by any thread.
 */
#ifndef SLUICE_HTTP_ROUTE_H
#define SLUICE_HTTP_ROUTE_H

#include <stdatomic.h>

#include "base/arena.h"
#include "base/registry.h"
#include "proto/http_head.h"

struct files_root;
struct policy;
struct split;
struct upstream_conf;

enum route_path_kind { ROUTE_PATH_PREFIX, ROUTE_PATH_EXACT };
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
	struct str path;  /* canonical; "/" by default */
	uint32_t methods; /* bit (1 << enum http_method); 0: all. HTTP_METHOD_OTHER: see below */
	struct str *other_methods; /* names without an enum */
	unsigned int other_method_count;
	struct str *listeners; /* names; none: every http listener */
	unsigned int listener_count;
	bool unsafe_paths; /* "//", %2F and %5C in a path are passed on as they are */

	const struct policy *const *policies; /* in the order in which they are asked */
	unsigned int policy_count;

	/* action */
	enum route_action action;
	struct {
		const struct upstream_conf *upstream; /* NULL: `split` says which */
		struct split *split;
		uint64_t timeout_ms; /* 0: the upstream's response timeout */
		bool trailers;	     /* forward filtered trailers; off by default */
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

struct router;

/*
 * Indexes the routes for one listener; `routes` stay where they are. NULL: out of memory.
 * `ret_conflict`: set to the later one of two routes that match exactly the same (host, path,
 * methods), which config/ reports; NULL otherwise.
 */
struct router *router_build(struct arena *arena, struct route *const *routes, unsigned int count,
			    const struct route **ret_conflict);

enum router_result {
	ROUTER_FOUND,
	ROUTER_NO_ROUTE,  /* 404 */
	ROUTER_NO_METHOD, /* 405: host and path matched; *ret_allow is the union of the methods */
};

/* host: lower-case, without port. path: canonical, without query. */
enum router_result router_find(const struct router *router, struct str host, struct str path,
			       enum http_method method_id, struct str method,
			       const struct route **ret_route, uint32_t *ret_allow);

#endif
