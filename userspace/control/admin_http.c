/* GET /v1/routes and /v1/upstreams */
#include "base/clock.h"
#include "control/admin_api.h"
#include "upstream/ejection.h"
#include "http/split.h"

static void write_strings(struct json_writer *json, const char *key, const struct str *values,
			  unsigned int count)
{
	json_open_array(json, key);
	for (unsigned int i = 0; i < count; i++)
		json_str(json, NULL, values[i]);
	json_close_array(json);
}

void admin_json_methods(struct json_writer *json, const char *key, uint32_t methods,
			const struct str *others, unsigned int other_count)
{
	static const struct {
		enum http_method method;
		const char *name;
	} names[] = {
		{HTTP_METHOD_GET, "GET"},	  {HTTP_METHOD_HEAD, "HEAD"},
		{HTTP_METHOD_POST, "POST"},	  {HTTP_METHOD_PUT, "PUT"},
		{HTTP_METHOD_DELETE, "DELETE"},	  {HTTP_METHOD_OPTIONS, "OPTIONS"},
		{HTTP_METHOD_PATCH, "PATCH"},	  {HTTP_METHOD_TRACE, "TRACE"},
		{HTTP_METHOD_CONNECT, "CONNECT"},
	};

	json_open_array(json, key);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (methods & 1u << names[i].method)
			json_cstring(json, NULL, names[i].name);
	for (unsigned int i = 0; i < other_count; i++)
		json_str(json, NULL, others[i]);
	json_close_array(json);
}

void admin_json_path(struct json_writer *json, const struct route *route)
{
	json_open_object(json, "path");
	json_cstring(json, "kind", route_path_kind_name(route->path_kind));
	json_str(json, "value", route->path);
	json_close_object(json);
}

static void write_conditions(struct json_writer *json, const char *key,
			     const struct route_conditions *conditions)
{
	json_open_array(json, key);
	for (unsigned int i = 0; i < conditions->count; i++) {
		const struct route_condition *condition = &conditions->items[i];

		json_open_object(json, NULL);
		json_str(json, "name", condition->name);
		if (condition->kind == ROUTE_CONDITION_EXACT)
			json_str(json, "value", condition->value);
		else if (condition->kind == ROUTE_CONDITION_REGEX)
			json_str(json, "regex", condition->value);
		else
			json_bool(json, "present", condition->kind == ROUTE_CONDITION_PRESENT);
		json_close_object(json);
	}
	json_close_array(json);
}

static void write_string_or_null(struct json_writer *json, const char *key, struct str value)
{
	if (value.ptr)
		json_str(json, key, value);
	else
		json_nil(json, key);
}

static void write_policies(struct json_writer *json, const struct route *route)
{
	json_open_array(json, "policies");
	for (unsigned int i = 0; i < route->policy_count; i++)
		json_str(json, NULL, route->policies[i]->name);
	json_close_array(json);
}

static void write_variant(struct json_writer *json, const struct split_variant *variant)
{
	json_open_object(json, NULL);
	json_str(json, "upstream", variant->upstream->name);
	json_u64(json, "weight", variant->weight);
	json_bool(json, "conditional", variant->when_header.count || variant->when_query.count);
	if (variant->stats)
		json_u64(json, "requests", variant_stats_requests(variant->stats));
	json_close_object(json);
}

static void write_upstreams(struct json_writer *json, const struct route *route)
{
	static const char *const sticky_names[] = {
		[SPLIT_BY_COOKIE] = "cookie",
		[SPLIT_BY_HEADER] = "header",
		[SPLIT_BY_SOURCE] = "source",
	};
	const struct split *split = route->proxy.split;

	if (!split) {
		json_str(json, "upstream", route->proxy.upstream->name);
		return;
	}
	json_open_array(json, "split");
	for (unsigned int i = 0; i < split->count; i++)
		write_variant(json, &split->variants[i]);
	json_close_array(json);
	json_cstring(json, "sticky", sticky_names[split->sticky]);
}

void admin_json_action(struct json_writer *json, const struct route *route)
{
	switch (route->action) {
	case ROUTE_PROXY:
		json_cstring(json, "action", "proxy");
		write_upstreams(json, route);
		break;
	case ROUTE_REDIRECT:
		json_cstring(json, "action", "redirect");
		json_open_object(json, "redirect");
		json_u64(json, "status", route->redirect.status);
		write_string_or_null(json, "scheme", route->redirect.scheme);
		write_string_or_null(json, "host", route->redirect.host);
		write_string_or_null(json, "path", route->redirect.path);
		if (route->redirect.port)
			json_u64(json, "port", route->redirect.port);
		else
			json_nil(json, "port");
		json_close_object(json);
		break;
	case ROUTE_RESPOND:
		json_cstring(json, "action", "respond");
		json_open_object(json, "respond");
		json_u64(json, "status", route->respond.status);
		json_close_object(json);
		break;
	case ROUTE_FILES:
		json_cstring(json, "action", "files");
		json_open_object(json, "files");
		json_str(json, "root", route->files.root);
		json_close_object(json);
		break;
	}
}

static void write_stats(struct json_writer *json, const struct route *route)
{
	static const char *const classes[] = {"none", "1xx", "2xx", "3xx", "4xx", "5xx"};
	struct route_row sum = route_stats_sum(route->stats);

	json_u64(json, "requests", route_row_requests(&sum));
	json_open_object(json, "responses");
	for (size_t i = 0; i < ARRAY_SIZE(classes); i++)
		json_u64(json, classes[i], sum.responses[i]);
	json_close_object(json);
	json_u64(json, "bytes_in", sum.bytes_in);
	json_u64(json, "bytes_out", sum.bytes_out);
}

void admin_get_routes(struct daemon *daemon, const struct admin_request *request,
		      struct admin_response *response)
{
	const struct snapshot *snapshot = daemon->snapshot;
	struct json_writer json;

	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	json_open_array(&json, "routes");
	for (unsigned int i = 0; i < snapshot->route_count; i++) {
		const struct route *route = &snapshot->routes[i];

		json_open_object(&json, NULL);
		json_str(&json, "name", route->name);
		write_strings(&json, "hosts", route->hosts, route->host_count);
		admin_json_path(&json, route);
		admin_json_methods(&json, "methods", route->methods, route->other_methods,
				   route->other_method_count);
		write_conditions(&json, "headers", &route->headers);
		write_conditions(&json, "query", &route->query);
		write_string_or_null(&json, "upgrade", route->upgrade);
		write_strings(&json, "listeners", route->listeners, route->listener_count);
		write_policies(&json, route);
		admin_json_action(&json, route);
		if (route->stats)
			write_stats(&json, route);
		json_close_object(&json);
	}
	json_close_array(&json);
	json_close_object(&json);
	admin_finish(response, &json);
}

static void write_endpoint(struct json_writer *json, const struct endpoint_conf *conf,
			   uint64_t now_ms)
{
	const struct endpoint *endpoint = conf->endpoint;
	uint64_t ejected_ms = endpoint ? endpoint_ejected_ms(endpoint, now_ms) : 0;

	json_open_object(json, NULL);
	json_str(json, "address", conf->address);
	json_u64(json, "weight", conf->weight);
	if (endpoint) {
		json_cstring(json, "state", ejected_ms ? "ejected" : "ok");
		if (ejected_ms)
			json_u64(json, "ejected_for_ms", ejected_ms);
		else
			json_nil(json, "ejected_for_ms");
		json_u64(json, "failures_in_row", endpoint->failures);
		json_i64(json, "active", endpoint_active(endpoint));
		json_open_object(json, "connections");
		json_i64(json, "open", endpoint_connections_open(endpoint));
		json_i64(json, "idle", endpoint_connections_idle(endpoint));
		json_close_object(json);
		for (unsigned int i = 0; i < ENDPOINT_COUNTER_COUNT; i++)
			json_u64(json, endpoint_counter_name((enum endpoint_counter)i),
				 endpoint_counter_sum(endpoint, (enum endpoint_counter)i));
	}
	json_close_object(json);
}

static void write_limit(struct json_writer *json, const char *key, uint64_t limit)
{
	if (limit)
		json_u64(json, key, limit);
	else
		json_nil(json, key);
}

static void write_upstream(struct json_writer *json, const struct upstream_conf *upstream,
			   uint64_t now_ms)
{
	const struct upstream_state *state = upstream->state;

	json_open_object(json, NULL);
	json_str(json, "name", upstream->name);
	json_cstring(json, "balance",
		     upstream_balance_name((enum upstream_balance)upstream->balance));
	if (state) {
		json_u64(json, "connections", state->connections);
		write_limit(json, "connections_max", upstream->limits.connections);
		json_u64(json, "waiting", state->waiting);
		json_u64(json, "waiting_max", upstream->limits.pending);
		for (unsigned int i = 0; i < UPSTREAM_COUNTER_COUNT; i++)
			json_u64(json, upstream_counter_name((enum upstream_counter)i),
				 upstream_counter_sum(state, (enum upstream_counter)i));
	}
	json_open_array(json, "endpoints");
	for (unsigned int i = 0; i < upstream->endpoint_count; i++)
		write_endpoint(json, &upstream->endpoints[i], now_ms);
	json_close_array(json);
	json_close_object(json);
}

void admin_get_upstreams(struct daemon *daemon, const struct admin_request *request,
			 struct admin_response *response)
{
	const struct snapshot *snapshot = daemon->snapshot;
	uint64_t now_ms = clock_mono_ms();
	struct json_writer json;

	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	json_open_array(&json, "upstreams");
	for (unsigned int i = 0; i < snapshot->upstream_count; i++)
		write_upstream(&json, &snapshot->upstreams[i], now_ms);
	json_close_array(&json);
	json_close_object(&json);
	admin_finish(response, &json);
}
