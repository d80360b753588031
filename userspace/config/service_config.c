#include "config/service_config.h"

#include <errno.h>
#include <netinet/in.h>

#include "kern/service_check.h"
#include "kern/service_words.h"

#define WHAT_MAX  160
#define VALUE_MAX 96

struct service_file {
	struct str name;
	int protocol, forward, affinity;
	uint64_t slots; /* 0: auto */
	struct service_conf *conf;
};

static const struct field_name protocol_names[] = {
	{.name = "tcp", .value = IPPROTO_TCP},
	{.name = "udp", .value = IPPROTO_UDP},
	{.name = "any", .value = 0},
};

static const struct field_name forward_names[] = {
	{.name = "ipip", .value = SL_FORWARD_IPIP}, {.name = "nat", .value = SL_FORWARD_NAT},
	{.name = "gue", .not_yet = true},	    {.name = "l2", .not_yet = true},
	{.name = "local", .not_yet = true},
};

static const struct field_name affinity_names[] = {
	{.name = "five-tuple", .value = SL_AFFINITY_FIVE_TUPLE},
	{.name = "source", .value = SL_AFFINITY_SOURCE},
	{.name = "quic-cid", .not_yet = true},
};

/* ---- addresses and ports ---- */

static int address_parse(const struct field_context *context, const struct conf_node *node,
			 const char *key, struct ip_addr *ret_addr)
{
	char value[VALUE_MAX];

	if (node->refused)
		return -EINVAL;
	if (node->type != CONF_SCALAR || conf_is_null(node) ||
	    ip_addr_parse(node->value, ret_addr)) {
		conf_error(context->errors, node, "%s: %s: expected an IP address, got %s",
			   context->what, key, conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	ip_addr_unmap(ret_addr);
	return 0;
}

/* Members of a list, or the one scalar. */
static unsigned int member_count(const struct conf_node *node)
{
	return node->type == CONF_SEQUENCE ? node->count : 1;
}

static int check_count(const struct field_context *context, const struct conf_node *node,
		       const char *key, unsigned int most)
{
	if (!node->refused && node->type != CONF_MAPPING && member_count(node) >= 1 &&
	    member_count(node) <= most)
		return 0;
	if (!node->refused)
		conf_error(context->errors, node, "%s: %s: needs a list of 1 to %u", context->what,
			   key, most);
	return -EINVAL;
}

static int address_add(const struct field_context *context, const struct conf_node *node,
		       struct service_conf *conf)
{
	struct ip_addr addr;
	char value[VALUE_MAX];

	if (address_parse(context, node, "address", &addr))
		return -EINVAL;
	for (unsigned int i = 0; i < conf->address_count; i++) {
		if (!ip_addr_equal(&conf->addresses[i], &addr))
			continue;
		conf_error(context->errors, node, "%s: address: %s is given twice", context->what,
			   conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	conf->addresses[conf->address_count++] = addr;
	return 0;
}

static int addresses_read(const struct field_context *context, const struct conf_node *node,
			  void *target)
{
	struct service_conf *conf = ((struct service_file *)target)->conf;
	int result = 0;

	if (check_count(context, node, "address", SERVICE_ADDRESSES_MAX))
		return -EINVAL;
	conf->addresses = arena_new_array(context->arena, struct ip_addr, member_count(node));
	if (!conf->addresses)
		return field_no_memory(context, node);
	if (node->type == CONF_SCALAR)
		return address_add(context, node, conf);
	conf_for_each (item, node)
		result |= address_add(context, item, conf);
	return result;
}

static void addresses_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct service_conf *conf = ((const struct service_file *)target)->conf;
	char text[ADDR_TEXT_MAX];

	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < conf->address_count; i++)
		conf_write_str(
			writer, NULL,
			str_from_cstr(ip_addr_format(&conf->addresses[i], text, sizeof(text))));
	conf_write_close(writer);
}

static int ports_add(const struct field_context *context, const struct conf_node *node,
		     struct service_conf *conf)
{
	struct service_ports ports;
	char value[VALUE_MAX];

	if (node->refused)
		return -EINVAL;
	if (node->type != CONF_SCALAR || conf_is_null(node) ||
	    service_ports_parse(node->value, &ports)) {
		conf_error(context->errors, node,
			   "%s: ports: expected a port, a range such as 1000-2000, or any, got %s",
			   context->what, conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	for (unsigned int i = 0; i < conf->port_count; i++) {
		const struct service_ports *other = &conf->ports[i];

		if (ports.first > other->last || ports.last < other->first)
			continue;
		conf_error(context->errors, node, "%s: ports: %s overlaps another one",
			   context->what, conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	conf->ports[conf->port_count++] = ports;
	return 0;
}

static int ports_read(const struct field_context *context, const struct conf_node *node,
		      void *target)
{
	struct service_conf *conf = ((struct service_file *)target)->conf;
	int result = 0;

	if (check_count(context, node, "ports", SERVICE_PORTS_MAX))
		return -EINVAL;
	conf->ports = arena_new_array(context->arena, struct service_ports, member_count(node));
	if (!conf->ports)
		return field_no_memory(context, node);
	if (node->type == CONF_SCALAR)
		return ports_add(context, node, conf);
	conf_for_each (item, node)
		result |= ports_add(context, item, conf);
	return result;
}

static void ports_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct service_conf *conf = ((const struct service_file *)target)->conf;

	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < conf->port_count; i++) {
		char text[16];

		conf_write_plain(writer, NULL,
				 service_ports_format(&conf->ports[i], text, sizeof(text)));
	}
	conf_write_close(writer);
}

/* ---- backends ---- */

struct backend_file {
	uint64_t weight;
	uint64_t port; /* nat: 0 keeps the one that the client called */
	struct service_backend *backend;
};

static int backend_address_read(const struct field_context *context, const struct conf_node *node,
				void *target)
{
	struct service_backend *backend = ((struct backend_file *)target)->backend;

	return address_parse(context, node, "address", &backend->addr);
}

static void backend_address_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct service_backend *backend = ((const struct backend_file *)target)->backend;
	char text[ADDR_TEXT_MAX];

	conf_write_str(writer, key,
		       str_from_cstr(ip_addr_format(&backend->addr, text, sizeof(text))));
}

static const struct field backend_fields[] = {
	{.key = "address",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = backend_address_read,
	 .print = backend_address_print},
	{.key = "weight",
	 .kind = FIELD_U64,
	 .offset = offsetof(struct backend_file, weight),
	 .max = SERVICE_WEIGHT_MAX,
	 .default_text = "100"},
	{.key = "port",
	 .kind = FIELD_U64,
	 .offset = offsetof(struct backend_file, port),
	 .max = 65535,
	 .default_text = "0"},
};

static int backend_read(const struct field_context *context, const struct conf_node *node,
			struct service_conf *conf)
{
	struct service_backend *backend = &conf->backends[conf->backend_count];
	struct backend_file file = {.weight = 100, .backend = backend};
	struct field_context inner = *context;
	char what[WHAT_MAX], value[ADDR_TEXT_MAX];
	int r;

	(void)snprintf(what, sizeof(what), "%s: backends", context->what);
	inner.what = what;
	if (node->type == CONF_SCALAR)
		r = backend_address_read(&inner, node, &file);
	else
		r = field_read(&inner, backend_fields, ARRAY_SIZE(backend_fields), node, what,
			       &file);
	if (r)
		return -EINVAL;
	backend->weight = (uint32_t)file.weight;
	backend->port = (uint16_t)file.port;
	backend->line = node->line;
	backend->column = node->column;
	if (service_conf_backend(conf, &backend->addr, backend->port)) {
		conf_error(context->errors, node,
			   "%s: '%s' is given twice; use 'weight' to send it more", what,
			   service_backend_format(&backend->addr, backend->port, value,
						  sizeof(value)));
		return -EINVAL;
	}
	conf->backend_count++;
	return 0;
}

static int backends_read(const struct field_context *context, const struct conf_node *node,
			 void *target)
{
	struct service_conf *conf = ((struct service_file *)target)->conf;
	char what[WHAT_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: backends", context->what);
	if (list_check(context, node, what))
		return -EINVAL;
	if (node->count > SERVICE_BACKENDS_MAX) {
		conf_error(context->errors, node, "%s: at most %d, has %u", what,
			   SERVICE_BACKENDS_MAX, node->count);
		return -EINVAL;
	}
	conf->backends = arena_new_array(context->arena, struct service_backend, node->count);
	if (!conf->backends)
		return field_no_memory(context, node);
	conf_for_each (item, node)
		if (item->refused || backend_read(context, item, conf))
			result = -EINVAL;
	return result;
}

static void backends_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct service_conf *conf = ((const struct service_file *)target)->conf;

	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < conf->backend_count; i++) {
		const struct backend_file file = {.weight = conf->backends[i].weight,
						  .port = conf->backends[i].port,
						  .backend = &conf->backends[i]};

		conf_write_open_item(writer);
		field_write(writer, backend_fields, ARRAY_SIZE(backend_fields), &file);
		conf_write_close(writer);
	}
	conf_write_close(writer);
}

/* ---- the rest ---- */

static int slots_read(const struct field_context *context, const struct conf_node *node,
		      void *target)
{
	struct service_file *file = target;
	static const struct field slots = {
		.key = "slots",
		.kind = FIELD_U64,
		.offset = offsetof(struct service_file, slots),
		.min = 101,
		.max = SERVICE_SLOTS_MAX,
	};

	if (node->type == CONF_SCALAR && str_eq_cstr(node->value, "auto")) {
		file->slots = 0;
		return 0;
	}
	return field_read_value(context, &slots, node, context->what, target);
}

static void slots_print(struct conf_writer *writer, const char *key, const void *target)
{
	uint64_t slots = ((const struct service_file *)target)->slots;

	if (slots)
		conf_write_u64(writer, key, slots);
	else
		conf_write_plain(writer, key, "auto");
}

/* ---- health ---- */

struct health_file {
	int probe;
	uint64_t port; /* 0: none is said */
	struct service_health health;
};

static int health_port_read(const struct field_context *context, const struct conf_node *node,
			    void *target)
{
	static const struct field port = {
		.key = "port",
		.kind = FIELD_U64,
		.offset = offsetof(struct health_file, port),
		.min = 1,
		.max = UINT16_MAX,
	};

	return field_read_value(context, &port, node, context->what, target);
}

static void health_port_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct health_file *file = target;

	if (file->port)
		conf_write_u64(writer, key, file->port);
}

static const struct field_name probe_names[] = {
	{.name = "tcp", .value = 0},
};

static const struct field health_fields[] = {
	{.key = "probe",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct health_file, probe),
	 .required = true,
	 .names = probe_names,
	 .name_count = ARRAY_SIZE(probe_names)},
	{.key = "port", .kind = FIELD_CUSTOM, .read = health_port_read, .print = health_port_print},
	{.key = "interval",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct health_file, health.interval_ms),
	 .min = 100,
	 .max = 3600000,
	 .default_text = "2s"},
	{.key = "timeout",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct health_file, health.timeout_ms),
	 .min = 10,
	 .max = 60000,
	 .default_text = "1s"},
	{.key = "rise",
	 .kind = FIELD_U64,
	 .offset = offsetof(struct health_file, health.rise),
	 .min = 1,
	 .max = 100,
	 .default_text = "2"},
	{.key = "fall",
	 .kind = FIELD_U64,
	 .offset = offsetof(struct health_file, health.fall),
	 .min = 1,
	 .max = 100,
	 .default_text = "3"},
};

static int health_read(const struct field_context *context, const struct conf_node *node,
		       void *target)
{
	struct service_conf *conf = ((struct service_file *)target)->conf;
	struct health_file file = {.port = 0};
	struct field_context inner = *context;
	char what[WHAT_MAX], interval[32], timeout[32];

	(void)snprintf(what, sizeof(what), "%s: health", context->what);
	inner.what = what;
	if (field_read(&inner, health_fields, ARRAY_SIZE(health_fields), node, what, &file))
		return -EINVAL;
	if (file.health.timeout_ms > file.health.interval_ms) {
		const struct conf_node *place = conf_get(node, "timeout");

		conf_error(
			context->errors, place ? place : node,
			"%s: timeout %s is longer than interval %s", what,
			units_format_duration(file.health.timeout_ms, timeout, sizeof(timeout)),
			units_format_duration(file.health.interval_ms, interval, sizeof(interval)));
		return -EINVAL;
	}
	conf->health = file.health;
	conf->health.enabled = true;
	conf->health.port = (uint16_t)file.port;
	return 0;
}

static void health_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct service_conf *conf = ((const struct service_file *)target)->conf;
	const struct health_file file = {.port = conf->health.port, .health = conf->health};

	if (!conf->health.enabled)
		return;
	conf_write_open_mapping(writer, key);
	field_write(writer, health_fields, ARRAY_SIZE(health_fields), &file);
	conf_write_close(writer);
}

static const struct field service_fields[] = {
	{.key = "name",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct service_file, name),
	 .required = true,
	 .min = 1,
	 .max = NAME_BYTES_MAX},
	{.key = "address",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = addresses_read,
	 .print = addresses_print},
	{.key = "ports",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = ports_read,
	 .print = ports_print},
	{.key = "protocol",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct service_file, protocol),
	 .required = true,
	 .names = protocol_names,
	 .name_count = ARRAY_SIZE(protocol_names)},
	{.key = "forward",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct service_file, forward),
	 .required = true,
	 .names = forward_names,
	 .name_count = ARRAY_SIZE(forward_names)},
	{.key = "affinity",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct service_file, affinity),
	 .names = affinity_names,
	 .name_count = ARRAY_SIZE(affinity_names),
	 .default_text = "five-tuple"},
	{.key = "slots",
	 .kind = FIELD_CUSTOM,
	 .default_text = "auto",
	 .read = slots_read,
	 .print = slots_print},
	{.key = "backends",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = backends_read,
	 .print = backends_print},
	{.key = "health", .kind = FIELD_CUSTOM, .read = health_read, .print = health_print},
};

static const struct field drain_field = {
	.key = "drain",
	.kind = FIELD_DURATION_MS,
	.offset = offsetof(struct service_conf, drain_ms),
	.max = SERVICE_DRAIN_MAX_MS,
	.default_text = "30s",
};

static int drain_read(const struct field_context *context, const struct conf_node *node,
		      void *target)
{
	return field_read_value(context, &drain_field, node, context->what,
				((struct service_file *)target)->conf);
}

static void drain_print(struct conf_writer *writer, const char *key, const void *target)
{
	field_write(writer, &drain_field, 1, ((const struct service_file *)target)->conf);
}

#define FIELD_COUNT (ARRAY_SIZE(service_fields) + 1)

/* The table and `drain`, which lives in the other struct. */
static void all_fields(struct field *fields)
{
	memcpy(fields, service_fields, sizeof(service_fields));
	fields[ARRAY_SIZE(service_fields)] = (struct field){.key = "drain",
							    .kind = FIELD_CUSTOM,
							    .default_text = "30s",
							    .read = drain_read,
							    .print = drain_print};
}

static int check_slots(const struct field_context *context, const struct conf_node *node,
		       struct service_file *file)
{
	unsigned int needed = file->conf->backend_count * SERVICE_SLOTS_EACH;

	if (!file->slots)
		return 0;
	file->slots = service_slots_prime((uint32_t)file->slots);
	file->conf->slot_count = (uint32_t)file->slots;
	if (file->slots >= needed)
		return 0;
	conf_error(context->errors, conf_get(node, "slots"),
		   "%s: slots: %u backends need at least %u (%d for each)", context->what,
		   file->conf->backend_count, needed, SERVICE_SLOTS_EACH);
	return -EINVAL;
}

static int check_health(const struct field_context *context, const struct conf_node *node,
			const struct service_conf *conf)
{
	if (!conf->health.enabled || service_probe_port(conf, 0))
		return 0;
	conf_error(context->errors, conf_get(node, "health"),
		   "%s: health: 'port' is required: the service has no single port", context->what);
	return -EINVAL;
}

static int check_families(const struct field_context *context, const struct service_conf *conf)
{
	const struct service_backend *backend = NULL;
	struct error err = {0};

	if (!service_check_families(conf, &backend, &err))
		return 0;
	conf_error_at(context->errors, backend->line, backend->column, "%s: %s", context->what,
		      err.text);
	return -EINVAL;
}

static int service_read(const struct field_context *context, const struct conf_node *node,
			const char *what, unsigned int index, void *item)
{
	struct service_conf *conf = item;
	struct service_file file = {.conf = conf};
	struct field_context inner = *context;
	struct field fields[FIELD_COUNT];
	int r;

	inner.what = what;
	all_fields(fields);
	conf->line = node->line;
	conf->column = node->column;
	r = field_read(&inner, fields, FIELD_COUNT, node, what, &file);
	conf->name = file.name;
	conf->protocol = (uint8_t)file.protocol;
	conf->forward = (enum sl_forward)file.forward;
	conf->affinity = (enum sl_affinity)file.affinity;
	if (r)
		return -EINVAL;
	r = check_slots(&inner, node, &file);
	r |= check_health(&inner, node, conf);
	return check_families(&inner, conf) || r ? -EINVAL : 0;
}

int services_read(const struct field_context *context, const struct conf_node *node,
		  struct arena *scratch, struct name_table *ret_names,
		  struct service_conf **ret_services, unsigned int *ret_count)
{
	static const struct named_list list = {
		.kind = "service",
		.item_bytes = sizeof(struct service_conf),
		.read = service_read,
	};

	return named_list_read(context, &list, node, scratch, ret_names, (void **)ret_services,
			       ret_count);
}

/* ---- places ---- */

static void check_services(const struct field_context *context, const struct service_conf *first,
			   const struct service_conf *second)
{
	const struct ip_addr *addr = service_shared_place(first, second);
	char text[ADDR_TEXT_MAX];

	if (addr)
		conf_error_at(context->errors, second->line, second->column,
			      "service '%.*s': has ports of %s that service '%.*s' at line %u, "
			      "column %u has, too",
			      STR_FMT(second->name), ip_addr_format(addr, text, sizeof(text)),
			      STR_FMT(first->name), first->line, first->column);
}

static void check_listener(const struct field_context *context, const struct service_conf *service,
			   const struct listener_conf *listener)
{
	char text[ADDR_TEXT_MAX];

	for (unsigned int i = 0; i < listener->tuple_count; i++) {
		if (!service_meets_tuple(service, &listener->tuples[i], text, sizeof(text)))
			continue;
		conf_error_at(context->errors, service->line, service->column,
			      "service '%.*s': %s belongs to listener '%.*s' at line %u, column %u",
			      STR_FMT(service->name), text, STR_FMT(listener->name), listener->line,
			      listener->column);
		return;
	}
}

void services_check_places(const struct field_context *context, const struct service_conf *services,
			   unsigned int count, const struct listener_conf *listeners,
			   unsigned int listener_count)
{
	for (unsigned int i = 0; i < count; i++) {
		for (unsigned int j = 0; j < i; j++)
			check_services(context, &services[j], &services[i]);
		for (unsigned int j = 0; j < listener_count; j++)
			check_listener(context, &services[i], &listeners[j]);
	}
}

void services_write(struct conf_writer *writer, const struct service_conf *services,
		    unsigned int count)
{
	struct field fields[FIELD_COUNT];

	all_fields(fields);
	for (unsigned int i = 0; i < count; i++) {
		struct service_conf conf = services[i];
		const struct service_file file = {
			.name = conf.name,
			.protocol = conf.protocol,
			.forward = (int)conf.forward,
			.affinity = (int)conf.affinity,
			.slots = conf.slot_count,
			.conf = &conf,
		};

		conf_write_open_item(writer);
		field_write(writer, fields, FIELD_COUNT, &file);
		conf_write_close(writer);
	}
}
