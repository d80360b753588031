#include "http/listener_config.h"

#include <errno.h>
#include <stdlib.h>

#include "http/error_pages_config.h"
#include "http/source_table.h"
#include "tls/tls_config.h"

#define WHAT_MAX      160
#define VALUE_MAX     96
#define ADDRESSES_MAX 4096
#define DAY_MS	      86400000
#define WEEK_MS	      ((uint64_t)7 * DAY_MS)
/* An exchange's memory holds a head of this size read and written anew. */
#define HEADER_BYTES_MAX 131072
#define BODY_RATE_MAX	 ((uint64_t)1 << 30)

enum listener_protocol { LISTENER_HTTP };

struct limits {
	uint64_t header_bytes, header_count, field_bytes, uri_bytes, body_bytes;
	uint64_t connections_per_source;
};

struct timeouts {
	uint64_t header_ms, idle_ms, request_ms;
	uint64_t min_body_rate; /* bytes a second; 0: off */
	uint64_t handshake_ms;
};

struct http2_keys {
	bool prior_knowledge;
	uint64_t max_concurrent_streams;
};

struct listener_file {
	struct str name;
	int protocol;
	int proxy_protocol;
	struct limits limits;
	struct timeouts timeouts;
	struct http2_keys http2;
	struct listener_conf *conf;
};

static const struct field_name protocol_names[] = {
	{.name = "http", .value = LISTENER_HTTP},
	{.name = "tcp", .not_yet = true},
	{.name = "tls-passthrough", .not_yet = true},
};

static const struct field_name proxy_protocol_names[] = {
	{.name = "off", .value = LISTENER_PROXY_OFF},
	{.name = "accept", .value = LISTENER_PROXY_ACCEPT},
	{.name = "require", .value = LISTENER_PROXY_REQUIRE},
};

static const struct field limit_fields[] = {
	{.key = "header_bytes",
	 .kind = FIELD_SIZE_BYTES,
	 .offset = offsetof(struct limits, header_bytes),
	 .min = 1024,
	 .max = HEADER_BYTES_MAX,
	 .default_text = "32KiB"},
	{.key = "header_count",
	 .kind = FIELD_U64,
	 .offset = offsetof(struct limits, header_count),
	 .min = 1,
	 .max = 1000,
	 .default_text = "100"},
	{.key = "field_bytes",
	 .kind = FIELD_SIZE_BYTES,
	 .offset = offsetof(struct limits, field_bytes),
	 .min = 64,
	 .max = HEADER_BYTES_MAX,
	 .default_text = "16KiB"},
	{.key = "uri_bytes",
	 .kind = FIELD_SIZE_BYTES,
	 .offset = offsetof(struct limits, uri_bytes),
	 .min = 64,
	 .max = HEADER_BYTES_MAX,
	 .default_text = "8KiB"},
	{.key = "body_bytes",
	 .kind = FIELD_SIZE_BYTES,
	 .offset = offsetof(struct limits, body_bytes),
	 .default_text = "16MiB"},
	{.key = "connections_per_source",
	 .kind = FIELD_U64,
	 .offset = offsetof(struct limits, connections_per_source),
	 .min = 1,
	 .max = SOURCE_LIMIT_MAX,
	 .default_text = "1000"},
};

/* "1KiB/s", or "off". */
static int body_rate_read(const struct field_context *context, const struct conf_node *node,
			  void *target)
{
	struct timeouts *timeouts = target;
	char value[VALUE_MAX];
	uint64_t bytes = 0;
	int r = -EINVAL;

	if (node->type == CONF_SCALAR && str_eq_cstr(node->value, "off")) {
		timeouts->min_body_rate = 0;
		return 0;
	}
	if (node->type == CONF_SCALAR && str_ends_with(node->value, STR("/s")))
		r = units_parse_size_bytes(str_sub(node->value, 0, node->value.len - 2), &bytes);
	if (r == -EINVAL) {
		conf_error(context->errors, node,
			   "%s: min_body_rate: expected a rate such as 1KiB/s, or off, got %s",
			   context->what, conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	if (r || !bytes || bytes > BODY_RATE_MAX) {
		conf_error(context->errors, node,
			   "%s: min_body_rate: must be 1/s to 1GiB/s, got %s", context->what,
			   conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	timeouts->min_body_rate = bytes;
	return 0;
}

static void body_rate_print(struct conf_writer *writer, const char *key, const void *target)
{
	uint64_t rate = ((const struct timeouts *)target)->min_body_rate;
	char size[32], text[40] = "off";

	if (rate)
		(void)snprintf(text, sizeof(text), "%s/s",
			       units_format_size(rate, size, sizeof(size)));
	conf_write_plain(writer, key, text);
}

static const struct field timeout_fields[] = {
	{.key = "header",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct timeouts, header_ms),
	 .min = 1,
	 .max = DAY_MS,
	 .default_text = "10s"},
	{.key = "idle",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct timeouts, idle_ms),
	 .min = 1,
	 .max = WEEK_MS,
	 .default_text = "60s"},
	{.key = "request",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct timeouts, request_ms),
	 .max = WEEK_MS,
	 .default_text = "5m"},
	{.key = "handshake",
	 .kind = FIELD_DURATION_MS,
	 .offset = offsetof(struct timeouts, handshake_ms),
	 .min = 1,
	 .max = DAY_MS,
	 .default_text = "10s"},
	{.key = "min_body_rate",
	 .kind = FIELD_CUSTOM,
	 .default_text = "1KiB/s",
	 .read = body_rate_read,
	 .print = body_rate_print},
};

static const struct field http2_fields[] = {
	{.key = "prior_knowledge",
	 .kind = FIELD_BOOL,
	 .offset = offsetof(struct http2_keys, prior_knowledge),
	 .default_text = "true"},
	{.key = "max_concurrent_streams",
	 .kind = FIELD_U64,
	 .offset = offsetof(struct http2_keys, max_concurrent_streams),
	 .min = 1,
	 .max = 1024,
	 .default_text = "128"},
};

/* "80" or "1000-2000". */
static int parse_ports(struct str text, struct steer_tuple *tuple)
{
	ptrdiff_t dash = str_find_byte(text, '-');
	uint64_t first, last;

	if (str_to_u64(dash < 0 ? text : str_sub(text, 0, (size_t)dash), &first))
		return -EINVAL;
	last = first;
	if (dash >= 0 && str_to_u64(str_sub(text, (size_t)dash + 1, text.len), &last))
		return -EINVAL;
	if (first < 1 || last > UINT16_MAX || first > last)
		return -EINVAL;
	tuple->port_first = (uint16_t)first;
	tuple->port_last = (uint16_t)last;
	return 0;
}

/*
 * Parts around the ':' of the port. An IPv6 address is in brackets, its length inside or behind
 * them; `buf` is where the two come together.
 */
static int split_address(struct str text, char *buf, size_t buf_len, struct str *ret_prefix,
			 struct str *ret_ports)
{
	bool bracketed = text.len && text.ptr[0] == '[';
	ptrdiff_t close = bracketed ? str_find_byte(text, ']') : -1;
	struct str rest = bracketed ? str_sub(text, (size_t)close + 1, text.len) : text;
	ptrdiff_t colon = str_find_byte(rest, ':');
	int len;

	if ((bracketed && close < 0) || colon < 0)
		return -EINVAL;
	*ret_ports = str_sub(rest, (size_t)colon + 1, rest.len);
	*ret_prefix = str_sub(rest, 0, (size_t)colon);
	if (str_find_byte(*ret_ports, ':') >= 0)
		return -EINVAL;
	if (!bracketed)
		return 0;
	len = snprintf(buf, buf_len, "%.*s%.*s", (int)close - 1, text.ptr + 1,
		       STR_FMT(*ret_prefix));
	if (len < 0 || (size_t)len >= buf_len || !memchr(buf, ':', (size_t)len))
		return -EINVAL;
	if (ret_prefix->len && ret_prefix->ptr[0] != '/')
		return -EINVAL;
	*ret_prefix = str_make(buf, (size_t)len);
	return 0;
}

int listener_parse_tuples(struct str text, struct steer_tuple tuples[2], unsigned int *ret_count,
			  struct error *err)
{
	struct steer_tuple tuple = {.port_first = 0};
	struct str prefix, ports;
	char value[VALUE_MAX], buf[ADDR_TEXT_MAX];
	int r;

	(void)str_quote(text, value, sizeof(value));
	if (split_address(text, buf, sizeof(buf), &prefix, &ports))
		return error_set(
			err, -EINVAL,
			"%s: expected ADDRESS:PORT, [IPV6]:PORT, PREFIX/LEN:PORT or *:PORT", value);
	if (parse_ports(ports, &tuple))
		return error_set(err, -EINVAL,
				 "%s: the port must be 1 to 65535, or a range such as 1000-2000",
				 value);
	if (str_eq_cstr(prefix, "*")) {
		tuples[0] = tuples[1] = tuple;
		tuples[0].prefix.addr.family = AF_INET;
		tuples[1].prefix.addr.family = AF_INET6;
		*ret_count = 2;
		return 0;
	}
	r = ip_prefix_parse(prefix, &tuple.prefix, err);
	if (r)
		return r;
	tuples[0] = tuple;
	*ret_count = 1;
	return 0;
}

const char *listener_format_tuple(const struct steer_tuple *tuple, char *buf, size_t buf_len)
{
	bool is_v6 = tuple->prefix.addr.family == AF_INET6;
	bool is_host = tuple->prefix.bits == (is_v6 ? 128 : 32);
	char place[ADDR_TEXT_MAX], ports[16];

	if (is_host)
		(void)ip_addr_format(&tuple->prefix.addr, place, sizeof(place));
	else
		(void)ip_prefix_format(&tuple->prefix, place, sizeof(place));
	if (tuple->port_first == tuple->port_last)
		(void)snprintf(ports, sizeof(ports), "%u", tuple->port_first);
	else
		(void)snprintf(ports, sizeof(ports), "%u-%u", tuple->port_first, tuple->port_last);
	(void)snprintf(buf, buf_len, is_v6 ? "[%s]:%s" : "%s:%s", place, ports);
	return buf;
}

static int add_address(const struct field_context *context, const struct conf_node *node,
		       struct listener_conf *conf)
{
	struct steer_tuple tuples[2];
	struct error err = {0};
	char value[VALUE_MAX];
	unsigned int count;
	int r;

	if (node->refused)
		return -EINVAL;
	if (node->type != CONF_SCALAR || conf_is_null(node)) {
		conf_error(context->errors, node, "%s: address: expected ADDRESS:PORT, got %s",
			   context->what, conf_describe(node, value, sizeof(value)));
		return -EINVAL;
	}
	r = listener_parse_tuples(node->value, tuples, &count, &err);
	if (r) {
		conf_error(context->errors, node, "%s: address: %s", context->what, err.text);
		return r;
	}
	for (unsigned int i = 0; i < count; i++)
		conf->tuples[conf->tuple_count++] = tuples[i];
	return 0;
}

static int address_read(const struct field_context *context, const struct conf_node *node,
			void *target)
{
	struct listener_conf *conf = ((struct listener_file *)target)->conf;
	bool is_list = node->type == CONF_SEQUENCE;
	unsigned int count = is_list ? node->count : 1;
	int result = 0;

	if (!count || count > ADDRESSES_MAX) {
		conf_error(context->errors, node, "%s: address: needs 1 to %d addresses, has %u",
			   context->what, ADDRESSES_MAX, count);
		return -EINVAL;
	}
	/* "*:PORT" takes two. */
	conf->tuples = arena_new_array(context->arena, struct steer_tuple, 2 * count);
	if (!conf->tuples)
		return field_no_memory(context, node);
	if (!is_list)
		return add_address(context, node, conf);
	conf_for_each (item, node) {
		if (add_address(context, item, conf))
			result = -EINVAL;
	}
	return result;
}

static void address_print(struct conf_writer *writer, const char *key, const void *target)
{
	const struct listener_conf *conf = ((const struct listener_file *)target)->conf;
	char text[LISTENER_TUPLE_TEXT_MAX];

	conf_write_open_list(writer, key);
	for (unsigned int i = 0; i < conf->tuple_count; i++)
		conf_write_str(
			writer, NULL,
			str_from_cstr(listener_format_tuple(&conf->tuples[i], text, sizeof(text))));
	conf_write_close(writer);
}

static int errors_read(const struct field_context *context, const struct conf_node *node,
		       void *target)
{
	struct listener_conf *conf = ((struct listener_file *)target)->conf;

	return error_pages_read(context, node, context->what, &conf->error_pages);
}

static void errors_print(struct conf_writer *writer, const char *key, const void *target)
{
	error_pages_write(writer, key, &((const struct listener_file *)target)->conf->error_pages);
}

/* Read after the rest: it must know the listener's name. */
static int tls_seen(const struct field_context *context, const struct conf_node *node, void *target)
{
	return 0;
}

static void tls_print(struct conf_writer *writer, const char *key, const void *target)
{
	tls_server_config_write(writer, key, ((const struct listener_file *)target)->conf->tls);
}

static int read_tls(const struct field_context *context, const struct conf_node *node,
		    const char *listener_what, struct listener_conf *conf)
{
	struct tls_server_conf *tls = NULL;
	char what[WHAT_MAX];
	int r;

	if (!node)
		return 0;
	(void)snprintf(what, sizeof(what), "%s: tls", listener_what);
	r = tls_server_config_read(context, node, what, conf->name, &tls);
	conf->tls = tls;
	return r;
}

static const struct field listener_fields[] = {
	{.key = "name",
	 .kind = FIELD_STRING,
	 .offset = offsetof(struct listener_file, name),
	 .required = true},
	{.key = "address",
	 .kind = FIELD_CUSTOM,
	 .required = true,
	 .read = address_read,
	 .print = address_print},
	{.key = "protocol",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct listener_file, protocol),
	 .names = protocol_names,
	 .name_count = ARRAY_SIZE(protocol_names),
	 .default_text = "http"},
	{.key = "proxy_protocol",
	 .kind = FIELD_ENUM,
	 .offset = offsetof(struct listener_file, proxy_protocol),
	 .names = proxy_protocol_names,
	 .name_count = ARRAY_SIZE(proxy_protocol_names),
	 .default_text = "off"},
	{.key = "limits",
	 .kind = FIELD_SECTION,
	 .offset = offsetof(struct listener_file, limits),
	 .fields = limit_fields,
	 .field_count = ARRAY_SIZE(limit_fields)},
	{.key = "timeouts",
	 .kind = FIELD_SECTION,
	 .offset = offsetof(struct listener_file, timeouts),
	 .fields = timeout_fields,
	 .field_count = ARRAY_SIZE(timeout_fields)},
	{.key = "http2",
	 .kind = FIELD_SECTION,
	 .offset = offsetof(struct listener_file, http2),
	 .fields = http2_fields,
	 .field_count = ARRAY_SIZE(http2_fields)},
	{.key = "errors", .kind = FIELD_CUSTOM, .read = errors_read, .print = errors_print},
	{.key = "tls", .kind = FIELD_CUSTOM, .read = tls_seen, .print = tls_print},
	{.key = "upstream", .kind = FIELD_NOT_YET},
};

/* A head that is refused for its first line anyway must not be announced as allowed. */
static int check_limits(const struct field_context *context, const struct conf_node *node,
			const char *what, const struct limits *limits)
{
	char uri[32], header[32];

	if (limits->uri_bytes < limits->header_bytes)
		return 0;
	conf_error(context->errors, node,
		   "%s: limits: uri_bytes (%s) must be less than header_bytes (%s)", what,
		   units_format_size(limits->uri_bytes, uri, sizeof(uri)),
		   units_format_size(limits->header_bytes, header, sizeof(header)));
	return -EINVAL;
}

static int listener_read(const struct field_context *context, const struct conf_node *node,
			 const char *what, unsigned int index, void *item)
{
	struct listener_conf *conf = item;
	struct listener_file file = {.conf = conf};
	int r;

	(void)index;
	conf->line = node->line;
	conf->column = node->column;
	r = field_read(context, listener_fields, ARRAY_SIZE(listener_fields), node, what, &file);
	conf->name = file.name;
	if (read_tls(context, conf_get(node, "tls"), what, conf))
		r = -EINVAL;
	if (r)
		return r;
	if (check_limits(context, node, what, &file.limits))
		return -EINVAL;
	conf->http1 = http1_limits_default;
	conf->http1.head_bytes = (uint32_t)file.limits.header_bytes;
	conf->http1.field_count = (uint32_t)file.limits.header_count;
	conf->http1.field_bytes = (uint32_t)file.limits.field_bytes;
	conf->http1.uri_bytes = (uint32_t)file.limits.uri_bytes;
	conf->proxy_protocol = file.proxy_protocol;
	conf->body_bytes = file.limits.body_bytes;
	conf->header_timeout_ms = file.timeouts.header_ms;
	conf->handshake_timeout_ms = file.timeouts.handshake_ms;
	conf->idle_timeout_ms = file.timeouts.idle_ms;
	conf->request_timeout_ms = file.timeouts.request_ms;
	conf->connections_per_source = (uint32_t)file.limits.connections_per_source;
	conf->min_body_rate = (uint32_t)file.timeouts.min_body_rate;
	conf->http2.prior_knowledge = file.http2.prior_knowledge;
	conf->http2.max_concurrent_streams = (uint32_t)file.http2.max_concurrent_streams;
	return 0;
}

struct owned_tuple {
	const struct steer_tuple *tuple;
	const struct listener_conf *listener;
	unsigned int order;
};

static int compare_tuples(const void *left_ptr, const void *right_ptr)
{
	const struct owned_tuple *left = left_ptr, *right = right_ptr;
	const struct steer_tuple *one = left->tuple, *other = right->tuple;
	int r = memcmp(one->prefix.addr.bytes, other->prefix.addr.bytes, 16);

	if (!r)
		r = one->prefix.addr.family - other->prefix.addr.family;
	if (!r)
		r = one->prefix.bits - other->prefix.bits;
	if (!r)
		r = one->port_first - other->port_first;
	if (!r)
		r = one->port_last - other->port_last;
	if (!r)
		r = left->order < right->order ? -1 : 1;
	return r;
}

static bool same_tuple(const struct steer_tuple *left, const struct steer_tuple *right)
{
	return left->prefix.addr.family == right->prefix.addr.family &&
	       left->prefix.bits == right->prefix.bits && left->port_first == right->port_first &&
	       left->port_last == right->port_last &&
	       !memcmp(left->prefix.addr.bytes, right->prefix.addr.bytes, 16);
}

/* Of overlapping tuples the narrower wins; of equal ones none could. */
static int check_tuples(const struct field_context *context, struct arena *scratch,
			const struct listener_conf *listeners, unsigned int count)
{
	char text[LISTENER_TUPLE_TEXT_MAX];
	struct owned_tuple *all;
	unsigned int total = 0;
	int result = 0;

	for (unsigned int i = 0; i < count; i++)
		total += listeners[i].tuple_count;
	all = arena_new_array(scratch, struct owned_tuple, total);
	if (!all)
		return field_no_memory(context, NULL);
	total = 0;
	for (unsigned int i = 0; i < count; i++)
		for (unsigned int j = 0; j < listeners[i].tuple_count; j++, total++)
			all[total] =
				(struct owned_tuple){&listeners[i].tuples[j], &listeners[i], total};
	qsort(all, total, sizeof(*all), compare_tuples);
	for (unsigned int i = 1; i < total; i++) {
		const struct listener_conf *first = all[i - 1].listener, *second = all[i].listener;

		if (!same_tuple(all[i - 1].tuple, all[i].tuple))
			continue;
		(void)listener_format_tuple(all[i].tuple, text, sizeof(text));
		if (first == second)
			conf_error_at(context->errors, second->line, second->column,
				      "listener '%.*s': address '%s' is given twice",
				      STR_FMT(second->name), text);
		else
			conf_error_at(context->errors, second->line, second->column,
				      "listener '%.*s': address '%s' belongs to listener '%.*s' "
				      "at line %u already",
				      STR_FMT(second->name), text, STR_FMT(first->name),
				      first->line);
		result = -EINVAL;
	}
	return result;
}

int listeners_read(const struct field_context *context, const struct conf_node *node,
		   struct arena *scratch, struct name_table *ret_names,
		   struct listener_conf **ret_listeners, unsigned int *ret_count)
{
	static const struct named_list list = {
		.kind = "listener",
		.item_bytes = sizeof(struct listener_conf),
		.read = listener_read,
	};
	void *items = NULL;
	int r = named_list_read(context, &list, node, scratch, ret_names, &items, ret_count);

	*ret_listeners = items;
	if (r == -ENOMEM)
		return r;
	return check_tuples(context, scratch, items, *ret_count) || r ? -EINVAL : 0;
}

void listeners_write(struct conf_writer *writer, const struct listener_conf *listeners,
		     unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct listener_conf conf = listeners[i];
		const struct listener_file file = {
			.name = conf.name,
			.protocol = LISTENER_HTTP,
			.proxy_protocol = conf.proxy_protocol,
			.limits = {conf.http1.head_bytes, conf.http1.field_count,
				   conf.http1.field_bytes, conf.http1.uri_bytes, conf.body_bytes,
				   conf.connections_per_source},
			.timeouts = {conf.header_timeout_ms, conf.idle_timeout_ms,
				     conf.request_timeout_ms, conf.min_body_rate,
				     conf.handshake_timeout_ms},
			.http2 = {conf.http2.prior_knowledge, conf.http2.max_concurrent_streams},
			.conf = &conf,
		};

		conf_write_open_item(writer);
		field_write(writer, listener_fields, ARRAY_SIZE(listener_fields), &file);
		conf_write_close(writer);
	}
}
