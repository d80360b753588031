#include "http/proxy.h"

#include "http/downstream.h"
#include "http/exchange.h"
#include "http/hash_key.h"
#include "http/forwarding.h"
#include "http/field_edit.h"
#include "http/hiding.h"
#include "http/policy_flow.h"
#include "http/tunnel.h"
#include "http/upgrade.h"
#include "http/worker_internal.h"
#include "tls/tls_context.h"
#include "tls/tls_stream.h"

/* Room for the fields we add, without their variable parts. */
#define HEAD_EXTRA_BYTES (256 + FORWARDING_BYTES + UPGRADE_BYTES)

static struct exchange *call_exchange(struct upstream_call *call)
{
	return CONTAINER_OF(CONTAINER_OF(call, struct proxy, call), struct exchange, proxy);
}

/* ---- the request ---- */

static bool request_field_passes(const struct exchange *exchange, const struct http_field *field,
				 bool check_connection)
{
	/* Hop-by-hop goes (RFC 9110 7.6.1), what we write ourselves too. */
	if ((http_field_kinds(field->id) & HTTP_FIELD_HOP) ||
	    !forwarding_field_passes(exchange, field) || !upgrade_field_passes(exchange, field))
		return false;
	switch (field->id) {
	case HTTP_FIELD_HOST:
	case HTTP_FIELD_CONTENT_LENGTH:
	case HTTP_FIELD_EXPECT:
		return false;
	default:
		return !check_connection ||
		       !http_head_connection_lists(&exchange->request, field->name);
	}
}

static size_t head_size(const struct exchange *exchange)
{
	const struct http_head *request = &exchange->request;
	size_t size = HEAD_EXTRA_BYTES + request->method.len + exchange->upstream_method.len +
		      exchange->upstream_path.len + exchange->upstream_query.len +
		      request->target.len + request->host.len + exchange->upstream_host.len +
		      exchange->upstream->name.len + exchange->upgrade.token.len;

	for (unsigned int i = 0; i < request->field_count; i++)
		size += request->fields[i].name.len + request->fields[i].value.len + 4;
	return size;
}

static void write_target(struct http1_writer *writer, const struct exchange *exchange)
{
	const struct http_head *request = &exchange->request;
	bool asterisk = str_eq(request->target, STR("*"));

	/* An extended CONNECT is a GET with Upgrade in HTTP/1. */
	http1_write_bytes(writer, request->protocol.ptr		  ? STR("GET")
				  : exchange->upstream_method.ptr ? exchange->upstream_method
								  : request->method);
	http1_write_bytes(writer, STR(" "));
	http1_write_bytes(writer, asterisk ? STR("*") : exchange->upstream_path);
	http1_write_bytes(writer, exchange->upstream_query);
	http1_write_bytes(writer, STR(" HTTP/1.1\r\n"));
}

/* 0 with the head in the arena, or the status to answer. */
static uint16_t write_request_head(struct exchange *exchange, struct str *ret_head)
{
	const struct http_head *request = &exchange->request;
	bool check_connection = http_head_find(request, HTTP_FIELD_CONNECTION) != NULL;
	size_t room_bytes = head_size(exchange);
	char *room = arena_alloc_bytes(&exchange->arena, room_bytes);
	struct http1_writer writer;

	if (!room)
		return 503;
	http1_write_init(&writer, room, room_bytes);
	write_target(&writer, exchange);
	http1_write_field(&writer, STR("Host"),
			  exchange->upstream_host.len ? exchange->upstream_host
						      : exchange->upstream->name);
	for (unsigned int i = 0; i < request->field_count; i++) {
		const struct http_field *field = &request->fields[i];

		/* What policies put there stands whatever the client's Connection says. */
		if (i >= request->field_count - exchange->own_field_count ||
		    request_field_passes(exchange, field, check_connection))
			http1_write_field(&writer, field->name, field->value);
	}
	if (request->framing == HTTP_FRAMING_CHUNKED)
		http1_write_field(&writer, STR("Transfer-Encoding"), STR("chunked"));
	else if (request->has_content_length)
		http1_write_field_u64(&writer, STR("Content-Length"), request->content_length);
	if (request->expect_continue && request->framing != HTTP_FRAMING_NONE)
		http1_write_field(&writer, STR("Expect"), STR("100-continue"));
	if (exchange->upgrade.token.ptr)
		upgrade_write(exchange, &writer);
	else if (exchange->route->proxy.trailers)
		http1_write_bytes(&writer, STR("TE: trailers\r\nConnection: TE\r\n"));
	forwarding_write(exchange, &writer);
	http1_write_end(&writer);
	if (writer.invalid)
		return 400;
	if (writer.overflowed)
		return 503;
	*ret_head = str_make(room, (size_t)(writer.pos - room));
	return 0;
}

/* What the client's handshake said; nothing of a connection without TLS. */
static void describe_tls(const struct exchange *exchange, struct proxy_facts *facts)
{
	const struct stream *stream = &exchange->connection->stream;
	uint32_t tlvs = exchange->upstream->proxy_tlvs;
	struct tls_facts tls;

	if (!tlvs || !stream_is_tls(stream))
		return;
	tls_ssl_facts(tls_stream_ssl(stream), &tls);
	if (tlvs & UPSTREAM_PROXY_AUTHORITY)
		facts->authority = tls.sni;
	if (tlvs & UPSTREAM_PROXY_ALPN)
		facts->alpn = tls.alpn;
}

/*
 * Whose connection it is, for an upstream that asks to be told; the key has all of it but the port,
 * which is another one for each connection of a client. False: out of memory.
 */
static bool write_opening(struct exchange *exchange, struct upstream_call *call)
{
	unsigned int version = (unsigned int)exchange->upstream->proxy_protocol;
	struct proxy_facts facts = {.addresses = exchange->connection->origin};
	char room[PROXY_WRITE_MAX];

	call->opening = call->opening_key = STR_NULL;
	if (!version)
		return true;
	if (!ip_addr_equal(&facts.addresses.source, &exchange->client))
		facts.addresses.source_port = 0; /* of a connection that is not ours to know */
	facts.addresses.source = exchange->client;
	describe_tls(exchange, &facts);
	call->opening = arena_copy(&exchange->arena,
				   str_make(room, proxy_header_write(version, &facts, room)));
	facts.addresses.source_port = 0;
	call->opening_key = arena_copy(&exchange->arena,
				       str_make(room, proxy_header_write(version, &facts, room)));
	return call->opening.ptr && call->opening_key.ptr;
}

static void request_data(struct exchange *exchange, struct str data, struct recv_buf *buf)
{
	upstream_call_send(&exchange->proxy.call, data, buf);
}

/* Trailers pass only where the route asks for them, and never those that steer (HARDENING 5). */
static unsigned int filter_trailers(struct exchange *exchange, const struct http_field *trailers,
				    unsigned int count, struct http_field **ret_fields)
{
	struct http_field *fields;
	unsigned int kept = 0;

	if (!count || !exchange->route->proxy.trailers)
		return 0;
	fields = arena_new_array(&exchange->arena, struct http_field, count);
	if (!fields)
		return 0;
	for (unsigned int i = 0; i < count; i++) {
		if (http_field_allowed_in_trailer(&trailers[i]) &&
		    !request_field_is_owned(exchange, trailers[i].name))
			fields[kept++] = trailers[i];
	}
	*ret_fields = fields;
	return kept;
}

static void request_end(struct exchange *exchange, const struct http_field *trailers,
			unsigned int trailer_count)
{
	struct http_field *fields = NULL;
	unsigned int count = filter_trailers(exchange, trailers, trailer_count, &fields);

	upstream_call_send_end(&exchange->proxy.call, fields, count);
}

static void request_flush(struct exchange *exchange)
{
	upstream_call_flush(&exchange->proxy.call);
}

static bool request_blocked(const struct exchange *exchange)
{
	/* Bytes of a tunnel wait until there is one. */
	return exchange->upgrade.token.ptr ||
	       upstream_call_queued(&exchange->proxy.call) > UPSTREAM_HIGH_WATER;
}

static void drained(struct exchange *exchange)
{
	upstream_call_resume(&exchange->proxy.call);
}

static void action_abort(struct exchange *exchange)
{
	upstream_call_abort(&exchange->proxy.call);
}

static const struct exchange_action proxy_action = {
	.request_data = request_data,
	.request_end = request_end,
	.request_flush = request_flush,
	.request_blocked = request_blocked,
	.drained = drained,
	.abort = action_abort,
};

/* ---- the response ---- */

/* End-to-end fields, without what they would tell of the upstream. False: out of memory. */
static bool filter_response(struct exchange *exchange, const struct http_head *head,
			    struct exchange_response *response)
{
	bool check_connection = http_head_find(head, HTTP_FIELD_CONNECTION) != NULL;
	struct http_field *fields =
		arena_new_array(&exchange->arena, struct http_field, head->field_count + 1);
	unsigned int count = 0;

	if (!fields)
		return false;
	for (unsigned int i = 0; i < head->field_count; i++) {
		const struct http_field *field = &head->fields[i];
		unsigned int kinds = http_field_kinds(field->id);

		if (field->id == HTTP_FIELD_CONTENT_LENGTH || (kinds & HTTP_FIELD_HOP) ||
		    (check_connection && http_head_connection_lists(head, field->name)) ||
		    !upgrade_field_passes(exchange, field))
			continue;
		fields[count] = *field;
		if (kinds & HIDING_KINDS) {
			enum hiding_verdict verdict = hiding_apply(exchange, &fields[count]);

			if (verdict == HIDING_NO_MEMORY)
				return false;
			if (verdict == HIDING_DROP)
				continue;
		}
		count++;
	}
	response->status = head->status;
	response->fields = fields;
	response->field_count = count;
	return true;
}

static bool accepts_upgrade(struct upstream_call *call, const struct http_head *head)
{
	return upgrade_accepts(call_exchange(call), head);
}

static void begin_tunnel(struct exchange *exchange, struct exchange_response *response)
{
	response->framing = HTTP_FRAMING_NONE;
	response->upgrade = exchange->upgrade.token;
	/* Policies are of the configuration, which a tunnel outlives. */
	if (exchange->chain)
		policy_chain_abort(exchange);
	exchange->chain = NULL;
	if (tunnel_start(exchange, exchange->route->proxy.tunnel_idle_ms) < 0) {
		exchange_fail_close(exchange, 503, "out of memory for the tunnel");
		return;
	}
	if (exchange->request.protocol.ptr)
		response->status = 200;
	exchange->status = response->status;
	exchange->head_sent = true;
	exchange->downstream->send_head(exchange, response);
	/* What the client sent already is the tunnel's, and perhaps its end. */
	exchange->downstream->resume_request(exchange);
	if (exchange->request_done)
		exchange_request_end(exchange, NULL, 0);
}

static void on_head(struct upstream_call *call, const struct http_head *head)
{
	struct exchange *exchange = call_exchange(call);
	struct exchange_response response = {0};

	if (!filter_response(exchange, head, &response)) {
		exchange_fail(exchange, 502, "upstream's header is too large");
		return;
	}
	if (UNLIKELY(head->status == 101)) {
		begin_tunnel(exchange, &response);
		return;
	}
	if (head->status < 200) {
		exchange->downstream->send_informational(exchange, &response);
		return;
	}
	if (UNLIKELY(exchange->request.protocol.ptr) && head->status < 300) {
		exchange_fail(exchange, 502, "upstream did not change the protocol");
		return;
	}
	response.framing =
		head->framing == HTTP_FRAMING_UNTIL_CLOSE ? HTTP_FRAMING_CHUNKED : head->framing;
	response.content_length = head->content_length;
	response.has_content_length = head->has_content_length;
	if (exchange_send_head(exchange, &response) && !exchange_takes_pipes(exchange))
		call->pipes = false;
}

static void on_data(struct upstream_call *call, struct str data, struct recv_buf *buf)
{
	struct exchange *exchange = call_exchange(call);

	if (exchange_send_data(exchange, data, buf) &&
	    exchange_queued(exchange) > UPSTREAM_HIGH_WATER)
		upstream_call_pause(call);
}

static void on_pipe(struct upstream_call *call, struct splice_pipe *pipe, size_t len)
{
	struct exchange *exchange = call_exchange(call);

	exchange->bytes_out += len;
	exchange->downstream->send_pipe(exchange, pipe, len);
	/* Pieces as large as can be: the next one when this one was sent. */
	upstream_call_pause(call);
}

static void on_batch(struct upstream_call *call)
{
	struct exchange *exchange = call_exchange(call);

	exchange->downstream->flush(exchange);
}

static void on_end(struct upstream_call *call, const struct http_field *trailers,
		   unsigned int trailer_count)
{
	struct exchange *exchange = call_exchange(call);
	struct http_field *fields = NULL;
	unsigned int count = filter_trailers(exchange, trailers, trailer_count, &fields);

	exchange->action = NULL;
	exchange_send_end(exchange, fields, count);
	exchange->downstream->flush(exchange);
}

static void on_error(struct upstream_call *call, enum upstream_error error, const char *detail)
{
	struct exchange *exchange = call_exchange(call);

	if (log_enabled(LOG_LEVEL_DEBUG)) {
		char upstream[80];

		log_debug("http", "upstream %s: %s%s%s",
			  str_quote(call->upstream->name, upstream, sizeof(upstream)),
			  upstream_error_text(error), detail ? ": " : "", detail ? detail : "");
	}
	exchange->action = NULL;
	/* For the log alone: what is wrong behind us is no business of clients. */
	if (detail && (error == UPSTREAM_E_CERTIFICATE || error == UPSTREAM_E_TLS))
		exchange->failure_detail = detail;
	exchange_fail(exchange, upstream_error_status(error), upstream_error_text(error));
}

static void on_drained(struct upstream_call *call)
{
	exchange_resume_request(call_exchange(call));
}

static const struct upstream_call_ops call_ops = {
	.accepts_upgrade = accepts_upgrade,
	.on_head = on_head,
	.on_data = on_data,
	.on_pipe = on_pipe,
	.on_end = on_end,
	.on_error = on_error,
	.on_batch = on_batch,
	.on_drained = on_drained,
};

void proxy_start(struct exchange *exchange)
{
	struct upstream_call *call = &exchange->proxy.call;
	const struct route *route = exchange->route;
	const char *reason = "request cannot be forwarded";
	uint16_t status;

	call->ops = &call_ops;
	call->pools = exchange->worker->pools;
	call->upstream = exchange->upstream;
	call->arena = &exchange->arena;
	call->framing = exchange->request.framing;
	call->method_id = exchange->upstream_method.ptr
				  ? http_method_lookup(exchange->upstream_method)
				  : exchange->request.method_id;
	call->response_timeout_ms = route->proxy.timeout_ms;
	call->has_hash_key = hash_key_find(exchange, &exchange->upstream->hash_on, &call->hash_key);
	call->pipes = exchange->downstream->send_pipe != NULL &&
		      stream_can_send_pipe(&exchange->connection->stream);
	status = upgrade_ask(exchange, &reason);
	if (!status)
		status = write_request_head(exchange, &call->head);
	if (status) {
		exchange_fail_close(exchange, status, reason);
		return;
	}
	if (!write_opening(exchange, call)) {
		exchange_fail(exchange, 503, "out of memory for the request");
		return;
	}
	if (upstream_call_start(call) < 0) {
		exchange_fail(exchange, upstream_error_status(call->failure),
			      upstream_error_text(call->failure));
		return;
	}
	exchange->action = &proxy_action;
	if (exchange->request.framing == HTTP_FRAMING_NONE)
		upstream_call_flush(call);
	/* Else the downstream flushes when it has handed over what it has of the body. */
}
