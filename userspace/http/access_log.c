#include "http/access_log.h"

#include <errno.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "http/downstream.h"
#include "http/worker_internal.h"
#include "tls/tls_context.h"
#include "tls/tls_stream.h"

/* How long a line may wait for others, so that an idle node's log is up to date. */
#define FLUSH_MS       200
#define WALL_OFFSET_NS 1000000000ULL /* how long the difference of the clocks is believed */

static void flush(struct access_log *log)
{
	if (log->block)
		access_log_sink_push(TAKE_PTR(log->block));
}

static void on_flush_timer(struct timer *timer)
{
	flush(CONTAINER_OF(timer, struct access_log, flush_timer));
}

int access_log_init(struct access_log *log, struct loop *loop)
{
	*log = (struct access_log){.loop = loop, .pool = access_log_pool_new()};
	timer_init(&log->flush_timer, on_flush_timer);
	return log->pool ? 0 : -ENOMEM;
}

void access_log_done(struct access_log *log)
{
	if (!log->pool)
		return;
	timer_stop(&log->flush_timer);
	flush(log);
	access_log_pool_unref(TAKE_PTR(log->pool));
}

static uint64_t wall_ms(struct access_log *log, uint64_t time_ns, uint64_t now_ns)
{
	if (now_ns - log->wall_offset_made_ns >= WALL_OFFSET_NS) {
		log->wall_offset_ns = clock_read_ns(CLOCK_REALTIME) - clock_mono_ns();
		log->wall_offset_made_ns = now_ns;
	}
	return (time_ns + log->wall_offset_ns) / 1000000;
}

static uint64_t since_us(uint64_t start_ns, uint64_t time_ns)
{
	return time_ns ? (time_ns - start_ns) / 1000 : ACCESS_LOG_NEVER;
}

static void describe_request(struct access_log_entry *entry, const struct exchange *exchange)
{
	const struct http_head *request = &exchange->request;

	entry->method = request->method;
	entry->host = request->host;
	entry->target = request->target;
	entry->refused_line = exchange->refused_line;
	entry->version_minor = request->version_minor;
	entry->is_http2 = request->is_http2;
	for (unsigned int i = 0; i < request->field_count; i++) {
		const struct http_field *field = &request->fields[i];

		if (field->id == HTTP_FIELD_USER_AGENT)
			entry->user_agent = field->value;
		else if (field->id == HTTP_FIELD_REFERER)
			entry->referer = field->value;
	}
}

static void describe_upstream(struct access_log_entry *entry, const struct exchange *exchange)
{
	const struct upstream_call *call = &exchange->proxy.call;

	if (!call->start_ns)
		return;
	entry->has_upstream = true;
	if (exchange->tunnel.open) {
		entry->upstream = exchange->tunnel.upstream;
		entry->endpoint = exchange->tunnel.endpoint;
	} else {
		entry->upstream = call->upstream->name;
		if (call->chosen)
			entry->endpoint = call->chosen->address;
	}
	entry->attempts = call->attempts;
	entry->reused = call->reused;
	entry->connect_us = since_us(call->start_ns, call->connected_ns);
	entry->head_us = since_us(call->start_ns, call->head_ns);
}

static void describe_tls(struct access_log_entry *entry, const SSL *ssl,
			 struct tls_client_facts *client)
{
	struct tls_facts facts;

	tls_ssl_facts(ssl, &facts);
	tls_ssl_client_facts(ssl, client);
	entry->has_tls = true;
	entry->tls_version = str_from_cstr(facts.version);
	entry->tls_cipher = str_from_cstr(facts.cipher);
	entry->tls_sni = facts.sni;
	entry->tls_alpn = facts.alpn;
	entry->tls_resumed = facts.resumed;
	if (!client->present)
		return;
	entry->client_san = str_from_cstr(client->san);
	entry->client_fingerprint = str_from_cstr(client->fingerprint);
}

/* Room for so many bytes in a block for the file. NULL: there is none. */
static char *reserve(struct access_log *log, struct access_log_file *file, size_t len)
{
	struct access_log_block *block = log->block;

	if (block && (block->file != file || ACCESS_LOG_BLOCK_BYTES - block->len < len))
		flush(log);
	if (!log->block) {
		log->block = access_log_pool_take(log->pool, file);
		if (!log->block)
			return NULL;
		if (!timer_is_running(&log->flush_timer))
			timer_start(log->loop, &log->flush_timer, FLUSH_MS);
	}
	return log->block->bytes + log->block->len;
}

void access_log_write(struct access_log *log, const struct exchange *exchange, uint64_t end_ns)
{
	const struct snapshot *snapshot = exchange->worker->config->snapshot;
	const struct access_log_conf *conf = &snapshot->node.access_log;
	const struct stream *stream = &exchange->connection->stream;
	struct tls_client_facts client;
	struct access_log_entry entry;
	char *room;

	if (!snapshot->access_log_file)
		return;
	if (conf->sample < ACCESS_LOG_SAMPLE_ALL &&
	    random_below(&exchange->worker->random, ACCESS_LOG_SAMPLE_ALL) >= conf->sample)
		return;
	entry = (struct access_log_entry){
		.wall_ms = wall_ms(log, exchange->begin_ns, end_ns),
		.client = exchange->client,
		.peer = exchange->peer,
		.listener = exchange->tunnel.open ? exchange->tunnel.listener
						  : exchange->listener->name,
		.route = exchange->tunnel.open ? exchange->tunnel.route
			 : exchange->route     ? exchange->route->name
					       : STR_NULL,
		.consumer = exchange->tunnel.open ? exchange->tunnel.consumer
						  : identity_consumer(&exchange->identity),
		.status = exchange->status,
		.reason = exchange->failure,
		.reason_detail = exchange->failure_detail,
		.bytes_in = exchange->bytes_in,
		.bytes_out = exchange->bytes_out,
		.duration_us = (end_ns - exchange->begin_ns) / 1000,
		.first_byte_us = since_us(exchange->begin_ns, exchange->first_byte_ns),
	};
	describe_request(&entry, exchange);
	describe_upstream(&entry, exchange);
	if (stream_is_tls(stream))
		describe_tls(&entry, tls_stream_ssl(stream), &client);
	room = reserve(log, snapshot->access_log_file, access_log_format_bound(&entry));
	if (!room) {
		worker_count(exchange->worker, HTTP_COUNTER_ACCESS_LOG_DROPPED);
		return;
	}
	log->block->len += (uint32_t)access_log_format((enum access_log_format)conf->format, &entry,
						       &log->clock, room);
	log->block->line_count++;
}
