#include "http/field_edit.h"

#define FIELDS_ROOM 8

static char fold(char byte)
{
	return byte == '_' || byte == '.' ? '-' : ascii_lower(byte);
}

bool field_name_equal_folded(struct str left, struct str right)
{
	if (left.len != right.len)
		return false;
	for (size_t i = 0; i < left.len; i++)
		if (fold(left.ptr[i]) != fold(right.ptr[i]))
			return false;
	return true;
}

bool field_may_be_edited(struct str name)
{
	enum http_field_id id = http_field_lookup(name);

	switch (id) {
	case HTTP_FIELD_OTHER:
		return !http_name_is_reserved(name);
	case HTTP_FIELD_HOST:
	case HTTP_FIELD_CONTENT_LENGTH:
	case HTTP_FIELD_EXPECT:
		return false;
	default:
		return !(http_field_kinds(id) & (HTTP_FIELD_HOP | HTTP_FIELD_FORWARD));
	}
}

/* ---- requests ---- */

static void request_field_delete(struct exchange *exchange, unsigned int at)
{
	struct http_head *request = &exchange->request;

	if (at >= request->field_count - exchange->own_field_count)
		exchange->own_field_count--;
	request->field_count--;
	memmove(&request->fields[at], &request->fields[at + 1],
		(request->field_count - at) * sizeof(request->fields[0]));
	exchange->request_field_room++;
}

bool request_field_is_owned(const struct exchange *exchange, struct str name)
{
	for (unsigned int i = 0; i < exchange->route->owned_field_count; i++)
		if (field_name_equal_folded(exchange->route->owned_fields[i], name))
			return true;
	return false;
}

void request_fields_strip(struct exchange *exchange, const struct str *names, unsigned int count)
{
	struct http_head *request = &exchange->request;

	for (unsigned int at = request->field_count - exchange->own_field_count; at-- > 0;) {
		for (unsigned int i = 0; i < count; i++) {
			if (!field_name_equal_folded(request->fields[at].name, names[i]))
				continue;
			request_field_delete(exchange, at);
			break;
		}
	}
}

void request_field_remove(struct exchange *exchange, struct str name)
{
	for (unsigned int at = exchange->request.field_count; at-- > 0;)
		if (field_name_equal_folded(exchange->request.fields[at].name, name))
			request_field_delete(exchange, at);
}

bool request_field_add(struct exchange *exchange, struct str name, struct str value)
{
	struct http_head *request = &exchange->request;
	struct http_field *grown;

	if (!exchange->request_field_room) {
		grown = arena_new_array(&exchange->arena, struct http_field,
					request->field_count + FIELDS_ROOM);
		if (!grown)
			return false;
		if (request->field_count)
			memcpy(grown, request->fields, request->field_count * sizeof(*grown));
		request->fields = grown;
		exchange->request_field_room = FIELDS_ROOM;
	}
	request->fields[request->field_count++] =
		(struct http_field){name, value, http_field_lookup(name)};
	exchange->request_field_room--;
	exchange->own_field_count++;
	return true;
}

bool request_field_set(struct exchange *exchange, struct str name, struct str value)
{
	request_field_remove(exchange, name);
	return request_field_add(exchange, name, value);
}

/* ---- answers ---- */

/* Ours to change: see response_fields_own(). */
static struct http_field *own_fields(const struct exchange_response *response)
{
	return (struct http_field *)response->fields;
}

static bool grow(struct exchange *exchange, struct exchange_response *response, unsigned int more)
{
	struct http_field *fields =
		arena_new_array(&exchange->arena, struct http_field, response->field_count + more);

	if (!fields)
		return false;
	if (response->field_count)
		memcpy(fields, response->fields, response->field_count * sizeof(*fields));
	response->fields = fields;
	response->field_room = more;
	return true;
}

bool response_fields_own(struct exchange *exchange, struct exchange_response *response,
			 const struct http_field *added, unsigned int added_count)
{
	if (!grow(exchange, response, added_count + FIELDS_ROOM))
		return false;
	for (unsigned int i = 0; i < added_count; i++)
		own_fields(response)[response->field_count++] = added[i];
	response->field_room -= added_count;
	return true;
}

struct http_field *response_field_find(const struct exchange_response *response, struct str name)
{
	for (unsigned int i = 0; i < response->field_count; i++)
		if (str_eq_nocase(response->fields[i].name, name))
			return &own_fields(response)[i];
	return NULL;
}

void response_field_remove(struct exchange_response *response, struct str name)
{
	struct http_field *fields = own_fields(response);
	unsigned int kept = 0;

	for (unsigned int i = 0; i < response->field_count; i++)
		if (!str_eq_nocase(fields[i].name, name))
			fields[kept++] = fields[i];
	response->field_room += response->field_count - kept;
	response->field_count = kept;
}

bool response_field_add(struct exchange *exchange, struct exchange_response *response,
			struct str name, struct str value)
{
	if (!response->field_room && !grow(exchange, response, FIELDS_ROOM))
		return false;
	own_fields(response)[response->field_count++] =
		(struct http_field){name, value, http_field_lookup(name)};
	response->field_room--;
	return true;
}

bool response_field_set(struct exchange *exchange, struct exchange_response *response,
			struct str name, struct str value)
{
	response_field_remove(response, name);
	return response_field_add(exchange, response, name, value);
}

bool response_vary_on(struct exchange *exchange, struct exchange_response *response,
		      struct str name)
{
	for (unsigned int i = 0; i < response->field_count; i++) {
		struct str rest = response->fields[i].value, token;

		if (!str_eq_nocase(response->fields[i].name, STR("vary")))
			continue;
		while (str_next_token(&rest, ',', &token))
			if (str_eq(token, STR("*")) || str_eq_nocase(token, name))
				return true;
	}
	return response_field_add(exchange, response, STR("vary"), name);
}

void response_length_unknown(struct exchange_response *response)
{
	response->has_content_length = false;
	if (response->framing == HTTP_FRAMING_LENGTH)
		response->framing = HTTP_FRAMING_CHUNKED;
}
