#include "config/config.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "config/dataplane_config.h"
#include "config/nat_config.h"
#include "config/node_config.h"
#include "config/service_config.h"
#include "filter/api_key.h"
#include "filter/authorize.h"
#include "filter/basic.h"
#include "filter/compress.h"
#include "filter/concurrency.h"
#include "filter/cors.h"
#include "filter/decompress.h"
#include "filter/external_auth.h"
#include "filter/jwt.h"
#include "filter/rate_limit.h"
#include "filter/rewrite.h"
#include "filter/transform.h"
#include "http/files_root.h"
#include "http/listener_config.h"
#include "http/policy_config.h"
#include "http/route_config.h"
#include "http/router.h"
#include "http/split.h"
#include "tls/tls_client_config.h"
#include "tls/tls_config.h"
#include "upstream/upstream_config.h"

#define CONFIG_VERSION	    1
#define CONFLICTS_SHOWN_MAX 50
#define VALUE_MAX	    96
#define TABLES_BUILD_MS	    250 /* what a reload may spend on tables of balancers */

/* One reading. Names and the document are needed until references are resolved. */
struct loading {
	const struct conf_node *root;
	struct conf_doc *doc;
	struct snapshot *snapshot;
	struct field_context context;
	struct name_table services, listeners, upstreams, policies, routes;
};

DEFINE_FREEP(struct conf_doc, conf_doc_free)
DEFINE_FREEP(struct snapshot, snapshot_unref)

static int version_read(const struct field_context *context, const struct conf_node *node,
			void *target)
{
	char value[VALUE_MAX];

	if (node->type == CONF_SCALAR && !node->quoted && str_eq_cstr(node->value, "1"))
		return 0;
	conf_error(context->errors, node, "version: expected %d, got %s", CONFIG_VERSION,
		   conf_describe(node, value, sizeof(value)));
	return -EINVAL;
}

/* Sections are read in the order in which they need each other, not in that of the file. */
static int section_seen(const struct field_context *context, const struct conf_node *node,
			void *target)
{
	return 0;
}

/* Files may be written for later: an empty list asks for nothing. */
static int section_not_yet(const struct field_context *context, const struct conf_node *node,
			   void *target)
{
	if ((node->type == CONF_SEQUENCE && !node->count) || conf_is_null(node))
		return 0;
	conf_error_key(context->errors, node, "'%.*s' is not supported yet", STR_FMT(node->key));
	return -EINVAL;
}

static const struct field root_fields[] = {
	{.key = "version", .kind = FIELD_CUSTOM, .required = true, .read = version_read},
	{.key = "node", .kind = FIELD_CUSTOM, .read = section_seen},
	{.key = "dataplane", .kind = FIELD_CUSTOM, .read = section_seen},
	{.key = "services", .kind = FIELD_CUSTOM, .read = section_seen},
	{.key = "listeners", .kind = FIELD_CUSTOM, .read = section_seen},
	{.key = "upstreams", .kind = FIELD_CUSTOM, .read = section_seen},
	{.key = "caches", .kind = FIELD_CUSTOM, .read = section_not_yet},
	{.key = "stores", .kind = FIELD_CUSTOM, .read = section_not_yet},
	{.key = "policies", .kind = FIELD_CUSTOM, .read = section_seen},
	{.key = "routes", .kind = FIELD_CUSTOM, .read = section_seen},
};

/* Every kind of policy there is. */
static const struct policy_type *const policy_types[] = {
	&api_key_policy,     &authorize_policy,	 &basic_policy,	     &compress_policy,
	&concurrency_policy, &cors_policy,	 &decompress_policy, &external_auth_policy,
	&jwt_policy,	     &rate_limit_policy, &rewrite_policy,    &transform_policy,
};

static struct field_context section_context(const struct loading *loading, const char *what)
{
	struct field_context context = loading->context;

	context.what = what;
	return context;
}

/* sk_lookup would give its connections to a listener. */
static void check_metrics_address(const struct loading *loading)
{
	const struct snapshot *snapshot = loading->snapshot;
	const struct sock_addr *addr = &snapshot->node.metrics_addr;
	const struct ip_addr ip = sock_addr_ip(addr);
	const struct listener_conf *listener;

	if (!snapshot->node.metrics.ptr)
		return;
	listener = listener_find(snapshot->listeners, snapshot->listener_count, &ip,
				 sock_addr_port(addr));
	if (listener)
		conf_error(loading->context.errors,
			   conf_get(conf_get(loading->root, "node"), "metrics"),
			   "node: metrics: address '%.*s' belongs to listener '%.*s'",
			   STR_FMT(snapshot->node.metrics), STR_FMT(listener->name));
}

/* Whom should it believe? Without an answer nobody could connect, or anybody be anybody. */
static void check_proxy_protocol(const struct loading *loading)
{
	const struct snapshot *snapshot = loading->snapshot;
	const struct conf_node *node = conf_get(loading->root, "node");
	const struct conf_node *trusted = node ? conf_get(node, "trusted_proxies") : NULL;

	/* A list with errors has said them already. */
	if (trusted && trusted->count)
		return;
	for (unsigned int i = 0; i < snapshot->listener_count; i++) {
		const struct listener_conf *listener = &snapshot->listeners[i];

		if (listener->proxy_protocol != LISTENER_PROXY_OFF)
			conf_error_at(loading->context.errors, listener->line, listener->column,
				      "listener '%.*s': 'proxy_protocol' needs "
				      "'node.trusted_proxies', which says whose headers are "
				      "believed",
				      STR_FMT(listener->name));
	}
}

/* Every section is read whatever became of the others; the errors say how it went. */
static void read_sections(struct loading *loading)
{
	struct snapshot *snapshot = loading->snapshot;
	const struct conf_node *root = loading->root;
	struct arena *scratch = &loading->doc->arena;
	struct field_context context = section_context(loading, "listeners");
	struct policy_targets policy_targets;
	struct route_targets targets;

	(void)field_read(&loading->context, root_fields, ARRAY_SIZE(root_fields), root,
			 "configuration", NULL);
	(void)node_config_read(&loading->context, conf_get(root, "node"), &snapshot->node);
	(void)dataplane_config_read(&loading->context, conf_get(root, "dataplane"),
				    snapshot->loaded_wall_ms, &snapshot->dataplane);
	if (listeners_read(&context, conf_get(root, "listeners"), scratch, &loading->listeners,
			   &snapshot->listeners, &snapshot->listener_count) == -ENOMEM)
		return;
	check_metrics_address(loading);
	check_proxy_protocol(loading);
	context = section_context(loading, "services");
	if (services_read(&context, conf_get(root, "services"), scratch, &loading->services,
			  &snapshot->services, &snapshot->service_count) == -ENOMEM)
		return;
	services_check_places(&context, snapshot->services, snapshot->service_count,
			      snapshot->listeners, snapshot->listener_count);
	nat_config_check(&context, &snapshot->dataplane.nat, snapshot->services,
			 snapshot->service_count);
	context = section_context(loading, "upstreams");
	if (upstreams_read(&context, conf_get(root, "upstreams"), scratch, &loading->upstreams,
			   &snapshot->upstreams, &snapshot->upstream_count) == -ENOMEM)
		return;
	policy_targets = (struct policy_targets){
		.upstreams = &loading->upstreams,
		.upstream_items = snapshot->upstreams,
	};
	context = section_context(loading, "policies");
	context.user = &policy_targets;
	if (policies_read(&context, conf_get(root, "policies"), policy_types,
			  ARRAY_SIZE(policy_types), scratch, &loading->policies,
			  &snapshot->policies, &snapshot->policy_count) == -ENOMEM)
		return;
	targets = (struct route_targets){
		.listeners = &loading->listeners,
		.upstreams = &loading->upstreams,
		.upstream_items = snapshot->upstreams,
		.policies = &loading->policies,
		.policy_items = snapshot->policies,
	};
	context = section_context(loading, "routes");
	(void)routes_read(&context, conf_get(root, "routes"), &targets, scratch, &loading->routes,
			  &snapshot->routes, &snapshot->route_count);
}

/* ---- routers ---- */

/* A pair is told once, however many listeners and hosts it meets at. */
static void report_conflicts(const struct loading *loading, const struct router_conflict *conflicts,
			     unsigned int count, bool *reported)
{
	for (unsigned int i = 0; i < count; i++) {
		const struct route *earlier = conflicts[i].earlier, *later = conflicts[i].later;

		if (reported[later - loading->snapshot->routes])
			continue;
		reported[later - loading->snapshot->routes] = true;
		conf_error_at(loading->context.errors, later->line, later->column,
			      "route '%.*s': matches the same requests as route '%.*s' at line %u, "
			      "column %u",
			      STR_FMT(later->name), STR_FMT(earlier->name), earlier->line,
			      earlier->column);
	}
}

static void build_router(const struct loading *loading, struct listener_conf *listener,
			 struct route **routes, bool *reported)
{
	struct router_conflict conflicts[CONFLICTS_SHOWN_MAX];
	struct snapshot *snapshot = loading->snapshot;
	unsigned int count = 0, conflict_count;

	for (unsigned int i = 0; i < snapshot->route_count; i++)
		if (snapshot->routes[i].path.ptr &&
		    route_is_served(&snapshot->routes[i], listener->name))
			routes[count++] = &snapshot->routes[i];
	listener->router = router_build(&snapshot->arena, routes, count, conflicts,
					ARRAY_SIZE(conflicts), &conflict_count);
	if (!listener->router)
		(void)field_no_memory(&loading->context, NULL);
	else
		report_conflicts(loading, conflicts, conflict_count, reported);
}

static void build_routers(const struct loading *loading)
{
	struct snapshot *snapshot = loading->snapshot;
	struct arena *scratch = &loading->doc->arena;
	struct route **routes = arena_new_array(scratch, struct route *, snapshot->route_count);
	bool *reported = arena_new_array(scratch, bool, snapshot->route_count);

	if (!routes || !reported) {
		(void)field_no_memory(&loading->context, NULL);
		return;
	}
	for (unsigned int i = 0; i < snapshot->listener_count; i++)
		build_router(loading, &snapshot->listeners[i], routes, reported);
}

/* ---- runtime objects ---- */

static int acquire_objects(struct registry *registry, struct snapshot *snapshot,
			   unsigned int worker_count)
{
	uint64_t build_until_ms = clock_mono_ms() + TABLES_BUILD_MS;
	int r = 0;

	for (unsigned int i = 0; i < snapshot->listener_count && !r; i++)
		if (snapshot->listeners[i].tls)
			r = tls_server_acquire(registry, snapshot->listeners[i].tls, worker_count);
	for (unsigned int i = 0; i < snapshot->upstream_count && !r; i++) {
		struct upstream_conf *upstream = &snapshot->upstreams[i];

		if (upstream->tls)
			r = tls_client_acquire(upstream->tls, worker_count);
		if (!r)
			r = upstream_acquire(registry, upstream, worker_count, build_until_ms);
	}
	if (!r)
		r = policies_acquire(snapshot->policies, snapshot->policy_count, registry,
				     worker_count);
	for (unsigned int i = 0; i < snapshot->route_count && !r; i++) {
		struct route *route = &snapshot->routes[i];
		struct split *split = route->proxy.split;

		r = route_stats_acquire(registry, route->name, worker_count, &route->stats);
		for (unsigned int j = 0; split && j < split->count && !r; j++)
			r = variant_stats_acquire(registry, route->name,
						  split->variants[j].upstream->name, worker_count,
						  &split->variants[j].stats);
		if (!r && route->action == ROUTE_FILES)
			r = files_root_acquire(registry, route->files.root,
					       &route->files.directory);
	}
	return r;
}

static int load(struct loading *loading, const char *path, const char *base_dir,
		struct conf_errors *errors)
{
	struct snapshot *snapshot = loading->snapshot;
	char value[VALUE_MAX];

	snapshot->loaded_wall_ms = clock_wall_ms();
	snapshot->file = arena_copy(&snapshot->arena, str_from_cstr(path));
	loading->root = loading->doc->root;
	loading->context = (struct field_context){
		.errors = errors,
		.arena = &snapshot->arena,
		.base_dir = base_dir,
	};
	if (!snapshot->file.ptr)
		return field_no_memory(&loading->context, NULL);
	if (loading->root->type != CONF_MAPPING) {
		if (!loading->root->refused)
			conf_error(errors, loading->root, "expected a mapping of sections, got %s",
				   conf_describe(loading->root, value, sizeof(value)));
		return -EINVAL;
	}
	read_sections(loading);
	if (!snapshot->arena.overflowed && !loading->doc->arena.overflowed)
		build_routers(loading);
	return 0;
}

/* "etc/sluice/" of "etc/sluice/x.yaml"; "" where there is no directory in the name. */
static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? strndup(path, (size_t)(slash - path) + 1) : strdup("");
}

/* text: what stands in the file; NULL: read it. */
static int load_from(const char *path, const struct str *text, struct registry *registry,
		     unsigned int worker_count, struct conf_errors *errors,
		     struct snapshot **ret_snapshot)
{
	_cleanup_(snapshot_unrefp)
	struct snapshot *snapshot = snapshot_new();
	_cleanup_(conf_doc_freep)
	struct conf_doc *doc = NULL;
	_cleanup_free_ char *base_dir = directory_of(path);
	unsigned int errors_before = conf_errors_count(errors);
	struct loading loading = {.snapshot = snapshot};
	int r;

	if (!snapshot || !base_dir) {
		conf_error(errors, NULL, "out of memory");
		return -ENOMEM;
	}
	r = text ? conf_load_string(*text, errors, &doc) : conf_load_file(path, errors, &doc);
	if (r)
		return r;
	loading.doc = doc;
	r = load(&loading, path, base_dir, errors);
	if (!r && conf_errors_count(errors) != errors_before)
		r = -EINVAL;
	if (snapshot->arena.overflowed || doc->arena.overflowed)
		r = -ENOMEM;
	if (!r && registry) {
		r = acquire_objects(registry, snapshot,
				    worker_count ? worker_count : config_worker_count(snapshot));
		if (r)
			conf_error(errors, NULL, "runtime objects cannot be made: %s",
				   strerrordesc_np(-r));
	}
	if (r)
		return r;
	*ret_snapshot = TAKE_PTR(snapshot);
	return 0;
}

int config_load(const char *path, struct registry *registry, unsigned int worker_count,
		struct conf_errors *errors, struct snapshot **ret_snapshot)
{
	return load_from(path, NULL, registry, worker_count, errors, ret_snapshot);
}

int config_load_string(struct str text, const char *path, struct registry *registry,
		       unsigned int worker_count, struct conf_errors *errors,
		       struct snapshot **ret_snapshot)
{
	return load_from(path, &text, registry, worker_count, errors, ret_snapshot);
}

unsigned int config_worker_count(const struct snapshot *snapshot)
{
	cpu_set_t cpus;
	long count;

	if (snapshot->node.workers)
		return (unsigned int)snapshot->node.workers;
	/* Fails on machines of more than 1,024 CPUs. */
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
		count = CPU_COUNT(&cpus);
	else
		count = sysconf(_SC_NPROCESSORS_ONLN);
	return (unsigned int)MIN(MAX(count, 1), STEER_WORKERS_MAX);
}

int config_print_effective(const struct snapshot *snapshot, struct buf *out)
{
	struct conf_writer writer;

	conf_writer_init(&writer, out);
	conf_write_u64(&writer, "version", CONFIG_VERSION);
	conf_write_open_mapping(&writer, "node");
	node_config_write(&writer, &snapshot->node);
	conf_write_close(&writer);
	conf_write_open_mapping(&writer, "dataplane");
	dataplane_config_write(&writer, &snapshot->dataplane);
	conf_write_close(&writer);
	conf_write_open_list(&writer, "services");
	services_write(&writer, snapshot->services, snapshot->service_count);
	conf_write_close(&writer);
	conf_write_open_list(&writer, "listeners");
	listeners_write(&writer, snapshot->listeners, snapshot->listener_count);
	conf_write_close(&writer);
	conf_write_open_list(&writer, "upstreams");
	upstreams_write(&writer, snapshot->upstreams, snapshot->upstream_count);
	conf_write_close(&writer);
	conf_write_open_list(&writer, "policies");
	policies_write(&writer, snapshot->policies, snapshot->policy_count);
	conf_write_close(&writer);
	conf_write_open_list(&writer, "routes");
	routes_write(&writer, snapshot->routes, snapshot->route_count);
	conf_write_close(&writer);
	return conf_writer_finish(&writer);
}
