#include "upstream/upstream_config.h"

#include <errno.h>

#include "tls/tls_client_config.h"
#include "upstream/balance.h"
#include "upstream/upstream_policy_config.h"

#define WHAT_MAX 160
/* Printed of every upstream, so that it may be read again of every one. */
#define STREAMS_DEFAULT 100
#define VALUE_MAX	96

static const struct field_name balance_names[] = {
	{.name = "round-robin", .value = UPSTREAM_ROUND_ROBIN},
	{.name = "least-requests", .value = UPSTREAM_LEAST_REQUESTS},
	{.name = "ewma", .not_yet = true},
	{.name = "random-two", .value = UPSTREAM_RANDOM_TWO},
	{.name = "maglev", .value = UPSTREAM_MAGLEV},
};

static const struct field_name protocol_names[] = {
	{.name = "http", .value = UPSTREAM_HTTP}, {.name = "http2", .value = UPSTREAM_HTTP2},
	{.name = "fastcgi", .not_yet = true},	  {.name = "grpc", .not_yet = true},
	{.name = "tcp", .not_yet = true},
};

static const struct field_name proxy_protocol_names[] = {
	{.name = "off", .value = 0},
	{.name = "v1", .value = 1},
	{.name = "v2", .value = 2},
};

static const struct field_name proxy_tlv_names[] = {
	{.name = "authority", .value = UPSTREAM_PROXY_AUTHORITY},
	{.name = "alpn", .value = UPSTREAM_PROXY_ALPN},
};

static const struct field timeout_fields[] = {
	{.key = "connect",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct upstream_conf, connect_timeout_ms),
	 .min = 1,
	 .max = 86400000,
	 .default_text = "1s"},
	{.key = "response",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct upstream_conf, response_timeout_ms),
	 .min = 1,
	 .max = 86400000,
	 .default_text = "30s"},
	{.key = "idle",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct upstream_conf, idle_timeout_ms),
	 .min = 1,
	 .max = 86400000,
	 .default_text = "60s"},
	{.key = "pending",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct upstream_conf, pending_timeout_ms),
	 .min = 1,
	 .max = 86400000,
	 .default_text = "1s"},
};

struct endpoint_file {
	uint64_t weight;
	struct endpoint_conf *conf;
};

static int endpoint_read_address(const struct field_context *context, const struct conf_node *node,
				 void *target);
static void endpoint_print_address(struct conf_writer *writer, const char *key, const void *target);

static const struct field endpoint_fields[] = {
	{.key = "address",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = endpoint_read_address,
	 .print = endpoint_print_address},
	{.key = "weight",
	 .kind = FIELD_U64,
	 .offset = offsetof(struct endpoint_file, weight),
	 .min = 1,
	 .max = 65535,
	 .default_text = "1"},
};

/* "shop.internal:8080": letters where an address has none, so that the answer can say more. */
static bool looks_like_a_name(struct str text)
{
	ptrdiff_t colon = str_find_byte(text, ':');
	struct str host = colon < 0 ? text : str_sub(text, 0, (size_t)colon);
	bool letter = false;

	for (size_t i = 0; i < host.len; i++) {
		char byte = ascii_lower(host.ptr[i]);

		if (byte >= 'a' && byte <= 'z')
			letter = true;
		else if ((byte < '0' || byte > '9') && byte != '.' && byte != '-' && byte != '_')
			return false;
	}
	return letter &&
	       (colon < 0 || str_find_byte(str_sub(text, (size_t)colon + 1, text.len), ':') < 0);
}

static int endpoint_read_address(const struct field_context *context, const struct conf_node *node,
				 void *target)
{
	struct endpoint_file *file = target;
	struct error err = {0};
	char value[VALUE_MAX];
	int r;

	(void)conf_describe(node, value, sizeof(value));
	if (node->type != CONF_SCALAR || conf_is_null(node)) {
		conf_error(context->errors, node,
			   "%s: expected an address such as 10.0.0.1:8080, got %s", context->what,
			   value);
		return -EINVAL;
	}
	r = sock_addr_parse(node->value, &file->conf->addr, &err);
	if (r && looks_like_a_name(node->value) && !str_starts_with(node->value, STR("unix:"))) {
		conf_error(context->errors, node,
			   "%s: endpoint %s: use an IP address; names are not supported yet",
			   context->what, value);
		return r;
	}
	if (!r && file->conf->addr.any.sa_family != AF_UNIX && !sock_addr_port(&file->conf->addr))
		r = error_set(&err, -EINVAL, "%s: the port must be 1 to 65535", value);
	if (r) {
		conf_error(context->errors, node, "%s: endpoint: %s", context->what, err.text);
		return r;
	}
	file->conf->address = arena_copy(context->arena, node->value);
	if (!file->conf->address.ptr)
		return field_no_memory(context, node);
	return 0;
}

static void endpoint_print_address(struct conf_writer *writer, const char *key, const void *target)
{
	conf_write_str(writer, key, ((const struct endpoint_file *)target)->conf->address);
}

static int endpoint_read(const struct field_context *context, const struct conf_node *node,
			 struct endpoint_conf *conf)
{
	struct endpoint_file file = {.weight = 1, .conf = conf};
	struct field_context inner = *context;
	char what[WHAT_MAX];
	int r;

	(void)snprintf(what, sizeof(what), "%s: endpoints", context->what);
	inner.what = what;
	/* The short form is the address alone. */
	if (node->type == CONF_SCALAR)
		r = node->refused ? -EINVAL : endpoint_read_address(context, node, &file);
	else
		r = field_read(&inner, endpoint_fields, ARRAY_SIZE(endpoint_fields), node, what,
			       &file);
	conf->weight = (uint32_t)file.weight;
	return r;
}

static bool same_address(const struct endpoint_conf *left, const struct endpoint_conf *right)
{
	return left->addr.len == right->addr.len &&
	       !memcmp(&left->addr.any, &right->addr.any, left->addr.len);
}

/* The same place twice would share its counters and health: say its weight instead. */
static int refuse_second(const struct field_context *context, const struct conf_node *node,
			 const struct upstream_conf *upstream)
{
	const struct endpoint_conf *last = &upstream->endpoints[upstream->endpoint_count - 1];
	char value[VALUE_MAX];

	for (unsigned int i = 0; i + 1 < upstream->endpoint_count; i++) {
		if (!same_address(&upstream->endpoints[i], last))
			continue;
		conf_error(context->errors, node,
			   "%s: endpoint %s is given twice; use 'weight' to send it more",
			   context->what, str_quote(last->address, value, sizeof(value)));
		return -EINVAL;
	}
	return 0;
}

static int endpoints_read(const struct field_context *context, const struct conf_node *node,
			  void *target)
{
	struct upstream_conf *conf = target;
	char what[WHAT_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: endpoints", context->what);
	if (list_check(context, node, what))
		return -EINVAL;
	if (!node->count || node->count > UPSTREAM_ENDPOINTS_MAX) {
		conf_error(context->errors, node, "%s: needs 1 to %d endpoints, has %u", what,
			   UPSTREAM_ENDPOINTS_MAX, node->count);
		return -EINVAL;
	}
	conf->endpoints = arena_new_array(context->arena, struct endpoint_conf, node->count);
	if (!conf->endpoints)
		return field_no_memory(context, node);
	conf_for_each (item, node) {
		struct endpoint_conf *endpoint = &conf->endpoints[conf->endpoint_count];

		if (endpoint_read(context, item, endpoint)) {
			*endpoint = (struct endpoint_conf){.weight = 0};
			result = -EINVAL;
			continue;
		}
		conf->endpoint_count++;
		if (refuse_second(context, item, conf))
			result = -EINVAL;
	}
	return result;
}

static void endpoints_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct upstream_conf *conf = target;

	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < conf->endpoint_count; i++) {
		const struct endpoint_file file = {
			.weight = conf->endpoints[i].weight,
			.conf = &conf->endpoints[i],
		};

		conf_write_open_item(writer);
		field_write(writer, endpoint_fields, ARRAY_SIZE(endpoint_fields), &file);
		conf_write_close(writer);
	}
	conf_write_close(writer);
}

static int proxy_tlv_read_one(const struct field_context *context, const struct conf_node *node,
			      const char *what, struct upstream_conf *conf)
{
	const char *names[ARRAY_SIZE(proxy_tlv_names)];
	char value[VALUE_MAX], hint[VALUE_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(proxy_tlv_names); i++) {
		names[i] = proxy_tlv_names[i].name;
		if (node->type != CONF_SCALAR || !str_eq_cstr(node->value, names[i]))
			continue;
		conf->proxy_tlvs |= (uint32_t)proxy_tlv_names[i].value;
		return 0;
	}
	if (node->refused)
		return -EINVAL;
	conf_error(context->errors, node, "%s: expected authority or alpn, got %s%s", what,
		   conf_describe(node, value, sizeof(value)),
		   node->type == CONF_SCALAR
			   ? field_hint(node->value, names, ARRAY_SIZE(names), hint, sizeof(hint))
			   : "");
	return -EINVAL;
}

static int proxy_tlvs_read(const struct field_context *context, const struct conf_node *node,
			   void *target)
{
	char what[WHAT_MAX];
	int result = 0;

	(void)snprintf(what, sizeof(what), "%s: proxy_protocol_tlvs", context->what);
	if (list_check(context, node, what))
		return -EINVAL;
	conf_for_each (item, node)
		if (proxy_tlv_read_one(context, item, what, target))
			result = -EINVAL;
	return result;
}

static void proxy_tlvs_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct upstream_conf *conf = target;

	if (!conf->proxy_tlvs)
		return;
	conf_write_open_list(writer, key);
	for (size_t i = 0; i < ARRAY_SIZE(proxy_tlv_names); i++)
		if (conf->proxy_tlvs & (uint32_t)proxy_tlv_names[i].value)
			conf_write_plain(writer, NULL, proxy_tlv_names[i].name);
	conf_write_close(writer);
}

static int tls_read(const struct field_context *context, const struct conf_node *node, void *target)
{
	struct upstream_conf *conf = target;
	char what[WHAT_MAX];

	(void)snprintf(what, sizeof(what), "%s: tls", context->what);
	return tls_client_config_read(context, node, what, conf->protocol == UPSTREAM_HTTP2,
				      &conf->tls);
}

static void tls_print(struct conf_writer *writer, const char *key, const void *target)
{
	tls_client_config_write(writer, key, ((const struct upstream_conf *)target)->tls);
}

static const struct field upstream_fields[] = {
	{.key = "name",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct upstream_conf, name),
	 .required = true},
	{.key = "endpoints",
	 .kind = FIELD_CUSTOM,
	 .read = endpoints_read,
	 .print = endpoints_print},
	{.key = "balance",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct upstream_conf, balance),
	 .names = balance_names,
	 .name_count = ARRAY_SIZE(balance_names),
	 .default_text = "round-robin"},
	{.key = "protocol",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct upstream_conf, protocol),
	 .names = protocol_names,
	 .name_count = ARRAY_SIZE(protocol_names),
	 .default_text = "http"},
	{.key = "proxy_protocol",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct upstream_conf, proxy_protocol),
	 .names = proxy_protocol_names,
	 .name_count = ARRAY_SIZE(proxy_protocol_names),
	 .default_text = "off"},
	{.key = "proxy_protocol_tlvs",
	 .kind = FIELD_CUSTOM,
	 .read = proxy_tlvs_read,
	 .print = proxy_tlvs_print},
	{.key = "tls", .kind = FIELD_CUSTOM, .read = tls_read, .print = tls_print},
	{.key = "hash_on",
	 .kind = FIELD_CUSTOM,
	 .read = upstream_hash_on_read,
	 .print = upstream_hash_on_print},
	{.key = "timeouts",
	 .kind = FIELD_SECTION,
	 .fields = timeout_fields,
	 .field_count = ARRAY_SIZE(timeout_fields)},
	{.key = "limits",
	 .kind = FIELD_SECTION,
	 .fields = upstream_limit_fields,
	 .field_count = ARRAY_SIZE(upstream_limit_fields)},
	{.key = "retry",
	 .kind = FIELD_SECTION,
	 .fields = upstream_retry_fields,
	 .field_count = ARRAY_SIZE(upstream_retry_fields)},
	{.key = "ejection",
	 .kind = FIELD_SECTION,
	 .fields = upstream_ejection_fields,
	 .field_count = ARRAY_SIZE(upstream_ejection_fields)},
	{.key = "slow_start",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct upstream_conf, slow_start_ms),
	 .max = 86400000,
	 .default_text = "0s"},
	{.key = "dns", .kind = FIELD_NOT_YET},
	{.key = "kubernetes", .kind = FIELD_NOT_YET},
	{.key = "health_check", .kind = FIELD_NOT_YET},
	{.key = "fastcgi", .kind = FIELD_NOT_YET},
};

/* Keys that have no meaning together are not left to be wondered about. */
static int check_together(const struct field_context *context, const struct conf_node *node,
			  const char *what, const struct upstream_conf *conf)
{
	const struct conf_node *hash_on = conf_get(node, "hash_on");
	const struct conf_node *slow_start = conf_get(node, "slow_start");
	const struct conf_node *limits = conf_get(node, "limits");

	if (conf->proxy_tlvs && conf->proxy_protocol != 2) {
		conf_error_key(context->errors, conf_get(node, "proxy_protocol_tlvs"),
			       "%s: 'proxy_protocol_tlvs' needs 'proxy_protocol: v2', which has "
			       "room for them",
			       what);
		return -EINVAL;
	}
	if (conf->balance == UPSTREAM_MAGLEV && !hash_on) {
		conf_error(context->errors, conf_get(node, "balance"),
			   "%s: balance: maglev needs 'hash_on', which says what keeps a client "
			   "with its endpoint",
			   what);
		return -EINVAL;
	}
	if (conf->balance != UPSTREAM_MAGLEV && hash_on) {
		conf_error_key(context->errors, hash_on,
			       "%s: 'hash_on' has a meaning with 'balance: maglev' only", what);
		return -EINVAL;
	}
	if (conf->protocol == UPSTREAM_HTTP2 && conf->proxy_protocol) {
		conf_error_key(context->errors, conf_get(node, "proxy_protocol"),
			       "%s: 'proxy_protocol' tells of one client, and a connection of "
			       "'protocol: http2' serves many",
			       what);
		return -EINVAL;
	}
	if (conf->protocol != UPSTREAM_HTTP2 && conf->limits.streams != STREAMS_DEFAULT) {
		conf_error_key(context->errors, conf_get(limits, "streams"),
			       "%s: limits: 'streams' has a meaning with 'protocol: http2' only",
			       what);
		return -EINVAL;
	}
	if (conf->balance == UPSTREAM_MAGLEV && conf->slow_start_ms) {
		conf_error_key(context->errors, slow_start,
			       "%s: 'slow_start' has no meaning with 'balance: maglev': keys have "
			       "their endpoint at once",
			       what);
		return -EINVAL;
	}
	return 0;
}

static int upstream_read(const struct field_context *context, const struct conf_node *node,
			 const char *what, unsigned int index, void *item)
{
	const struct conf_node *protocol =
		node->type == CONF_MAPPING ? conf_get(node, "protocol") : NULL;
	struct upstream_conf *conf = item;
	int r;

	conf->line = node->line;
	conf->column = node->column;
	/* `tls` may stand before it, and offers what it says. */
	if (protocol && protocol->type == CONF_SCALAR && str_eq_cstr(protocol->value, "http2"))
		conf->protocol = UPSTREAM_HTTP2;
	r = field_read(context, upstream_fields, ARRAY_SIZE(upstream_fields), node, what, conf);
	/* Where endpoints come from elsewhere, that was refused already. */
	if (node->type == CONF_MAPPING && !conf_get(node, "endpoints") && !conf_get(node, "dns") &&
	    !conf_get(node, "kubernetes")) {
		conf_error(context->errors, node, "%s: 'endpoints' is required", what);
		r = -EINVAL;
	}
	if (!r)
		r = check_together(context, node, what, conf);
	if (r)
		return r;
	return balance_build(conf, context->arena) ? field_no_memory(context, node) : 0;
}

int upstreams_read(const struct field_context *context, const struct conf_node *node,
		   struct arena *scratch, struct name_table *ret_names,
		   struct upstream_conf **ret_upstreams, unsigned int *ret_count)
{
	static const struct named_list list = {
		.kind = "upstream",
		.item_bytes = sizeof(struct upstream_conf),
		.read = upstream_read,
	};
	void *items = NULL;
	int r = named_list_read(context, &list, node, scratch, ret_names, &items, ret_count);

	*ret_upstreams = items;
	return r;
}

void upstreams_write(struct conf_writer *writer, const struct upstream_conf *upstreams,
		     unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		conf_write_open_item(writer);
		field_write(writer, upstream_fields, ARRAY_SIZE(upstream_fields), &upstreams[i]);
		conf_write_close(writer);
	}
}
