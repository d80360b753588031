#include <errno.h>

#include "base/util.h"
#include "upstream/upstream_http2.h"

#define PSEUDO_FIELDS 4

/* Of a connection of HTTP/1 (RFC 9113 8.2.2). */
static bool is_left_out(const struct http_field *field)
{
	switch (field->id) {
	case HTTP_FIELD_CONNECTION:
	case HTTP_FIELD_KEEP_ALIVE:
	case HTTP_FIELD_PROXY_CONNECTION:
	case HTTP_FIELD_TRANSFER_ENCODING:
	case HTTP_FIELD_UPGRADE:
	case HTTP_FIELD_HTTP2_SETTINGS:
		return true;
	case HTTP_FIELD_TE:
		return !str_eq(field->value, STR("trailers"));
	default:
		return false;
	}
}

/* Up to CRLF, which is taken, too. */
static bool take_line(struct str *rest, struct str *ret_line)
{
	ptrdiff_t end = str_find_byte(*rest, '\r');

	if (end < 0 || (size_t)end + 1 >= rest->len || rest->ptr[end + 1] != '\n')
		return false;
	*ret_line = str_sub(*rest, 0, (size_t)end);
	*rest = str_sub(*rest, (size_t)end + 2, rest->len);
	return true;
}

static struct str lower(char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = ascii_lower(bytes[i]);
	return str_make(bytes, len);
}

/* "name: value" in our copy. */
static bool read_field(struct str line, struct http_field *ret_field)
{
	ptrdiff_t colon = str_find_byte(line, ':');

	if (colon <= 0 || (size_t)colon + 1 >= line.len || line.ptr[colon + 1] != ' ')
		return false;
	ret_field->name = lower((char *)line.ptr, (size_t)colon);
	ret_field->value = str_sub(line, (size_t)colon + 2, line.len);
	ret_field->id = http_field_lookup(ret_field->name);
	return http_name_is_valid(ret_field->name) && http_value_is_valid(ret_field->value);
}

static size_t count_lines(struct str head)
{
	size_t count = 0;

	for (size_t i = 0; i < head.len; i++)
		count += head.ptr[i] == '\n';
	return count;
}

int upstream_fields_read(struct arena *arena, struct str head, bool tls, nghttp2_nv **ret_fields,
			 unsigned int *ret_count)
{
	struct str rest = arena_copy(arena, head), line, authority = STR_NULL;
	nghttp2_nv *fields = arena_new_array(arena, nghttp2_nv, count_lines(head) + PSEUDO_FIELDS);
	unsigned int count = PSEUDO_FIELDS;
	ptrdiff_t method_end, target_end;

	if (!rest.ptr || !fields)
		return -ENOMEM;
	if (!take_line(&rest, &line))
		return -EPROTO;
	method_end = str_find_byte(line, ' ');
	if (method_end <= 0)
		return -EPROTO;
	/* The authority stands first, since a request of HTTP/1.0 may have none. */
	fields[1] = http2_nv(STR(":method"), str_sub(line, 0, (size_t)method_end));
	line = str_sub(line, (size_t)method_end + 1, line.len);
	target_end = str_find_byte(line, ' ');
	if (target_end <= 0)
		return -EPROTO;
	fields[2] = http2_nv(STR(":scheme"), tls ? STR("https") : STR("http"));
	fields[3] = http2_nv(STR(":path"), str_sub(line, 0, (size_t)target_end));
	while (take_line(&rest, &line) && line.len) {
		struct http_field field;

		if (!read_field(line, &field))
			return -EPROTO;
		if (field.id == HTTP_FIELD_HOST)
			authority = field.value;
		else if (!is_left_out(&field))
			fields[count++] = http2_nv(field.name, field.value);
	}
	if (authority.ptr)
		fields[0] = http2_nv(STR(":authority"), authority);
	*ret_fields = authority.ptr ? fields : fields + 1;
	*ret_count = authority.ptr ? count : count - 1;
	return 0;
}

int upstream_fields_trailers(struct arena *arena, const struct http_field *trailers,
			     unsigned int count, nghttp2_nv **ret_fields, unsigned int *ret_count)
{
	nghttp2_nv *fields = arena_new_array(arena, nghttp2_nv, count);
	unsigned int kept = 0;

	if (!fields)
		return -ENOMEM;
	for (unsigned int i = 0; i < count; i++) {
		struct str name, value;

		if (!http_name_is_valid(trailers[i].name) ||
		    !http_value_is_valid(trailers[i].value))
			continue;
		name = arena_copy(arena, trailers[i].name);
		value = arena_copy(arena, trailers[i].value);
		if (!name.ptr || !value.ptr)
			return -ENOMEM;
		fields[kept] = http2_nv(lower((char *)name.ptr, name.len), value);
		/* They may wait in the codec when the call, and its arena, have gone. */
		fields[kept++].flags = NGHTTP2_NV_FLAG_NONE;
	}
	*ret_fields = fields;
	*ret_count = kept;
	return 0;
}
