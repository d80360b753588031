#include "filter/external_auth.h"

#include "http/fetch.h"
#include "http/field_edit.h"
#include "http/refusal.h"

#define ANSWER_BYTES_MAX (64u * 1024) /* of a body that nobody reads */
#define FIELDS_OWN_MAX	 6

struct external_auth_state {
	struct fetch fetch;
	struct exchange *exchange;
	bool asked;
};

/* ---- asking ---- */

static bool field_is_told(const struct exchange *exchange, const struct http_field *field,
			  bool check_connection)
{
	/* Not what belongs to the body, to conditions or to the connection. */
	return !(http_field_kinds(field->id) & (HTTP_FIELD_HOP | HTTP_FIELD_FRAMING)) &&
	       forwarding_field_passes(exchange, field) &&
	       !(check_connection && http_head_connection_lists(&exchange->request, field->name));
}

static void put(struct fetch *fetch, struct http_field *fields, struct str name, struct str value)
{
	if (value.len)
		fields[fetch->field_count++] = (struct http_field){name, value, HTTP_FIELD_OTHER};
}

static bool write_fields(struct exchange *exchange, struct fetch *fetch)
{
	const struct http_head *request = &exchange->request;
	bool check_connection = http_head_find(request, HTTP_FIELD_CONNECTION) != NULL;
	struct http_field *fields = arena_new_array(&exchange->arena, struct http_field,
						    request->field_count + FIELDS_OWN_MAX);
	char address[ADDR_TEXT_MAX];
	struct str uri, client;

	uri = arena_printf(&exchange->arena, "%.*s%.*s", STR_FMT(exchange->path),
			   STR_FMT(exchange->query));
	client = arena_copy(
		&exchange->arena,
		str_from_cstr(ip_addr_format(&exchange->client, address, sizeof(address))));
	if (!fields || !uri.ptr || !client.ptr)
		return false;
	fetch->fields = fields;
	for (unsigned int i = 0; i < request->field_count; i++)
		if (i >= request->field_count - exchange->own_field_count ||
		    field_is_told(exchange, &request->fields[i], check_connection))
			fields[fetch->field_count++] = request->fields[i];
	put(fetch, fields, STR("x-forwarded-method"), request->method);
	put(fetch, fields, STR("x-forwarded-uri"), uri);
	put(fetch, fields, STR("x-forwarded-host"), forwarding_public_authority(exchange));
	put(fetch, fields, STR("x-forwarded-proto"), exchange->public_scheme);
	put(fetch, fields, STR("x-forwarded-for"), client);
	put(fetch, fields, STR("x-real-ip"), client);
	return true;
}

static void on_done(struct fetch *fetch)
{
	struct external_auth_state *state = CONTAINER_OF(fetch, struct external_auth_state, fetch);

	exchange_policy_resume(state->exchange, state);
}

/* From request_head(), whose turn it is. */
static enum policy_verdict refuse(struct exchange *exchange, enum refusal kind, uint16_t status,
				  const char *said, const char *rule)
{
	policy_refuse(exchange, exchange->route->policies[exchange->policy_at], kind, status, said,
		      "%s", rule);
	return POLICY_ANSWERED;
}

static enum policy_verdict unavailable(struct exchange *exchange, const char *rule)
{
	return refuse(exchange, REFUSAL_UNAVAILABLE, 503, "it cannot be decided now", rule);
}

static enum policy_verdict ask(struct exchange *exchange, const struct external_auth *auth,
			       struct external_auth_state *state)
{
	struct fetch *fetch = &state->fetch;

	state->asked = true;
	state->exchange = exchange;
	*fetch = (struct fetch){
		.worker = exchange->worker,
		.config = exchange->config,
		.upstream = auth->upstream,
		.arena = &exchange->arena,
		.method = STR("GET"),
		.target = auth->path,
		.timeout_ms = auth->timeout_ms,
		.body_max = ANSWER_BYTES_MAX,
		.on_done = on_done,
	};
	if (!write_fields(exchange, fetch))
		return unavailable(exchange, "out of memory");
	if (fetch_start(fetch) < 0)
		return unavailable(exchange, fetch->failure);
	return POLICY_WAITS;
}

/* ---- the answer ---- */

static bool status_is_told(uint16_t status)
{
	switch (status) {
	case 301:
	case 302:
	case 303:
	case 307:
	case 308:
	case 401:
	case 403:
	case 429:
		return true;
	default:
		return false;
	}
}

static bool is_listed(const struct field_names *list, struct str name)
{
	for (unsigned int i = 0; i < list->count; i++)
		if (str_eq_nocase(list->names[i], name))
			return true;
	return false;
}

static enum policy_verdict take(struct exchange *exchange, const struct external_auth *auth,
				const struct fetch *fetch)
{
	for (unsigned int i = 0; i < fetch->answer_field_count; i++) {
		const struct http_field *field = &fetch->answer_fields[i];

		if (is_listed(&auth->take_headers, field->name) &&
		    !request_field_add(exchange, field->name, field->value))
			return unavailable(exchange, "out of memory");
	}
	return POLICY_NEXT;
}

static enum policy_verdict tell(struct exchange *exchange, const struct external_auth *auth,
				const struct fetch *fetch)
{
	for (unsigned int i = 0; i < fetch->answer_field_count; i++) {
		const struct http_field *field = &fetch->answer_fields[i];

		if (is_listed(&auth->answer_headers, field->name) &&
		    exchange->added_count < EXCHANGE_ADDED_MAX)
			exchange->added[exchange->added_count++] = *field;
	}
	return refuse(exchange, REFUSAL_DENIED, fetch->status, "not allowed here",
		      "the service refused it");
}

static enum policy_verdict request_head(struct exchange *exchange, const void *conf, void *state)
{
	const struct external_auth *auth = conf;
	struct external_auth_state *own = state;

	if (!own->asked)
		return ask(exchange, auth, own);
	if (own->fetch.running)
		return POLICY_WAITS;
	if (own->fetch.status >= 200 && own->fetch.status < 300)
		return take(exchange, auth, &own->fetch);
	if (status_is_told(own->fetch.status))
		return tell(exchange, auth, &own->fetch);
	return unavailable(exchange, own->fetch.status ? "the service answered neither yes nor no"
						       : own->fetch.failure);
}

static void abandon(struct exchange *exchange, const void *conf, void *state)
{
	struct external_auth_state *own = state;

	(void)exchange;
	(void)conf;
	fetch_abandon(&own->fetch);
}

static const struct str *owned_fields(const void *conf, unsigned int *ret_count)
{
	const struct external_auth *auth = conf;

	*ret_count = auth->take_headers.count;
	return auth->take_headers.names;
}

const struct policy_type external_auth_policy = {
	.key = "external_auth",
	.conf_bytes = sizeof(struct external_auth),
	.state_bytes = sizeof(struct external_auth_state),
	.read = external_auth_read,
	.write = external_auth_write,
	.owned_fields = owned_fields,
	.request_head = request_head,
	.abandon = abandon,
};
