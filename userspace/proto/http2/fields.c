#include "base/util.h"
#include "proto/http2/http2.h"
#include "proto/http_bytes.h"

#define FIELDS_FIRST 16
/* What a field costs beside its name and value, as its line does in HTTP/1: ": " and CRLF. */
#define FIELD_EXTRA_BYTES 4

void http2_fields_init(struct http2_fields *fields, struct arena *arena)
{
	*fields = (struct http2_fields){.arena = arena};
}

static void fail(struct http2_fields *fields, enum http1_error error)
{
	if (!fields->error)
		fields->error = -(int)error;
}

static bool name_is_lower(struct str name)
{
	for (size_t i = 0; i < name.len; i++)
		if (name.ptr[i] >= 'A' && name.ptr[i] <= 'Z')
			return false;
	return true;
}

static struct str keep(struct http2_fields *fields, struct str bytes)
{
	struct str copy = arena_copy(fields->arena, bytes);

	if (!copy.ptr)
		fail(fields, HTTP1_E_NO_MEMORY);
	return copy;
}

static void add_pseudo(struct http2_fields *fields, const struct http1_limits *limits,
		       struct str name, struct str value)
{
	static const struct {
		struct str name;
		size_t offset;
	} known[] = {
		{{":method", 7}, offsetof(struct http2_fields, method)},
		{{":scheme", 7}, offsetof(struct http2_fields, scheme)},
		{{":authority", 10}, offsetof(struct http2_fields, authority)},
		{{":path", 5}, offsetof(struct http2_fields, path)},
		{{":protocol", 9}, offsetof(struct http2_fields, protocol)},
		{{":status", 7}, offsetof(struct http2_fields, status)},
	};

	if (str_eq_cstr(name, ":path") && value.len > limits->uri_bytes) {
		fail(fields, HTTP1_E_URI_BYTES);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		struct str *place = (struct str *)((char *)fields + known[i].offset);

		if (!str_eq(name, known[i].name))
			continue;
		if (place->ptr || fields->count) {
			fail(fields, HTTP1_E_REQUEST_LINE); /* twice, or behind a field */
			return;
		}
		*place = keep(fields, value);
		return;
	}
	fail(fields, HTTP1_E_REQUEST_LINE);
}

static bool make_room(struct http2_fields *fields)
{
	unsigned int size = fields->size ? fields->size * 2 : FIELDS_FIRST;
	struct http_field *grown;

	if (fields->count < fields->size)
		return true;
	grown = arena_new_array(fields->arena, struct http_field, size);
	if (!grown) {
		fail(fields, HTTP1_E_NO_MEMORY);
		return false;
	}
	if (fields->count)
		memcpy(grown, fields->fields, fields->count * sizeof(*grown));
	fields->fields = grown;
	fields->size = size;
	return true;
}

void http2_fields_add(struct http2_fields *fields, const struct http1_limits *limits,
		      struct str name, struct str value, bool static_name)
{
	struct http_field *field;
	size_t bytes = name.len + value.len + FIELD_EXTRA_BYTES;

	fields->bytes += bytes;
	if (fields->error)
		return;
	if (name.len && name.ptr[0] == ':') {
		if (!http_value_is_valid(value))
			fail(fields, HTTP1_E_CONTROL_BYTE);
		else
			add_pseudo(fields, limits, name, value);
		if (fields->bytes > limits->head_bytes)
			fail(fields, HTTP1_E_HEAD_BYTES);
		return;
	}
	if (fields->bytes > limits->head_bytes)
		fail(fields, HTTP1_E_HEAD_BYTES);
	else if (bytes > limits->field_bytes)
		fail(fields, HTTP1_E_FIELD_BYTES);
	else if (fields->count >= limits->field_count)
		fail(fields, HTTP1_E_FIELD_COUNT);
	else if (!http_name_is_valid(name) || !name_is_lower(name))
		fail(fields, HTTP1_E_FIELD_NAME);
	else if (!http_value_is_valid(value))
		fail(fields, HTTP1_E_CONTROL_BYTE);
	if (fields->error || !make_room(fields))
		return;
	field = &fields->fields[fields->count];
	field->id = http_field_lookup(name);
	field->name = field->id != HTTP_FIELD_OTHER ? http_field_name(field->id)
		      : static_name		    ? name
						    : keep(fields, name);
	field->value = value.len ? keep(fields, value) : STR("");
	if (!fields->error)
		fields->count++;
}

/* Crumbs of a cookie are one field again (RFC 9113 8.2.3). */
static void join_cookies(struct http2_fields *fields)
{
	struct http_field *first = NULL;
	unsigned int kept = 0;
	size_t bytes = 0;
	char *room, *pos;

	for (unsigned int i = 0; i < fields->count; i++)
		if (fields->fields[i].id == HTTP_FIELD_COOKIE) {
			kept++;
			bytes += fields->fields[i].value.len + 2;
		}
	if (kept < 2)
		return;
	pos = room = arena_alloc_bytes(fields->arena, bytes);
	if (!room) {
		fail(fields, HTTP1_E_NO_MEMORY);
		return;
	}
	kept = 0;
	for (unsigned int i = 0; i < fields->count; i++) {
		struct http_field *field = &fields->fields[i];

		if (field->id != HTTP_FIELD_COOKIE) {
			fields->fields[kept++] = *field;
			continue;
		}
		if (first) {
			*pos++ = ';';
			*pos++ = ' ';
		}
		memcpy(pos, field->value.ptr, field->value.len);
		pos += field->value.len;
		if (!first) {
			first = &fields->fields[kept];
			fields->fields[kept++] = *field;
		}
	}
	first->value = str_make(room, (size_t)(pos - room));
	fields->count = kept;
}

/* What both kinds of heads have in common. */
static void read_fields(struct http2_fields *fields, struct http_head *head)
{
	for (unsigned int i = 0; i < fields->count; i++) {
		const struct http_field *field = &fields->fields[i];

		switch (field->id) {
		case HTTP_FIELD_CONTENT_LENGTH:
			if (head->has_content_length)
				fail(fields, HTTP1_E_LENGTH_DUPLICATE);
			else if (str_to_u64(field->value, &head->content_length) < 0)
				fail(fields, HTTP1_E_LENGTH_INVALID);
			head->has_content_length = true;
			break;
		case HTTP_FIELD_TRANSFER_ENCODING:
			fail(fields, HTTP1_E_TRANSFER_ENCODING);
			break;
		case HTTP_FIELD_CONNECTION:
		case HTTP_FIELD_KEEP_ALIVE:
		case HTTP_FIELD_PROXY_CONNECTION:
		case HTTP_FIELD_UPGRADE:
		case HTTP_FIELD_HTTP2_SETTINGS:
			fail(fields, HTTP1_E_CONNECTION_FIELD);
			break;
		case HTTP_FIELD_TE:
			if (!str_eq_nocase(field->value, STR("trailers")))
				fail(fields, HTTP1_E_CONNECTION_FIELD);
			break;
		default:
			break;
		}
	}
	head->is_http2 = true;
	head->version_minor = 1;
	head->keep_alive = true;
	head->fields = fields->fields;
	head->field_count = fields->count;
}

static void read_host(struct http2_fields *fields, struct http_head *head)
{
	struct http1_authority parts;
	const struct http_field *host = NULL;

	for (unsigned int i = 0; i < fields->count; i++) {
		if (fields->fields[i].id != HTTP_FIELD_HOST)
			continue;
		if (host)
			fail(fields, HTTP1_E_HOST_DUPLICATE);
		host = &fields->fields[i];
	}
	head->host = fields->authority.ptr ? fields->authority : host ? host->value : STR_NULL;
	if (!head->host.ptr)
		fail(fields, HTTP1_E_HOST_MISSING);
	else if (!http1_authority_parse(head->host, &parts))
		fail(fields, HTTP1_E_HOST_INVALID);
	else if (host && fields->authority.ptr && !str_eq_nocase(host->value, fields->authority))
		fail(fields, HTTP1_E_HOST_INVALID);
}

/* RFC 9113 8.5; an extended one has what other requests have (RFC 8441 4). */
static bool is_plain_connect(const struct http2_fields *fields, const struct http_head *head)
{
	return head->method_id == HTTP_METHOD_CONNECT && !fields->protocol.ptr;
}

static void read_protocol(struct http2_fields *fields, struct http_head *head)
{
	if (!fields->protocol.ptr)
		return;
	head->protocol = fields->protocol;
	if (head->method_id != HTTP_METHOD_CONNECT || !http_name_is_valid(fields->protocol))
		fail(fields, HTTP1_E_REQUEST_LINE);
	if (head->has_content_length)
		fail(fields, HTTP1_E_LENGTH_INVALID);
	head->framing = HTTP_FRAMING_NONE;
}

static void read_path(struct http2_fields *fields, const struct http_head *head)
{
	struct str path = fields->path;

	if (is_plain_connect(fields, head))
		return;
	if (!path.len || (path.ptr[0] != '/' &&
			  !(str_eq(path, STR("*")) && head->method_id == HTTP_METHOD_OPTIONS))) {
		fail(fields, HTTP1_E_TARGET);
		return;
	}
	for (size_t i = 0; i < path.len; i++)
		if (!http_byte_is(path.ptr[i], HTTP_BYTE_TARGET))
			fail(fields, HTTP1_E_TARGET);
}

int http2_fields_request(struct http2_fields *fields, bool end, struct http_head *ret_head,
			 struct str *ret_scheme)
{
	struct http_head head = {0};

	read_fields(fields, &head);
	join_cookies(fields);
	head.field_count = fields->count;
	head.method = fields->method;
	head.method_id = http_method_lookup(fields->method);
	if (!http_name_is_valid(fields->method) || fields->status.ptr)
		fail(fields, HTTP1_E_REQUEST_LINE);
	head.target = is_plain_connect(fields, &head) ? fields->authority : fields->path;
	if (is_plain_connect(fields, &head)
		    ? fields->scheme.ptr != NULL || fields->path.ptr != NULL
		    : !str_eq(fields->scheme, STR("http")) && !str_eq(fields->scheme, STR("https")))
		fail(fields, HTTP1_E_REQUEST_LINE);
	read_path(fields, &head);
	read_host(fields, &head);
	for (unsigned int i = 0; i < fields->count; i++) {
		if (fields->fields[i].id != HTTP_FIELD_EXPECT)
			continue;
		if (!str_eq_nocase(fields->fields[i].value, STR("100-continue")))
			fail(fields, HTTP1_E_EXPECT);
		head.expect_continue = true;
	}
	if (end && head.has_content_length && head.content_length)
		fail(fields, HTTP1_E_LENGTH_INVALID);
	if (!end)
		head.framing = head.has_content_length ? HTTP_FRAMING_LENGTH : HTTP_FRAMING_CHUNKED;
	read_protocol(fields, &head);
	*ret_head = head;
	*ret_scheme = fields->scheme.ptr ? fields->scheme : STR("");
	return fields->error;
}

int http2_fields_response(struct http2_fields *fields, enum http_method method, bool end,
			  struct http_head *ret_head)
{
	struct http_head head = {0};
	uint64_t status = 0;
	bool bodiless;

	read_fields(fields, &head);
	if (fields->status.len != 3 || str_to_u64(fields->status, &status) < 0 || status < 100 ||
	    status > 599 || status == 101 || fields->method.ptr || fields->scheme.ptr ||
	    fields->authority.ptr || fields->path.ptr || fields->protocol.ptr)
		fail(fields, HTTP1_E_STATUS_LINE);
	head.status = (uint16_t)status;
	bodiless = status < 200 || status == 204 || status == 304 || method == HTTP_METHOD_HEAD;
	if ((status < 200 || status == 204) && head.has_content_length && head.content_length)
		fail(fields, HTTP1_E_LENGTH_INVALID);
	if (status < 200 && end)
		fail(fields, HTTP1_E_STATUS_LINE);
	if (end && !bodiless && head.has_content_length && head.content_length)
		fail(fields, HTTP1_E_TRUNCATED);
	if (!end && !bodiless)
		head.framing = head.has_content_length ? HTTP_FRAMING_LENGTH : HTTP_FRAMING_CHUNKED;
	*ret_head = head;
	return fields->error;
}
