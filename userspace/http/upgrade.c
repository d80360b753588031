#include "http/upgrade.h"

#include "http/exchange.h"

static bool is_named(const struct http_field *field, struct str name)
{
	return field->id == HTTP_FIELD_OTHER && str_eq_nocase(field->name, name);
}

/* The value of the only field of that name. ptr NULL: there is none, or several. */
static struct str single(const struct http_head *head, struct str name)
{
	struct str value = STR_NULL;

	for (unsigned int i = 0; i < head->field_count; i++) {
		if (!is_named(&head->fields[i], name))
			continue;
		if (value.ptr)
			return STR_NULL;
		value = head->fields[i].value;
	}
	return value;
}

bool upgrade_token_is_allowed(struct str token)
{
	/* HTTP in the tunnel would be requests that nobody looks at; TLS would hide them, too. */
	return http_name_is_valid(token) && !str_eq_nocase(token, STR("h2c")) &&
	       !str_eq_nocase(token, STR("h2")) && !str_eq_nocase(token, STR("http")) &&
	       !str_eq_nocase(token, STR("tls"));
}

/* The first of the client's list that the route allows, in the route's spelling. */
static struct str choose(const struct exchange *exchange)
{
	const struct route *route = exchange->route;

	for (unsigned int i = 0; i < exchange->request.field_count; i++) {
		struct str rest = exchange->request.fields[i].value, protocol;

		if (exchange->request.fields[i].id != HTTP_FIELD_UPGRADE)
			continue;
		while (str_next_token(&rest, ',', &protocol))
			for (unsigned int j = 0; j < route->proxy.upgrade_count; j++)
				if (str_eq_nocase(protocol, route->proxy.upgrades[j]))
					return route->proxy.upgrades[j];
	}
	return STR_NULL;
}

/* RFC 6455 4.2.1. */
static uint16_t ask_websocket(struct exchange *exchange, const char **ret_reason)
{
	const struct http_head *request = &exchange->request;
	struct str key = single(request, STR("sec-websocket-key"));

	if (request->method_id != HTTP_METHOD_GET) {
		*ret_reason = "a WebSocket begins with GET";
		return 400;
	}
	if (!str_eq(single(request, STR("sec-websocket-version")), STR("13"))) {
		/* RFC 6455 4.4: who speaks another version is told which one is spoken here. */
		if (exchange->added_count < EXCHANGE_ADDED_MAX)
			exchange->added[exchange->added_count++] = (struct http_field){
				STR("sec-websocket-version"), STR("13"), HTTP_FIELD_OTHER};
		*ret_reason = "WebSocket version other than 13";
		return 400;
	}
	if (!websocket_key_is_valid(key)) {
		*ret_reason = "malformed Sec-WebSocket-Key";
		return 400;
	}
	websocket_accept_make(key, exchange->upgrade.accept);
	exchange->upgrade.websocket = true;
	return 0;
}

uint16_t upgrade_ask(struct exchange *exchange, const char **ret_reason)
{
	const struct http_head *request = &exchange->request;
	struct str token;
	uint16_t status;

	exchange->upgrade = (struct upgrade){.token = STR_NULL};
	if (!request->has_upgrade || !exchange->route->proxy.upgrade_count)
		return 0;
	token = choose(exchange);
	if (!token.ptr)
		return 0; /* a server may ignore it (RFC 9110 7.8) */
	if (request->framing != HTTP_FRAMING_NONE) {
		*ret_reason = "an upgrade with a request body";
		return 400;
	}
	status = str_eq(token, STR("websocket")) ? ask_websocket(exchange, ret_reason) : 0;
	if (!status)
		exchange->upgrade.token = token;
	return status;
}

void upgrade_write(const struct exchange *exchange, struct http1_writer *writer)
{
	http1_write_field(writer, STR("Connection"), STR("Upgrade"));
	http1_write_field(writer, STR("Upgrade"), exchange->upgrade.token);
}

/* Is it the one protocol of the answer? */
static bool answers_with(const struct http_head *answer, struct str token)
{
	const struct http_field *field = http_head_find(answer, HTTP_FIELD_UPGRADE);

	if (!answer->has_upgrade || !field || !str_eq_nocase(field->value, token))
		return false;
	for (field++; field < answer->fields + answer->field_count; field++)
		if (field->id == HTTP_FIELD_UPGRADE)
			return false;
	return true;
}

bool upgrade_accepts(const struct exchange *exchange, const struct http_head *answer)
{
	const struct upgrade *upgrade = &exchange->upgrade;

	if (!upgrade->token.ptr || !answers_with(answer, upgrade->token))
		return false;
	return !upgrade->websocket || str_eq(single(answer, STR("sec-websocket-accept")),
					     str_make(upgrade->accept, sizeof(upgrade->accept)));
}
