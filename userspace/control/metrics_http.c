/* /metrics: routes, policies, upstreams and their endpoints. */
#include <stdlib.h>

#include "base/clock.h"
#include "control/metrics_page.h"
#include "filter/concurrency.h"
#include "filter/rate_limit.h"
#include "http/refusal.h"
#include "upstream/ejection.h"

/* ---- routes ---- */

static const char *const classes[] = {"none", NULL, "2xx", "3xx", "4xx", "5xx"};

static bool is_busy(const struct route_stats *stats)
{
	/* One line of the cache for each worker: no sum of the histogram. */
	for (unsigned int i = 0; stats && i < stats->row_count; i++)
		if (route_row_requests(&stats->rows[i]))
			return true;
	return false;
}

/* Most of ten thousand routes have no requests; they are looked for once a page. */
static bool find_busy_routes(struct metrics_page *page)
{
	const struct snapshot *snapshot = page->snapshot;

	page->busy_routes = calloc(snapshot->route_count + 1, sizeof(*page->busy_routes));
	if (!page->busy_routes) {
		page->failed = true;
		return false;
	}
	for (unsigned int i = 0; i < snapshot->route_count; i++)
		if (is_busy(snapshot->routes[i].stats))
			page->busy_routes[page->busy_count++] = i;
	return true;
}

static void write_responses(struct metrics_page *page, const char *name,
			    const struct route_row *sum, const struct str *route)
{
	struct metrics_label label[2] = {{"route", route ? *route : STR("")}};
	char labels[METRICS_LABELS_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(classes); i++) {
		if (!classes[i])
			continue;
		label[1] = (struct metrics_label){"code", str_from_cstr(classes[i])};
		metrics_u64(page, name,
			    route ? metrics_labels(label, 2, labels, sizeof(labels))
				  : metrics_labels(label + 1, 1, labels, sizeof(labels)),
			    sum->responses[i]);
	}
}

static void write_durations(struct metrics_page *page, const char *name,
			    const struct route_row *sum, struct str route)
{
	struct metrics_label label[2] = {{"route", route}};
	char labels[METRICS_LABELS_MAX], bound[32], line[96];
	uint64_t count = 0;

	for (unsigned int i = 0; i <= ROUTE_DURATION_BOUNDS; i++) {
		count += sum->durations[i];
		if (i < ROUTE_DURATION_BOUNDS)
			(void)snprintf(bound, sizeof(bound), "%g",
				       (double)route_durations_us[i] / 1e6);
		else
			(void)snprintf(bound, sizeof(bound), "+Inf");
		label[1] = (struct metrics_label){"le", str_from_cstr(bound)};
		(void)snprintf(line, sizeof(line), "%s_bucket", name);
		metrics_u64(page, line, metrics_labels(label, 2, labels, sizeof(labels)), count);
	}
	(void)metrics_labels(label, 1, labels, sizeof(labels));
	(void)snprintf(line, sizeof(line), "%s_sum", name);
	metrics_seconds(page, line, labels, sum->duration_sum_us);
	(void)snprintf(line, sizeof(line), "%s_count", name);
	metrics_u64(page, line, labels, count);
}

static void write_unrouted(struct metrics_page *page)
{
	static const char name[] = "sluice_unrouted_responses_total";
	const struct daemon *daemon = page->daemon;
	struct route_row sum = {0};

	for (unsigned int i = 0; daemon->workers && i < daemon->worker_count; i++) {
		struct http_worker_stats stats;

		if (!daemon->workers[i])
			continue;
		worker_get_stats(daemon->workers[i], &stats);
		route_row_add(&sum, &stats.unrouted);
	}
	metrics_family(page, name, METRICS_COUNTER,
		       "answers to requests that no route was found for, refused heads included");
	write_responses(page, name, &sum, NULL);
}

bool metrics_write_routes(struct metrics_page *page)
{
	static const struct {
		const char *name;
		enum metrics_type type;
		const char *help;
	} families[] = {
		{"sluice_route_responses_total", METRICS_COUNTER,
		 "requests by the class of their answer's status; none: there was no answer"},
		{"sluice_route_request_body_bytes_total", METRICS_COUNTER,
		 "bytes of request bodies, without framing"},
		{"sluice_route_response_body_bytes_total", METRICS_COUNTER,
		 "bytes of response bodies, without framing"},
		{"sluice_route_duration_seconds", METRICS_HISTOGRAM,
		 "time from a request's head to the end of its answer"},
	};
	const struct route *route;
	const char *name;
	struct route_row sum;
	char labels[METRICS_LABELS_MAX];

	if (!page->busy_routes && !find_busy_routes(page))
		return true;
	if (page->family == ARRAY_SIZE(families)) {
		write_unrouted(page);
		return true;
	}
	name = families[page->family].name;
	if (!page->item)
		metrics_family(page, name, families[page->family].type,
			       families[page->family].help);
	if (page->item == page->busy_count) {
		page->family++;
		page->item = 0;
		return false;
	}
	route = &page->snapshot->routes[page->busy_routes[page->item++]];
	sum = route_stats_sum(route->stats);
	(void)metrics_labels(&(struct metrics_label){"route", route->name}, 1, labels,
			     sizeof(labels));
	switch (page->family) {
	case 0:
		write_responses(page, name, &sum, &route->name);
		break;
	case 1:
		metrics_u64(page, name, labels, sum.bytes_in);
		break;
	case 2:
		metrics_u64(page, name, labels, sum.bytes_out);
		break;
	default:
		write_durations(page, name, &sum, route->name);
		break;
	}
	return false;
}

/* ---- policies ---- */

#define REFUSALS_NAME "sluice_policy_refusals_total"

static uint64_t get_evictions(const void *conf)
{
	return rate_table_evictions(((const struct rate_limit *)conf)->counts->table);
}

static uint64_t get_held(const void *conf)
{
	uint64_t held, waiting;

	slots_get_usage(((const struct concurrency *)conf)->slots, &held, &waiting);
	return held;
}

static uint64_t get_slots_waiting(const void *conf)
{
	uint64_t held, waiting;

	slots_get_usage(((const struct concurrency *)conf)->slots, &held, &waiting);
	return waiting;
}

static const struct {
	const struct policy_type *type;
	const char *name, *help;
	enum metrics_type kind;
	uint64_t (*get)(const void *conf);
} policy_values[] = {
	{&rate_limit_policy, "sluice_rate_limit_evictions_total",
	 "keys that gave way to others while they owed something", METRICS_COUNTER, get_evictions},
	{&concurrency_policy, "sluice_concurrency_requests",
	 "requests that the policy has let through and that are not over", METRICS_GAUGE, get_held},
	{&concurrency_policy, "sluice_concurrency_waiting_requests",
	 "requests that wait for their turn", METRICS_GAUGE, get_slots_waiting},
};

/* What policies of one kind have to tell: a number each. */
static void write_policy_values(struct metrics_page *page, unsigned int number)
{
	const struct snapshot *snapshot = page->snapshot;
	char text[METRICS_LABELS_MAX];
	bool begun = false;

	for (unsigned int i = 0; i < snapshot->policy_count; i++) {
		const struct policy *policy = &snapshot->policies[i];
		const struct metrics_label label = {"policy", policy->name};

		if (policy->type != policy_values[number].type)
			continue;
		if (!begun)
			metrics_family(page, policy_values[number].name, policy_values[number].kind,
				       policy_values[number].help);
		begun = true;
		metrics_u64(page, policy_values[number].name,
			    metrics_labels(&label, 1, text, sizeof(text)),
			    policy_values[number].get(policy->conf));
	}
}

bool metrics_write_policies(struct metrics_page *page)
{
	const struct snapshot *snapshot = page->snapshot;
	const struct policy *policy;
	char text[METRICS_LABELS_MAX];

	if (!snapshot->policy_count)
		return true;
	if (!page->item)
		metrics_family(page, REFUSALS_NAME, METRICS_COUNTER,
			       "requests that a policy refused, by why");
	policy = &snapshot->policies[page->item++];
	for (unsigned int i = 0; i < REFUSAL_COUNT; i++) {
		uint64_t count = policy_stats_sum(policy->stats, (enum refusal)i);
		const struct metrics_label labels[] = {
			{"policy", policy->name},
			{"reason", str_from_cstr(refusal_name((enum refusal)i))},
		};

		if (count)
			metrics_u64(page, REFUSALS_NAME,
				    metrics_labels(labels, ARRAY_SIZE(labels), text, sizeof(text)),
				    count);
	}
	if (page->item < snapshot->policy_count)
		return false;
	for (unsigned int i = 0; i < ARRAY_SIZE(policy_values); i++)
		write_policy_values(page, i);
	return true;
}

/* ---- upstreams ---- */

static uint64_t get_connections(const struct upstream_state *state)
{
	return atomic_load_explicit(&state->connections, memory_order_relaxed);
}

static uint64_t get_waiting(const struct upstream_state *state)
{
	return atomic_load_explicit(&state->waiting, memory_order_relaxed);
}

static const struct {
	const char *name, *help;
	uint64_t (*get)(const struct upstream_state *state);
} upstream_gauges[] = {
	{"sluice_upstream_connections", "open connections to all endpoints of the upstream",
	 get_connections},
	{"sluice_upstream_waiting_requests", "requests that wait for a connection", get_waiting},
};

/* A family in one go: there are few upstreams. */
bool metrics_write_upstreams(struct metrics_page *page)
{
	static const char *const helps[] = {
#define X(symbol, text, help) [UPSTREAM_COUNTER_##symbol] = help,
		UPSTREAM_COUNTERS(X)
#undef X
	};
	unsigned int gauge = page->family - UPSTREAM_COUNTER_COUNT; /* when it is one */
	bool is_counter = page->family < UPSTREAM_COUNTER_COUNT;
	const struct snapshot *snapshot = page->snapshot;
	char name[96], labels[METRICS_LABELS_MAX];

	if (!is_counter && gauge == ARRAY_SIZE(upstream_gauges))
		return true;
	if (is_counter)
		(void)snprintf(name, sizeof(name), "sluice_upstream_%s_total",
			       upstream_counter_name((enum upstream_counter)page->family));
	else
		(void)snprintf(name, sizeof(name), "%s", upstream_gauges[gauge].name);
	metrics_family(page, name, is_counter ? METRICS_COUNTER : METRICS_GAUGE,
		       is_counter ? helps[page->family] : upstream_gauges[gauge].help);
	for (unsigned int i = 0; i < snapshot->upstream_count; i++) {
		const struct upstream_conf *upstream = &snapshot->upstreams[i];
		const struct metrics_label label = {"upstream", upstream->name};

		metrics_u64(page, name, metrics_labels(&label, 1, labels, sizeof(labels)),
			    is_counter ? upstream_counter_sum(upstream->state,
							      (enum upstream_counter)page->family)
				       : upstream_gauges[gauge].get(upstream->state));
	}
	page->family++;
	return false;
}

/* ---- endpoints ---- */

static uint64_t get_open(const struct endpoint *endpoint)
{
	return (uint64_t)MAX(endpoint_connections_open(endpoint), 0);
}

static uint64_t get_idle(const struct endpoint *endpoint)
{
	return (uint64_t)MAX(endpoint_connections_idle(endpoint), 0);
}

static uint64_t get_active(const struct endpoint *endpoint)
{
	return (uint64_t)MAX(endpoint_active(endpoint), 0);
}

static uint64_t get_ejected(const struct endpoint *endpoint)
{
	return endpoint_ejected_ms(endpoint, clock_mono_ms()) != 0;
}

/* Behind the counters. */
static const struct {
	const char *name, *help;
	uint64_t (*get)(const struct endpoint *endpoint);
} endpoint_gauges[] = {
	{"sluice_endpoint_connections", "open connections to the endpoint", get_open},
	{"sluice_endpoint_idle_connections", "connections that are kept for the next request",
	 get_idle},
	{"sluice_endpoint_active_requests", "requests that the endpoint has not answered yet",
	 get_active},
	{"sluice_endpoint_ejected", "1 while the endpoint is ejected, else 0", get_ejected},
};

#define ENDPOINT_FAMILIES (ENDPOINT_COUNTER_COUNT + ARRAY_SIZE(endpoint_gauges))
#define RESPONSES	  "responses_"
#define RESPONSES_LEN	  (sizeof(RESPONSES) - 1)

/* Counters of one kind of answer are one family with the label "code". */
static bool counts_responses(unsigned int family)
{
	return family < ENDPOINT_COUNTER_COUNT &&
	       !strncmp(endpoint_counter_name((enum endpoint_counter)family), RESPONSES,
			RESPONSES_LEN);
}

static void begin_endpoint_family(struct metrics_page *page, const char *name)
{
	static const char *const helps[] = {
#define X(symbol, text, help) [ENDPOINT_COUNTER_##symbol] = help,
		ENDPOINT_COUNTERS(X)
#undef X
	};

	if (page->family >= ENDPOINT_COUNTER_COUNT)
		metrics_family(page, name, METRICS_GAUGE,
			       endpoint_gauges[page->family - ENDPOINT_COUNTER_COUNT].help);
	else if (!counts_responses(page->family))
		metrics_family(page, name, METRICS_COUNTER, helps[page->family]);
	else if (!page->family || !counts_responses(page->family - 1))
		metrics_family(page, name, METRICS_COUNTER,
			       "answers of the endpoint by the class of their status");
}

static void name_endpoint_family(unsigned int family, char *buf, size_t buf_len)
{
	if (family >= ENDPOINT_COUNTER_COUNT)
		(void)snprintf(buf, buf_len, "%s",
			       endpoint_gauges[family - ENDPOINT_COUNTER_COUNT].name);
	else if (counts_responses(family))
		(void)snprintf(buf, buf_len, "sluice_endpoint_responses_total");
	else
		(void)snprintf(buf, buf_len, "sluice_endpoint_%s_total",
			       endpoint_counter_name((enum endpoint_counter)family));
}

static void write_endpoint(struct metrics_page *page, const char *name, struct str upstream,
			   const struct endpoint_conf *conf)
{
	struct metrics_label label[3] = {{"upstream", upstream}, {"endpoint", conf->address}};
	unsigned int count = 2, family = page->family;
	char labels[METRICS_LABELS_MAX];

	if (counts_responses(family))
		label[count++] = (struct metrics_label){
			"code", str_from_cstr(endpoint_counter_name((enum endpoint_counter)family) +
					      RESPONSES_LEN)};
	(void)metrics_labels(label, count, labels, sizeof(labels));
	if (family < ENDPOINT_COUNTER_COUNT)
		metrics_u64(page, name, labels,
			    endpoint_counter_sum(conf->endpoint, (enum endpoint_counter)family));
	else
		metrics_u64(page, name, labels,
			    endpoint_gauges[family - ENDPOINT_COUNTER_COUNT].get(conf->endpoint));
}

bool metrics_write_endpoints(struct metrics_page *page)
{
	const struct snapshot *snapshot = page->snapshot;
	const struct upstream_conf *upstream;
	char name[96];

	if (page->family == ENDPOINT_FAMILIES)
		return true;
	name_endpoint_family(page->family, name, sizeof(name));
	if (!page->group && !page->item)
		begin_endpoint_family(page, name);
	if (page->group == snapshot->upstream_count) {
		page->family++;
		page->group = page->item = 0;
		return false;
	}
	upstream = &snapshot->upstreams[page->group];
	if (page->item == upstream->endpoint_count) {
		page->group++;
		page->item = 0;
		return false;
	}
	write_endpoint(page, name, upstream->name, &upstream->endpoints[page->item++]);
	return false;
}
