#include "base/util.h"
#include "http/exchange.h"
#include "http/field_edit.h"
#include "http/forwarding.h"
#include "http/query.h"
#include "http/template.h"

/* ---- arguments ---- */

static bool is_field_name(struct str argument)
{
	return http_name_is_valid(argument);
}

static bool is_text(struct str argument)
{
	return argument.len > 0;
}

/* ---- values ---- */

static struct str request_method(struct exchange *exchange,
				 const struct exchange_response *response, struct str argument)
{
	return exchange->request.method;
}

static struct str request_path(struct exchange *exchange, const struct exchange_response *response,
			       struct str argument)
{
	return exchange->path;
}

/* Without its '?'. */
static struct str request_query(struct exchange *exchange, const struct exchange_response *response,
				struct str argument)
{
	return exchange->query.len ? str_sub(exchange->query, 1, exchange->query.len) : STR_NULL;
}

static struct str request_host(struct exchange *exchange, const struct exchange_response *response,
			       struct str argument)
{
	return forwarding_public_authority(exchange);
}

static struct str request_scheme(struct exchange *exchange,
				 const struct exchange_response *response, struct str argument)
{
	return exchange->public_scheme;
}

static struct str address_text(struct exchange *exchange, const struct ip_addr *address)
{
	char text[ADDR_TEXT_MAX];

	return arena_copy(&exchange->arena,
			  str_from_cstr(ip_addr_format(address, text, sizeof(text))));
}

static struct str client_address(struct exchange *exchange,
				 const struct exchange_response *response, struct str argument)
{
	return address_text(exchange, &exchange->client);
}

static struct str peer_address(struct exchange *exchange, const struct exchange_response *response,
			       struct str argument)
{
	return address_text(exchange, &exchange->peer);
}

static struct str route_name(struct exchange *exchange, const struct exchange_response *response,
			     struct str argument)
{
	return exchange->route->name;
}

static struct str listener_name(struct exchange *exchange, const struct exchange_response *response,
				struct str argument)
{
	return exchange->listener->name;
}

static struct str consumer(struct exchange *exchange, const struct exchange_response *response,
			   struct str argument)
{
	return identity_consumer(&exchange->identity);
}

static struct str claim(struct exchange *exchange, const struct exchange_response *response,
			struct str argument)
{
	return identity_claim(&exchange->identity, argument);
}

static struct str path_param(struct exchange *exchange, const struct exchange_response *response,
			     struct str argument)
{
	for (unsigned int i = 0; i < exchange->param_count; i++)
		if (str_eq(exchange->params[i].name, argument))
			return exchange->params[i].value;
	return STR_NULL;
}

static struct str query_param(struct exchange *exchange, const struct exchange_response *response,
			      struct str argument)
{
	struct str value = STR_NULL;

	/* Several are none: who reads the first and who reads the last must not differ. */
	return query_find_single(&exchange->arena, exchange->query, argument, &value) ? value
										      : STR_NULL;
}

static struct str request_header(struct exchange *exchange,
				 const struct exchange_response *response, struct str argument)
{
	for (unsigned int i = 0; i < exchange->request.field_count; i++)
		if (str_eq_nocase(exchange->request.fields[i].name, argument))
			return exchange->request.fields[i].value;
	return STR_NULL;
}

static struct str cookie(struct exchange *exchange, const struct exchange_response *response,
			 struct str argument)
{
	struct str value = STR_NULL;

	for (unsigned int i = 0; i < exchange->request.field_count && !value.ptr; i++)
		if (exchange->request.fields[i].id == HTTP_FIELD_COOKIE)
			value = str_find_pair(exchange->request.fields[i].value, ';', argument);
	return value;
}

static struct str response_status(struct exchange *exchange,
				  const struct exchange_response *response, struct str argument)
{
	return arena_printf(&exchange->arena, "%u", response->status);
}

static struct str response_header(struct exchange *exchange,
				  const struct exchange_response *response, struct str argument)
{
	const struct http_field *field = response_field_find(response, argument);

	return field ? field->value : STR_NULL;
}

const struct template_variable template_variables[] = {
	{.name = "request.method", .get = request_method},
	{.name = "request.path", .get = request_path, .encoded = true, .has_slashes = true},
	{.name = "request.query", .get = request_query, .encoded = true},
	{.name = "request.host", .get = request_host},
	{.name = "request.scheme", .get = request_scheme},
	{.name = "client.address", .get = client_address},
	{.name = "peer.address", .get = peer_address},
	{.name = "route.name", .get = route_name},
	{.name = "listener.name", .get = listener_name},
	{.name = "consumer", .get = consumer},
	{.name = "claim.",
	 .get = claim,
	 .argument_is_valid = is_text,
	 .argument_what = "the name of a claim"},
	{.name = "path.",
	 .get = path_param,
	 .argument_is_valid = is_text,
	 .argument_what = "the name of a variable of the route's path template",
	 .encoded = true},
	{.name = "query.",
	 .get = query_param,
	 .argument_is_valid = is_text,
	 .argument_what = "the name of a parameter"},
	{.name = "header.",
	 .get = request_header,
	 .argument_is_valid = is_field_name,
	 .argument_what = "a header name"},
	{.name = "cookie.",
	 .get = cookie,
	 .argument_is_valid = is_field_name,
	 .argument_what = "the name of a cookie"},
	{.name = "response.status", .get = response_status, .of_answer = true},
	{.name = "response.header.",
	 .get = response_header,
	 .argument_is_valid = is_field_name,
	 .argument_what = "a header name",
	 .of_answer = true},
};

const unsigned int template_variable_count = ARRAY_SIZE(template_variables);
