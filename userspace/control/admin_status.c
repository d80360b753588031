/* GET /v1/version, /v1/status, /v1/counters */
#include <sys/utsname.h>
#include <unistd.h>

#include "abi/dataplane.h"
#include "base/clock.h"
#include "control/address_check.h"
#include "control/admin_api.h"
#include "kern/flow_sweep.h"
#include "tls/tls_config.h"
#include "tls/tls_ktls.h"

/* Each look is a socket; who has more addresses than that finds the rest in the log. */
#define ABSENT_LOOKS_MAX 64u

void admin_get_version(struct daemon *daemon, const struct admin_request *request,
		       struct admin_response *response)
{
	struct json_writer json;
	struct utsname kernel;

	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	json_cstring(&json, "version", daemon_version);
	json_u64(&json, "abi_version", SL_ABI_VERSION);
	json_cstring(&json, "kernel", uname(&kernel) ? NULL : kernel.release);
	json_close_object(&json);
	admin_finish(response, &json);
}

static const char *reason_or_null(const char *reason)
{
	return reason[0] ? reason : NULL;
}

static void write_config(struct json_writer *json, const struct daemon *daemon)
{
	json_open_object(json, "config");
	json_cstring(json, "file", daemon->config_file);
	json_u64(json, "generation", daemon->generation);
	admin_json_time(json, "loaded_at", daemon->snapshot->loaded_wall_ms);
	json_cstring(json, "last_error", reason_or_null(daemon->last_error));
	json_close_object(json);
}

static void write_engine(struct json_writer *json, const struct daemon *daemon)
{
	enum io_engine engine = (enum io_engine)daemon->snapshot->node.io;

	for (unsigned int i = 0; i < daemon->worker_count; i++)
		if (daemon->workers[i])
			engine = worker_engine(daemon->workers[i]);
	json_open_object(json, "io");
	json_cstring(json, "engine", io_engine_name(engine));
	json_cstring(json, "reason", reason_or_null(daemon->engine_reason));
	json_close_object(json);
}

static void write_workers(struct json_writer *json, const struct daemon *daemon)
{
	struct http_worker_stats sum = {0};

	json_open_array(json, "workers");
	for (unsigned int i = 0; i < daemon->worker_count; i++) {
		struct http_worker_stats stats = {0};

		if (!daemon->workers[i])
			continue;
		worker_get_stats(daemon->workers[i], &stats);
		for (size_t j = 0; j < ARRAY_SIZE(stats.counters); j++)
			sum.counters[j] += stats.counters[j];
		json_open_object(json, NULL);
		json_u64(json, "id", i);
		if (worker_cpu(daemon->workers[i]) >= 0)
			json_i64(json, "cpu", worker_cpu(daemon->workers[i]));
		else
			json_nil(json, "cpu");
		json_u64(json, "connections", stats.connections_open);
		json_u64(json, "accepted", stats.counters[HTTP_COUNTER_ACCEPTED]);
		json_u64(json, "requests", stats.counters[HTTP_COUNTER_REQUESTS]);
		json_u64(json, "tunnels", stats.tunnels_open);
		json_u64(json, "upstream_connections", stats.upstream_connections_open);
		json_u64(json, "memory_bytes", stats.memory_bytes);
		json_cstring(json, "memory_level", memory_level_name(stats.memory_level));
		json_close_object(json);
	}
	json_close_array(json);
	json_open_object(json, "counters");
	for (size_t j = 0; j < ARRAY_SIZE(sum.counters); j++)
		json_u64(json, http_counter_name((enum http_counter)j), sum.counters[j]);
	json_close_object(json);
}

/* What peers make the workers hold, against node.memory_limit. */
static void write_memory(struct json_writer *json, const struct daemon *daemon)
{
	const struct http_node *node = daemon->http_node;

	json_open_object(json, "memory");
	json_u64(json, "used_bytes", http_node_memory(node));
	json_u64(json, "limit_bytes", node->memory_limit_bytes);
	json_cstring(json, "level",
		     memory_level_name((enum memory_level)atomic_load_explicit(
			     &node->level, memory_order_relaxed)));
	json_close_object(json);
}

static void write_steering(struct json_writer *json, const struct daemon *daemon)
{
	bool bound = daemon->steering.mode == STEERING_BIND;

	json_open_object(json, "steering");
	json_cstring(json, "mode", bound ? "bind" : "sk_lookup");
	json_cstring(json, "reason", reason_or_null(daemon->steering.reason));
	json_close_object(json);
}

static int write_attachment(const struct dataplane_attachment *attachment, void *arg)
{
	struct json_writer *json = arg;

	json_open_object(json, NULL);
	json_cstring(json, "name", attachment->interface);
	json_cstring(json, "mode", attachment->mode == XDP_MODE_NATIVE ? "native" : "generic");
	json_cstring(json, "how", attachment->how);
	json_u64(json, "program_id", attachment->program_id);
	json_bool(json, "adopted", attachment->adopted);
	json_close_object(json);
	return 0;
}

static void write_dataplane(struct json_writer *json, const struct daemon *daemon)
{
	json_open_object(json, "dataplane");
	json_str(json, "bpffs", daemon->snapshot->node.bpffs);
	json_bool(json, "available", daemon->dataplane != NULL);
	json_cstring(json, "reason", reason_or_null(daemon->dataplane_reason));
	json_open_array(json, "interfaces");
	if (daemon->dataplane)
		(void)dataplane_walk_attachments(daemon->dataplane, write_attachment, json);
	json_close_array(json);
	if (daemon->dataplane)
		flow_sweep_write_json(daemon->dataplane, json);
	json_close_object(json);
}

/* Of the listeners that want it; how many connections have it is among the counters. */
static void write_ktls(struct json_writer *json, const struct snapshot *snapshot)
{
	const struct tls_ktls_support *support;
	bool wanted = false;

	for (unsigned int i = 0; i < snapshot->listener_count; i++)
		if (snapshot->listeners[i].tls && snapshot->listeners[i].tls->ktls != TLS_KTLS_OFF)
			wanted = true;
	if (!wanted) {
		json_nil(json, "ktls");
		return;
	}
	support = tls_ktls_support();
	json_open_object(json, "ktls");
	json_bool(json, "sends", support->sends);
	json_bool(json, "receives", support->receives);
	json_cstring(json, "reason", reason_or_null(support->reason));
	json_close_object(json);
}

/* What is dropped by workers is among the counters: access_log_dropped. */
static void write_access_log(struct json_writer *json, const struct daemon *daemon)
{
	const struct access_log_conf *conf = &daemon->snapshot->node.access_log;
	struct access_log_stats stats = {0};

	if (!conf->file.ptr) {
		json_nil(json, "access_log");
		return;
	}
	if (daemon->access_log.sink)
		stats = access_log_sink_stats(daemon->access_log.sink);
	json_open_object(json, "access_log");
	json_str(json, "file", conf->file);
	json_cstring(json, "format", conf->format == ACCESS_LOG_JSON ? "json" : "combined");
	json_double(json, "sample", (double)conf->sample / ACCESS_LOG_SAMPLE_ALL);
	json_u64(json, "lines", stats.lines);
	json_u64(json, "bytes", stats.bytes);
	json_u64(json, "lines_lost", stats.lines_lost);
	json_close_object(json);
}

static void write_listeners(struct json_writer *json, const struct snapshot *snapshot)
{
	char text[ADDR_TEXT_MAX];

	json_open_array(json, "listeners");
	for (unsigned int i = 0; i < snapshot->listener_count; i++) {
		const struct listener_conf *listener = &snapshot->listeners[i];

		json_open_object(json, NULL);
		json_str(json, "name", listener->name);
		json_open_array(json, "address");
		for (unsigned int j = 0; j < listener->tuple_count; j++)
			json_cstring(
				json, NULL,
				steering_format_tuple(&listener->tuples[j], text, sizeof(text)));
		json_close_array(json);
		json_open_array(json, "absent");
		for (unsigned int j = 0; j < MIN(listener->tuple_count, ABSENT_LOOKS_MAX); j++)
			if (!address_is_here(&listener->tuples[j]))
				json_cstring(json, NULL,
					     steering_format_tuple(&listener->tuples[j], text,
								   sizeof(text)));
		json_close_array(json);
		json_cstring(json, "protocol", "http");
		json_close_object(json);
	}
	json_close_array(json);
}

static void write_capability(const char *name, void *arg)
{
	json_cstring(arg, NULL, name);
}

static void write_privileges(struct json_writer *json, const struct privileges_report *report)
{
	json_open_object(json, "privileges");
	json_open_array(json, "capabilities");
	privileges_walk_capabilities(write_capability, json);
	json_close_array(json);
	json_bool(json, "seccomp", report->seccomp);
	json_cstring(json, "seccomp_reason", reason_or_null(report->seccomp_reason));
	json_bool(json, "no_new_privs", report->no_new_privs);
	json_bool(json, "landlock", report->landlock);
	json_cstring(json, "landlock_reason", reason_or_null(report->landlock_reason));
	json_close_object(json);
}

void admin_get_status(struct daemon *daemon, const struct admin_request *request,
		      struct admin_response *response)
{
	struct json_writer json;

	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	json_cstring(&json, "version", daemon_version);
	json_i64(&json, "pid", getpid());
	json_u64(&json, "uptime_s", (clock_mono_ms() - daemon->started_mono_ms) / 1000);
	json_cstring(&json, "state", daemon->state == DAEMON_DRAINING ? "draining" : "ready");
	json_cstring(&json, "user", reason_or_null(daemon->privileges.user));
	write_config(&json, daemon);
	write_engine(&json, daemon);
	write_workers(&json, daemon);
	if (daemon->http_node)
		write_memory(&json, daemon);
	write_steering(&json, daemon);
	write_dataplane(&json, daemon);
	write_ktls(&json, daemon->snapshot);
	write_listeners(&json, daemon->snapshot);
	write_access_log(&json, daemon);
	write_privileges(&json, &daemon->privileges);
	json_close_object(&json);
	admin_finish(response, &json);
}

static int write_counter(const struct dataplane_counter *counter, void *arg)
{
	struct json_writer *json = arg;

	json_open_object(json, NULL);
	json_cstring(json, "name", counter->name);
	json_cstring(json, "meaning", counter->meaning);
	json_u64(json, "packets", counter->packets);
	json_u64(json, "bytes", counter->bytes);
	json_close_object(json);
	return 0;
}

void admin_get_counters(struct daemon *daemon, const struct admin_request *request,
			struct admin_response *response)
{
	struct error err = {0};
	struct json_writer json;

	if (!daemon->dataplane) {
		admin_fail(response, 503, "no kernel dataplane: %s", daemon->dataplane_reason);
		return;
	}
	json_init(&json, &response->body, false);
	json_open_object(&json, NULL);
	json_open_array(&json, "reasons");
	if (dataplane_walk_counters(daemon->dataplane, write_counter, &json, &err)) {
		admin_fail(response, 500, "%s", err.text);
		return;
	}
	json_close_array(&json);
	json_close_object(&json);
	admin_finish(response, &json);
}
