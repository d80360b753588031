#include "http/upgrade.h"

#include "http/worker_internal.h"

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

bool upgrade_is_asked(const struct http_head *request, struct str token)
{
	if (request->protocol.ptr)
		return str_eq_nocase(request->protocol, token);
	for (unsigned int i = 0; request->has_upgrade && i < request->field_count; i++) {
		struct str rest = request->fields[i].value, protocol;

		if (request->fields[i].id != HTTP_FIELD_UPGRADE)
			continue;
		while (str_next_token(&rest, ',', &protocol))
			if (str_eq_nocase(protocol, token))
				return true;
	}
	return false;
}

/* In the route's spelling; ptr NULL: it does not allow it. */
static struct str find_allowed(const struct route *route, struct str protocol)
{
	for (unsigned int i = 0; i < route->proxy.upgrade_count; i++)
		if (str_eq_nocase(protocol, route->proxy.upgrades[i]))
			return route->proxy.upgrades[i];
	return STR_NULL;
}

/* The first of the client's list that the route allows. */
static struct str choose(const struct exchange *exchange)
{
	struct str token;

	for (unsigned int i = 0; i < exchange->request.field_count; i++) {
		struct str rest = exchange->request.fields[i].value, protocol;

		if (exchange->request.fields[i].id != HTTP_FIELD_UPGRADE)
			continue;
		while (str_next_token(&rest, ',', &protocol)) {
			token = find_allowed(exchange->route, protocol);
			if (token.ptr)
				return token;
		}
	}
	return STR_NULL;
}

/* It tells the upstream's answer from a cache's, and need not be secret (RFC 6455 10.3). */
static void make_key(struct exchange *exchange)
{
	uint64_t words[2];

	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++)
		words[i] = random_next(&exchange->worker->random);
	websocket_key_make((const uint8_t *)words, exchange->upgrade.key);
}

/* RFC 6455 4.2.1. */
static uint16_t ask_websocket(struct exchange *exchange, const char **ret_reason)
{
	const struct http_head *request = &exchange->request;
	struct str key = single(request, STR("sec-websocket-key"));

	if (request->protocol.ptr) {
		make_key(exchange);
		key = str_make(exchange->upgrade.key, sizeof(exchange->upgrade.key));
	}
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
	if (request->protocol.ptr) {
		token = find_allowed(exchange->route, request->protocol);
		if (!token.ptr) {
			*ret_reason = "protocol not allowed here";
			return 501;
		}
	} else {
		if (!request->has_upgrade || !exchange->route->proxy.upgrade_count)
			return 0;
		token = choose(exchange);
		if (!token.ptr)
			return 0; /* a server may ignore it (RFC 9110 7.8) */
	}
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
	if (exchange->request.protocol.ptr && exchange->upgrade.websocket)
		http1_write_field(writer, STR("Sec-WebSocket-Key"),
				  str_make(exchange->upgrade.key, sizeof(exchange->upgrade.key)));
}

bool upgrade_field_passes(const struct exchange *exchange, const struct http_field *field)
{
	return !exchange->request.protocol.ptr || (!is_named(field, STR("sec-websocket-key")) &&
						   !is_named(field, STR("sec-websocket-accept")));
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
