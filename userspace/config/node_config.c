#include "config/node_config.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/un.h>

#include "conf/names.h"
#include "config/config.h"
#include "http/error_pages_config.h"

#define VALUE_MAX	    96
#define TRUSTED_PROXIES_MAX 256 /* each is compared for each request */

static const struct field_name engine_names[] = {
	{.name = "auto", .value = IO_ENGINE_AUTO},
	{.name = "io_uring", .value = IO_ENGINE_IO_URING},
	{.name = "epoll", .value = IO_ENGINE_EPOLL},
};

static const struct field_name coalesce_names[] = {
	{.name = "adaptive", .value = true},
	{.name = "off", .value = false},
};

static const struct field_name level_names[] = {
	{.name = "error", .value = LOG_LEVEL_ERROR},
	{.name = "warn", .value = LOG_LEVEL_WARN},
	{.name = "info", .value = LOG_LEVEL_INFO},
	{.name = "debug", .value = LOG_LEVEL_DEBUG},
};

static const struct field_name format_names[] = {
	{.name = "text", .value = LOG_FORMAT_TEXT},
	{.name = "json", .value = LOG_FORMAT_JSON},
};

static int workers_read(const struct field_context *context, const struct conf_node *node,
			void *target)
{
	static const struct field number = {
		.key = "workers",
		.kind = FIELD_U64,
		.offset = offsetof(struct node_conf, workers),
		.min = 1,
		.max = STEER_WORKERS_MAX,
	};

	if (node->type == CONF_SCALAR && str_eq_cstr(node->value, "auto")) {
		((struct node_conf *)target)->workers = 0;
		return 0;
	}
	return field_read_value(context, &number, node, context->what, target);
}

static void workers_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct node_conf *conf = target;

	if (conf->workers)
		conf_write_u64(writer, key, conf->workers);
	else
		conf_write_plain(writer, key, "auto");
}

/* Relative to what? The daemon's directory is chance, so these must say it all. */
static int path_read(const struct field_context *context, const struct conf_node *node,
		     size_t len_max, struct str *ret_path)
{
	char value[VALUE_MAX];
	struct str path;

	if (node->type != CONF_SCALAR || !str_starts_with(node->value, STR("/"))) {
		conf_error(context->errors, node, "%s: %.*s: expected an absolute path, got %s",
			   context->what, STR_FMT(node->key),
			   conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	if (node->value.len > len_max) {
		conf_error(context->errors, node, "%s: %.*s: longer than %zu bytes", context->what,
			   STR_FMT(node->key), len_max);
		return -EINVAL;
	}
	path = arena_copy(context->arena, node->value);
	if (!path.ptr)
		return field_no_memory(context, node);
	*ret_path = path;
	return 0;
}

static int state_dir_read(const struct field_context *context, const struct conf_node *node,
			  void *target)
{
	return path_read(context, node, 3072, &((struct node_conf *)target)->state_dir);
}

static void state_dir_print(struct conf_writer *writer, const char *key, const void *target)
{
	conf_write_str(writer, key, ((const struct node_conf *)target)->state_dir);
}

static int bpffs_read(const struct field_context *context, const struct conf_node *node,
		      void *target)
{
	return path_read(context, node, 3072, &((struct node_conf *)target)->bpffs);
}

static void bpffs_print(struct conf_writer *writer, const char *key, const void *target)
{
	conf_write_str(writer, key, ((const struct node_conf *)target)->bpffs);
}

static int socket_read(const struct field_context *context, const struct conf_node *node,
		       void *target)
{
	return path_read(context, node, sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1,
			 &((struct node_conf *)target)->admin_socket);
}

static void socket_print(struct conf_writer *writer, const char *key, const void *target)
{
	conf_write_str(writer, key, ((const struct node_conf *)target)->admin_socket);
}

static int trusted_proxies_read(const struct field_context *context, const struct conf_node *node,
				void *target)
{
	struct trusted_proxies *trusted = &((struct node_conf *)target)->trusted_proxies;
	char what[VALUE_MAX], value[VALUE_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: trusted_proxies", context->what);
	if (list_check(context, node, what))
		return -EINVAL;
	if (node->count > TRUSTED_PROXIES_MAX) {
		conf_error(context->errors, node, "%s: at most %d prefixes, has %u", what,
			   TRUSTED_PROXIES_MAX, node->count);
		return -EINVAL;
	}
	trusted->prefixes = arena_new_array(context->arena, struct ip_prefix, node->count);
	if (!trusted->prefixes)
		return field_no_memory(context, node);
	conf_for_each (item, node) {
		struct error err = {0};

		if (item->refused) {
			result = -EINVAL;
		} else if (item->type != CONF_SCALAR || conf_is_null(item)) {
			conf_error(context->errors, item,
				   "%s: expected an address or a prefix, got %s", what,
				   conf_describe(item, value, sizeof(value)));
			result = -EINVAL;
		} else if (ip_prefix_parse(item->value, &trusted->prefixes[trusted->count], &err)) {
			conf_error(context->errors, item, "%s: %s", what, err.text);
			result = -EINVAL;
		} else {
			trusted->count++;
		}
	}
	return result;
}

static void trusted_proxies_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct trusted_proxies *trusted =
		&((const struct node_conf *)target)->trusted_proxies;
	char text[ADDR_TEXT_MAX];

	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < trusted->count; i++)
		conf_write_str(
			writer, NULL,
			str_from_cstr(ip_prefix_format(&trusted->prefixes[i], text, sizeof(text))));
	conf_write_close(writer);
}

/* ---- access_log ---- */

static const struct field_name access_log_formats[] = {
	{.name = "json", .value = ACCESS_LOG_JSON},
	{.name = "combined", .value = ACCESS_LOG_COMBINED},
};

/* The standard streams by name: what they lead to often cannot be opened again by a path. */
static int log_file_read(const struct field_context *context, const struct conf_node *node,
			 void *target)
{
	struct str *file = &((struct access_log_conf *)target)->file;
	char value[VALUE_MAX];

	if (node->type == CONF_SCALAR &&
	    (str_eq_cstr(node->value, "stdout") || str_eq_cstr(node->value, "stderr"))) {
		*file = arena_copy(context->arena, node->value);
		return file->ptr ? 0 : field_no_memory(context, node);
	}
	if (node->type == CONF_SCALAR && str_starts_with(node->value, STR("/")))
		return path_read(context, node, 3072, file);
	conf_error(context->errors, node,
		   "%s: file: expected an absolute path, stdout or stderr, got %s", context->what,
		   conf_describe(node, value, sizeof(value)));
	return -EINVAL;
}

static void log_file_print(struct conf_writer *writer, const char *key, const void *target)
{
	conf_write_str(writer, key, ((const struct access_log_conf *)target)->file);
}

static const struct field access_log_fields[] = {
	{.key = "file",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = log_file_read,
	 .print = log_file_print},
	{.key = "format",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct access_log_conf, format),
	 .names = access_log_formats,
	 .name_count = ARRAY_SIZE(access_log_formats),
	 .default_text = "json"},
	{.key = "sample",
	 .kind = FIELD_PERCENT,
	 .offset = offsetof(struct access_log_conf, sample),
	 .min = 1,
	 .max = ACCESS_LOG_SAMPLE_ALL,
	 .default_text = "100%"},
};

static int access_log_read(const struct field_context *context, const struct conf_node *node,
			   void *target)
{
	return field_read(context, access_log_fields, ARRAY_SIZE(access_log_fields), node,
			  "node: access_log", &((struct node_conf *)target)->access_log);
}

static void access_log_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct access_log_conf *conf = &((const struct node_conf *)target)->access_log;

	if (!conf->file.ptr)
		return;
	conf_write_open_mapping(writer, key);
	field_write(writer, access_log_fields, ARRAY_SIZE(access_log_fields), conf);
	conf_write_close(writer);
}

/* ---- metrics ---- */

static int metrics_read(const struct field_context *context, const struct conf_node *node,
			void *target)
{
	struct node_conf *conf = target;
	char value[VALUE_MAX];
	struct error err = {0};

	if (node->type != CONF_SCALAR || conf_is_null(node)) {
		conf_error(context->errors, node, "%s: metrics: expected ADDRESS:PORT, got %s",
			   context->what, conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	if (sock_addr_parse(node->value, &conf->metrics_addr, &err)) {
		conf_error(context->errors, node, "%s: metrics: %s", context->what, err.text);
		return -EINVAL;
	}
	if (!sock_addr_port(&conf->metrics_addr)) {
		conf_error(context->errors, node, "%s: metrics: expected ADDRESS:PORT, got %s",
			   context->what, conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	conf->metrics = arena_copy(context->arena, node->value);
	return conf->metrics.ptr ? 0 : field_no_memory(context, node);
}

static void metrics_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct node_conf *conf = target;

	if (conf->metrics.ptr)
		conf_write_str(writer, key, conf->metrics);
}

static int errors_read(const struct field_context *context, const struct conf_node *node,
		       void *target)
{
	return error_pages_read(context, node, context->what,
				&((struct node_conf *)target)->error_pages);
}

static void errors_print(struct conf_writer *writer, const char *key, const void *target)
{
	error_pages_write(writer, key, &((const struct node_conf *)target)->error_pages);
}

static const struct field admin_fields[] = {
	{.key = "socket",
	 .kind = FIELD_CUSTOM,
	 .default_text = "/run/sluice/admin.sock",
	 .read = socket_read,
	 .print = socket_print},
};

static const struct field log_fields[] = {
	{.key = "level",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct node_conf, log_level),
	 .names = level_names,
	 .name_count = ARRAY_SIZE(level_names),
	 .default_text = "info"},
	{.key = "format",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct node_conf, log_format),
	 .names = format_names,
	 .name_count = ARRAY_SIZE(format_names),
	 .default_text = "json"},
};

static const struct field node_fields[] = {
	{.key = "workers",
	 .kind = FIELD_CUSTOM,
	 .default_text = "auto",
	 .read = workers_read,
	 .print = workers_print},
	{.key = "user",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct node_conf, user),
	 .min = 1,
	 .max = 32},
	{.key = "state_dir",
	 .kind = FIELD_CUSTOM,
	 .default_text = "/var/lib/sluice",
	 .read = state_dir_read,
	 .print = state_dir_print},
	{.key = "bpffs",
	 .kind = FIELD_CUSTOM,
	 .default_text = "/sys/fs/bpf/sluice",
	 .read = bpffs_read,
	 .print = bpffs_print},
	{.key = "admin",
	 .kind = FIELD_SECTION,
	 .fields = admin_fields,
	 .field_count = ARRAY_SIZE(admin_fields)},
	{.key = "io",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct node_conf, io),
	 .names = engine_names,
	 .name_count = ARRAY_SIZE(engine_names),
	 .default_text = "auto"},
	{.key = "coalesce",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct node_conf, coalesce),
	 .names = coalesce_names,
	 .name_count = ARRAY_SIZE(coalesce_names),
	 .default_text = "adaptive"},
	{.key = "memory_limit",
	 .kind = FIELD_SIZE_BYTES,
	 .offset = offsetof(struct node_conf, memory_limit_bytes),
	 .min = (uint64_t)16 << 20,
	 .default_text = "1GiB"},
	{.key = "log",
	 .kind = FIELD_SECTION,
	 .fields = log_fields,
	 .field_count = ARRAY_SIZE(log_fields)},
	{.key = "drain",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct node_conf, drain_ms),
	 .max = 86400000,
	 .default_text = "30s"},
	{.key = "access_log",
	 .kind = FIELD_CUSTOM,
	 .read = access_log_read,
	 .print = access_log_print},
	{.key = "metrics", .kind = FIELD_CUSTOM, .read = metrics_read, .print = metrics_print},
	{.key = "dashboard", .kind = FIELD_NOT_YET},
	{.key = "tracing", .kind = FIELD_NOT_YET},
	{.key = "trusted_proxies",
	 .kind = FIELD_CUSTOM,
	 .read = trusted_proxies_read,
	 .print = trusted_proxies_print},
	{.key = "errors", .kind = FIELD_CUSTOM, .read = errors_read, .print = errors_print},
};

/* The environment wins, so that one configuration can be run under both engines. */
static int apply_engine_env(const struct field_context *context, struct node_conf *conf)
{
	struct str engine = str_from_cstr(getenv(CONFIG_ENGINE_ENV));
	char value[VALUE_MAX];

	if (str_is_empty(engine))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(engine_names); i++) {
		if (str_eq_cstr(engine, engine_names[i].name)) {
			conf->io = engine_names[i].value;
			return 0;
		}
	}
	conf_error(context->errors, NULL,
		   "environment variable " CONFIG_ENGINE_ENV
		   ": expected one of auto, io_uring, epoll, got %s",
		   str_quote(engine, value, sizeof(value)));
	return -EINVAL;
}

int node_config_read(const struct field_context *context, const struct conf_node *node,
		     struct node_conf *conf)
{
	int r;

	if (node)
		r = field_read(context, node_fields, ARRAY_SIZE(node_fields), node, "node", conf);
	else
		r = field_read_defaults(context, node_fields, ARRAY_SIZE(node_fields), "node",
					conf);
	return apply_engine_env(context, conf) || r ? -EINVAL : 0;
}

void node_config_write(struct conf_writer *writer, const struct node_conf *conf)
{
	field_write(writer, node_fields, ARRAY_SIZE(node_fields), conf);
}
