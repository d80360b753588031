#include "config/nat_config.h"

#include <errno.h>

#include "base/addr.h"
#include "conf/names.h"
#include "kern/service_check.h"

#define WHAT_MAX  160
#define VALUE_MAX 96
#define IDLE_MIN  1000
#define IDLE_MAX  ((uint64_t)SL_NAT_IDLE_MAX_S * 1000)

struct nat_file {
	struct nat_source *sources;
	unsigned int source_count;
	uint16_t port_first, port_last;
	struct nat_idle idle;
};

/* ---- addresses ---- */

static bool is_host_address(const struct ip_addr *addr)
{
	/* 0/8, 127/8, and 224/3: multicast, reserved, broadcast. */
	return addr->bytes[0] != 0 && addr->bytes[0] != 127 && addr->bytes[0] < 224;
}

static int address_add(const struct field_context *context, const struct conf_node *node,
		       const char *what, struct nat_file *file)
{
	struct nat_source *source = &file->sources[file->source_count];
	char value[VALUE_MAX];
	struct ip_addr addr;

	if (node->refused)
		return -EINVAL;
	(void)conf_describe(node, value, sizeof(value));
	if (node->type != CONF_SCALAR || ip_addr_parse(node->value, &addr)) {
		conf_error(context->errors, node, "%s: %s is not an address", what, value);
		return -EINVAL;
	}
	if (addr.family != AF_INET) {
		conf_error(
			context->errors, node,
			"%s: %s is not an IPv4 address; nat is for IPv4 (forward: ipip does IPv6)",
			what, value);
		return -EINVAL;
	}
	if (!is_host_address(&addr)) {
		conf_error(context->errors, node, "%s: %s cannot be the source of a packet", what,
			   value);
		return -EINVAL;
	}
	memcpy(&source->addr_be, addr.bytes, sizeof(source->addr_be));
	for (unsigned int i = 0; i < file->source_count; i++) {
		if (file->sources[i].addr_be != source->addr_be)
			continue;
		conf_error(context->errors, node, "%s: %s is given twice", what, value);
		return -EINVAL;
	}
	file->source_count++;
	return 0;
}

static int addresses_read(const struct field_context *context, const struct conf_node *node,
			  void *target)
{
	struct nat_file *file = target;
	char what[WHAT_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: addresses", context->what);
	if (list_check(context, node, what))
		return -EINVAL;
	if (!node->count) {
		conf_error(context->errors, node, "%s: at least one is needed", what);
		return -EINVAL;
	}
	if (node->count > SL_NAT_ADDRESSES_MAX) {
		conf_error(context->errors, node, "%s: more than %d", what, SL_NAT_ADDRESSES_MAX);
		return -EINVAL;
	}
	file->sources = arena_new_array(context->arena, struct nat_source, node->count);
	if (!file->sources)
		return field_no_memory(context, node);
	conf_for_each (item, node) {
		if (address_add(context, item, what, file))
			result = -EINVAL;
	}
	return result;
}

static void addresses_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct nat_file *file = target;

	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < file->source_count; i++) {
		struct ip_addr addr = {.family = AF_INET};
		char text[ADDR_TEXT_MAX];

		memcpy(addr.bytes, &file->sources[i].addr_be, sizeof(file->sources[i].addr_be));
		conf_write_plain(writer, NULL, ip_addr_format(&addr, text, sizeof(text)));
	}
	conf_write_close(writer);
}

/* ---- ports ---- */

static bool port_parse(struct str text, uint64_t *ret_port)
{
	return !str_to_u64(text, ret_port) && *ret_port <= 65535;
}

static int ports_read(const struct field_context *context, const struct conf_node *node,
		      void *target)
{
	struct nat_file *file = target;
	uint64_t first = 0, last = 0;
	char value[VALUE_MAX];
	ptrdiff_t dash;

	if (node->refused)
		return -EINVAL;
	(void)conf_describe(node, value, sizeof(value));
	dash = node->type == CONF_SCALAR ? str_find_byte(node->value, '-') : -1;
	if (dash < 0 || !port_parse(str_sub(node->value, 0, (size_t)dash), &first) ||
	    !port_parse(str_sub(node->value, (size_t)dash + 1, node->value.len), &last) ||
	    first > last) {
		conf_error(context->errors, node,
			   "%s: ports: %s is not a range of ports, such as 40000-59999",
			   context->what, value);
		return -EINVAL;
	}
	/* Lines of four: what is cut off at the ends is left to the host. */
	first = (first + SL_NAT_WAYS - 1) / SL_NAT_WAYS * SL_NAT_WAYS;
	last = (last + 1) / SL_NAT_WAYS * SL_NAT_WAYS;
	if (first < SL_NAT_WAYS || first + SL_NAT_WAYS > last) {
		conf_error(context->errors, node,
			   "%s: ports: %s does not hold four ports that begin at a multiple of "
			   "four above 0",
			   context->what, value);
		return -EINVAL;
	}
	file->port_first = (uint16_t)first;
	file->port_last = (uint16_t)(last - 1);
	return 0;
}

static void ports_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct nat_file *file = target;
	char text[16];

	(void)snprintf(text, sizeof(text), "%u-%u", file->port_first, file->port_last);
	conf_write_plain(writer, key, text);
}

/* ---- the section ---- */

#define IDLE_FIELD(name, member, text)                                                             \
	{                                                                                          \
		.key = (name), .kind = FIELD_DURATION_MS,                                          \
		.offset = offsetof(struct nat_idle, member), .default_text = (text),               \
		.min = IDLE_MIN, .max = IDLE_MAX                                                   \
	}

static const struct field idle_fields[] = {
	IDLE_FIELD("tcp", tcp_ms, "15m"),
	IDLE_FIELD("tcp_opening", tcp_opening_ms, "60s"),
	IDLE_FIELD("tcp_closing", tcp_closing_ms, "60s"),
	IDLE_FIELD("udp", udp_ms, "60s"),
	IDLE_FIELD("udp_unanswered", udp_unanswered_ms, "30s"),
};

static const struct field nat_fields[] = {
	{.key = "addresses",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = addresses_read,
	 .print = addresses_print},
	{.key = "ports",
	 .kind = FIELD_CUSTOM,
	 .default_text = "1024-65535",
	 .read = ports_read,
	 .print = ports_print},
	{.key = "idle",
	 .kind = FIELD_SECTION,
	 .offset = offsetof(struct nat_file, idle),
	 .fields = idle_fields,
	 .field_count = ARRAY_SIZE(idle_fields)},
};

int nat_config_read(const struct field_context *context, const struct conf_node *node,
		    const char *what, struct nat_pool_conf *ret_conf)
{
	struct nat_file file = {0};
	int ret;

	ret = field_read(context, nat_fields, ARRAY_SIZE(nat_fields), node, what, &file);
	if (ret)
		return ret;
	for (unsigned int i = 0; i < file.source_count; i++) {
		file.sources[i].port_first = file.port_first;
		file.sources[i].port_last = file.port_last;
	}
	*ret_conf = (struct nat_pool_conf){
		.sources = file.sources,
		.source_count = file.source_count,
		.idle = file.idle,
	};
	return 0;
}

/* ---- services ---- */

static void check_service(const struct field_context *context, const struct nat_pool_conf *conf,
			  const struct service_conf *service)
{
	const struct service_backend *backend;
	struct error err = {0};

	if (!service_check_nat(service, conf->sources, conf->source_count, &backend, &err))
		return;
	conf_error_at(context->errors, backend ? backend->line : service->line,
		      backend ? backend->column : service->column, "service '%.*s': %s",
		      STR_FMT(service->name), err.text);
}

void nat_config_check(const struct field_context *context, const struct nat_pool_conf *conf,
		      const struct service_conf *services, unsigned int service_count)
{
	for (unsigned int i = 0; i < service_count; i++)
		check_service(context, conf, &services[i]);
}

void nat_config_write(struct conf_writer *writer, const char *key, const struct nat_pool_conf *conf)
{
	struct nat_file file = {.source_count = conf->source_count, .idle = conf->idle};
	struct nat_source sources[SL_NAT_ADDRESSES_MAX];

	if (!conf->source_count || conf->source_count > SL_NAT_ADDRESSES_MAX)
		return;
	memcpy(sources, conf->sources, conf->source_count * sizeof(sources[0]));
	file.sources = sources;
	file.port_first = sources[0].port_first;
	file.port_last = sources[0].port_last;
	conf_write_open_mapping(writer, key);
	field_write(writer, nat_fields, ARRAY_SIZE(nat_fields), &file);
	conf_write_close(writer);
}
