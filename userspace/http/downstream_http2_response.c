#include "http/downstream_http2.h"

#include <errno.h>
#include <stdlib.h>

#include "http/worker_internal.h"

/* Pieces of a body up to this are copied behind their frame's head: one piece for the kernel. */
#define COPY_BYTES 2048

/* What is being sent, in order: `end_bytes` of all that was pushed, and it is free again. */
struct http2_chunk {
	struct http2_chunk *next;
	uint64_t end_bytes;
	size_t len;
	char room[HTTP2_CHUNK_BYTES];
};

/* ---- chunks ---- */

static void chunk_put(struct http_worker *worker, struct http2_chunk *chunk)
{
	if (worker->free_http2_chunk_count >= HTTP2_FREE_CHUNKS_MAX ||
	    worker->memory.level >= MEMORY_SHRINK) {
		worker->memory.counted_bytes -= sizeof(*chunk);
		free(chunk);
		return;
	}
	chunk->next = worker->free_http2_chunks;
	worker->free_http2_chunks = chunk;
	worker->free_http2_chunk_count++;
}

void downstream_http2_cache_free(struct http_worker *worker)
{
	while (worker->free_http2_chunks) {
		struct http2_chunk *chunk = worker->free_http2_chunks;

		worker->free_http2_chunks = chunk->next;
		worker->memory.counted_bytes -= sizeof(*chunk);
		free(chunk);
	}
	worker->free_http2_chunk_count = 0;
}

static struct http2_chunk *chunk_add(struct downstream_http2 *conn)
{
	struct http_worker *worker = conn->base.worker;
	struct http2_chunk *chunk = worker->free_http2_chunks;

	if (LIKELY(chunk)) {
		worker->free_http2_chunks = chunk->next;
		worker->free_http2_chunk_count--;
	} else {
		chunk = malloc(sizeof(*chunk));
		if (!chunk)
			return NULL;
		worker->memory.counted_bytes += sizeof(*chunk);
	}
	chunk->next = NULL;
	chunk->len = 0;
	if (conn->last_chunk)
		conn->last_chunk->next = chunk;
	else
		conn->chunks = chunk;
	conn->last_chunk = chunk;
	return chunk;
}

/* Those whose bytes the kernel has taken. */
static void chunks_release(struct downstream_http2 *conn)
{
	uint64_t sent_bytes = conn->pushed_bytes - conn->base.queue.bytes;

	while (conn->chunks && conn->chunks->end_bytes <= sent_bytes) {
		struct http2_chunk *chunk = conn->chunks;

		conn->chunks = chunk->next;
		if (!conn->chunks)
			conn->last_chunk = NULL;
		chunk_put(conn->base.worker, chunk);
	}
}

void downstream_http2_chunks_done(struct downstream_http2 *conn)
{
	while (conn->chunks) {
		struct http2_chunk *chunk = conn->chunks;

		conn->chunks = chunk->next;
		chunk_put(conn->base.worker, chunk);
	}
	conn->last_chunk = NULL;
}

/* Copies. False: no memory. */
static bool out_write(struct downstream_http2 *conn, struct str bytes)
{
	while (bytes.len) {
		struct http2_chunk *chunk = conn->last_chunk;
		size_t len;

		if (!chunk || chunk->len == sizeof(chunk->room))
			chunk = chunk_add(conn);
		if (!chunk)
			return false;
		len = MIN(bytes.len, sizeof(chunk->room) - chunk->len);
		memcpy(chunk->room + chunk->len, bytes.ptr, len);
		if (send_queue_push(&conn->base.queue, str_make(chunk->room + chunk->len, len),
				    NULL) < 0)
			return false;
		chunk->len += len;
		conn->pushed_bytes += len;
		chunk->end_bytes = conn->pushed_bytes;
		bytes = str_sub(bytes, len, bytes.len - len);
	}
	return true;
}

/* ---- the codec asks for data ---- */

size_t downstream_http2_send_ready(struct http2 *http2, struct http2_stream *wire, size_t max,
				   bool *ret_end)
{
	struct downstream_stream *stream = http2_conn_stream(wire);
	size_t bytes = MIN(stream->response.bytes, max);

	(void)http2;
	*ret_end = stream->response_ended && bytes == stream->response.bytes;
	stream->end_sent |= *ret_end;
	return bytes;
}

bool downstream_http2_send_data(struct http2 *http2, struct http2_stream *wire, const uint8_t *head,
				size_t bytes)
{
	struct downstream_http2 *conn = http2_conn(http2);
	struct downstream_stream *stream = http2_conn_stream(wire);
	uint64_t now_ms = loop_now_ms(conn->base.worker->loop);

	pace_settle(&stream->response_pace, now_ms);
	pace_earn(&stream->response_pace, bytes, conn->base.min_body_rate,
		  conn->base.idle_timeout_ms);
	if (!out_write(conn, str_make((const char *)head, HTTP2_FRAME_HEAD)))
		return false;
	while (bytes) {
		struct recv_buf *buf;
		struct str front = send_queue_front(&stream->response, &buf);
		size_t len = MIN(front.len, bytes);

		if (front.ptr && (!buf || len <= COPY_BYTES)) {
			/* Bytes of the exchange or the snapshot may go before they are sent. */
			if (!out_write(conn, str_make(front.ptr, len)))
				return false;
			send_queue_drop(&stream->response, len);
		} else {
			if (send_queue_move(&conn->base.queue, &stream->response, len) < 0)
				return false;
			conn->pushed_bytes += len;
		}
		bytes -= len;
	}
	if (list_is_empty(&stream->moved_link))
		list_push_back(&conn->moved, &stream->moved_link);
	return true;
}

bool downstream_http2_send_trailers(struct http2 *http2, struct http2_stream *wire)
{
	struct downstream_stream *stream = http2_conn_stream(wire);

	return stream->trailer_count &&
	       http2_submit_trailers(http2, wire->id, stream->trailers, stream->trailer_count) == 0;
}

/* ---- flushing ---- */

void downstream_http2_flush_soon(struct downstream_http2 *conn)
{
	if (conn->flush_queued || conn->state != HTTP2_CONN_OPEN)
		return;
	conn->flush_queued = true;
	loop_defer(conn->base.worker->loop, &conn->flush_task);
}

static void conn_broken(struct downstream_http2 *conn, const char *failure)
{
	downstream_http2_blame(conn, failure);
	downstream_http2_close(conn, true);
}

static void tell_moved(struct downstream_http2 *conn)
{
	struct list moved;

	/* What they do now may make them move again: that is for the next flush. */
	list_init(&moved);
	while (!list_is_empty(&conn->moved)) {
		struct list *link = conn->moved.next;

		list_remove(link);
		list_push_back(&moved, link);
	}
	while (!list_is_empty(&moved)) {
		struct downstream_stream *stream =
			list_first(&moved, struct downstream_stream, moved_link);

		list_remove(&stream->moved_link);
		if (stream->response.weight_bytes < UPSTREAM_LOW_WATER)
			exchange_drained(stream->exchange);
	}
}

void downstream_http2_flush(struct downstream_http2 *conn)
{
	struct send_queue *queue = &conn->base.queue;
	uint64_t now_ms = loop_now_ms(conn->base.worker->loop);
	struct str bytes;

	if (conn->state != HTTP2_CONN_OPEN || queue->in_flight)
		return;
	while (queue->bytes < SEND_AT_ONCE_BYTES) {
		if (http2_pull(&conn->http2, &bytes) < 0 || !out_write(conn, bytes)) {
			conn_broken(conn, "out of memory for the answer");
			return;
		}
		if (!bytes.len)
			break;
	}
	queue->quiet = !http2_wants_to_write(&conn->http2);
	if (send_queue_flush(queue, &conn->base.stream) < 0) {
		conn_broken(conn, "client closed the connection");
		return;
	}
	if (!send_queue_is_empty(queue)) {
		if (!conn->base.response_pace.since_ms && conn->stream_count)
			conn->base.moved_ms = now_ms;
		pace_wait(&conn->base.response_pace, now_ms);
	}
	if (conn->http2.resets_sent) {
		worker_add(&conn->base.worker->counters[HTTP_COUNTER_HTTP2_RESETS_SENT],
			   conn->http2.resets_sent);
		conn->http2.resets_sent = 0;
	}
	tell_moved(conn);
	worker_memory_look(conn->base.worker);
	downstream_http2_watch(conn);
}

void downstream_http2_on_sent(struct stream *stream, int64_t result)
{
	struct downstream_http2 *conn =
		downstream_http2(CONTAINER_OF(stream, struct downstream, stream));
	struct send_queue *queue = &conn->base.queue;
	uint64_t now_ms = loop_now_ms(conn->base.worker->loop);

	send_queue_sent(queue, result);
	if (result < 0) {
		conn_broken(conn, result == -ENODATA ? "the file became shorter while it was sent"
						     : "client closed the connection");
		return;
	}
	chunks_release(conn);
	if (conn->stream_count)
		conn->base.moved_ms = now_ms;
	if (send_queue_is_empty(queue))
		pace_pause(&conn->base.response_pace, now_ms);
	if (conn->recv_held && queue->bytes < SEND_AT_ONCE_BYTES) {
		conn->recv_held = false;
		stream_recv_start(stream, RECV_MANY);
	}
	downstream_http2_flush(conn);
}

/* ---- what exchanges say ---- */

static struct downstream_stream *exchange_stream(const struct exchange *exchange)
{
	return exchange->stream;
}

/* The codec's names are in lower case; none of these bytes may go before they are written. */
static bool keep_field(struct exchange *exchange, const struct http_field *field, nghttp2_nv *ret)
{
	bool known = field->id != HTTP_FIELD_OTHER;
	size_t name_bytes = known ? 0 : field->name.len;
	char *room = arena_alloc_bytes(&exchange->arena, name_bytes + field->value.len + 1);
	struct str name = known ? http_field_name(field->id) : str_make(room, field->name.len);

	/* HARDENING 13, as http1_write_field() does. */
	if (!room || !http_value_is_valid(field->value) ||
	    (!known && !http_name_is_valid(field->name)))
		return false;
	for (size_t i = 0; i < name_bytes; i++)
		room[i] = ascii_lower(field->name.ptr[i]);
	if (field->value.len)
		memcpy(room + name_bytes, field->value.ptr, field->value.len);
	*ret = http2_nv(name, str_make(room + name_bytes, field->value.len));
	return true;
}

#define NUMBER_MAX 20

static bool put_number(struct exchange *exchange, struct str name, uint64_t number, nghttp2_nv *ret)
{
	char *room = arena_alloc_bytes(&exchange->arena, NUMBER_MAX), *pos;

	if (!room)
		return false;
	pos = room + NUMBER_MAX;
	do {
		*--pos = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	*ret = http2_nv(name, str_make(pos, (size_t)(room + NUMBER_MAX - pos)));
	return true;
}

static bool make_head(struct exchange *exchange, const struct exchange_response *response,
		      bool final, nghttp2_nv **ret_fields, size_t *ret_count)
{
	unsigned int added = final ? exchange->added_count : 0;
	nghttp2_nv *fields =
		arena_new_array(&exchange->arena, nghttp2_nv, response->field_count + added + 2);
	size_t count = 0;

	if (!fields || !put_number(exchange, STR(":status"), response->status, &fields[count++]))
		return false;
	for (unsigned int i = 0; i < response->field_count; i++)
		if (!keep_field(exchange, &response->fields[i], &fields[count++]))
			return false;
	for (unsigned int i = 0; i < added; i++)
		if (!keep_field(exchange, &exchange->added[i], &fields[count++]))
			return false;
	if (final && (response->has_content_length || response->framing == HTTP_FRAMING_LENGTH) &&
	    !put_number(exchange, STR("content-length"), response->content_length,
			&fields[count++]))
		return false;
	*ret_fields = fields;
	*ret_count = count;
	return true;
}

static void stream_broken(struct downstream_stream *stream)
{
	if (!stream->exchange->failure)
		stream->exchange->failure = "the answer cannot be sent";
	http2_reset(&stream->conn->http2, stream->wire.id, NGHTTP2_INTERNAL_ERROR);
	downstream_http2_flush_soon(stream->conn);
}

static void send_informational(struct exchange *exchange, const struct exchange_response *response)
{
	struct downstream_stream *stream = exchange_stream(exchange);
	nghttp2_nv *fields;
	size_t count;

	/* 101 is of HTTP/1 alone (RFC 9113 8.6). */
	if (response->status == 101)
		return;
	if (!make_head(exchange, response, false, &fields, &count) ||
	    http2_submit_informational(&stream->conn->http2, stream->wire.id, fields, count) < 0)
		stream_broken(stream);
}

static void send_head(struct exchange *exchange, const struct exchange_response *response)
{
	struct downstream_stream *stream = exchange_stream(exchange);
	bool end = response->framing == HTTP_FRAMING_NONE && !response->upgrade.ptr;
	nghttp2_nv *fields;
	size_t count;

	exchange->first_byte_ns = loop_now_ns(exchange->worker->loop);
	timer_stop(&exchange->age_timer); /* it bounds the wait for this moment */
	stream->head_sent = true;
	stream->wire.two_way = response->upgrade.ptr != NULL;
	if (!make_head(exchange, response, true, &fields, &count) ||
	    http2_submit_head(&stream->conn->http2, stream->wire.id, fields, count, end) < 0) {
		stream_broken(stream);
		return;
	}
	stream->end_sent = end;
}

static void send_data(struct exchange *exchange, struct str data, struct recv_buf *buf)
{
	struct downstream_stream *stream = exchange_stream(exchange);

	if (data.len && send_queue_push(&stream->response, data, buf) < 0)
		stream_broken(stream);
	worker_memory_look(exchange->worker);
}

static void send_file(struct exchange *exchange, struct send_file *file, uint64_t offset,
		      uint64_t len)
{
	struct downstream_stream *stream = exchange_stream(exchange);

	if (send_queue_push_file(&stream->response, file, offset, len) < 0)
		stream_broken(stream);
}

static void keep_trailers(struct downstream_stream *stream, const struct http_field *trailers,
			  unsigned int count)
{
	nghttp2_nv *kept = arena_new_array(&stream->exchange->arena, nghttp2_nv, count);

	/* Trailers are optional by nature (RFC 9110 6.5). */
	for (unsigned int i = 0; kept && i < count; i++)
		if (keep_field(stream->exchange, &trailers[i], &kept[stream->trailer_count]))
			stream->trailer_count++;
	stream->trailers = kept;
}

static void send_end(struct exchange *exchange, const struct http_field *trailers,
		     unsigned int trailer_count)
{
	struct downstream_stream *stream = exchange_stream(exchange);
	struct http2 *http2 = &stream->conn->http2;

	if (trailer_count)
		keep_trailers(stream, trailers, trailer_count);
	stream->response_ended = true;
	if (!stream->end_sent)
		http2_resume(http2, stream->wire.id);
	/* Nobody reads the rest of the request (RFC 9113 8.1); the codec sends the answer first. */
	downstream_http2_give_held(stream);
	downstream_http2_flush_soon(stream->conn);
}

static void flush(struct exchange *exchange)
{
	struct downstream_stream *stream = exchange_stream(exchange);

	if (!stream->end_sent && stream->response.bytes)
		http2_resume(&stream->conn->http2, stream->wire.id);
	downstream_http2_flush_soon(stream->conn);
}

static void send_abort(struct exchange *exchange)
{
	struct downstream_stream *stream = exchange_stream(exchange);

	http2_reset(&stream->conn->http2, stream->wire.id, NGHTTP2_INTERNAL_ERROR);
	downstream_http2_flush_soon(stream->conn);
}

/* A client that still sends is told that nobody reads that any more. */
static void tunnel_over(struct exchange *exchange)
{
	struct downstream_stream *stream = exchange_stream(exchange);

	stream->wire.two_way = false;
	if (!stream->response_ended)
		send_end(exchange, NULL, 0);
	else if (stream->end_sent && !stream->request_ended)
		http2_reset(&stream->conn->http2, stream->wire.id, NGHTTP2_NO_ERROR);
	downstream_http2_flush_soon(stream->conn);
}

static void resume_request(struct exchange *exchange)
{
	struct downstream_stream *stream = exchange_stream(exchange);

	if (send_queue_is_empty(&stream->held))
		return;
	downstream_http2_give_held(stream);
	downstream_http2_flush_soon(stream->conn);
}

static size_t queued(const struct exchange *exchange)
{
	const struct downstream_stream *stream = exchange_stream(exchange);

	/* The shorter memory is, the sooner a queue counts as long. */
	return stream->response.weight_bytes << MIN(exchange->worker->memory.level, MEMORY_SHRINK);
}

const struct exchange_downstream downstream_http2_ops = {
	.send_informational = send_informational,
	.send_head = send_head,
	.send_data = send_data,
	.send_file = send_file,
	.send_end = send_end,
	.flush = flush,
	.send_abort = send_abort,
	.resume_request = resume_request,
	.tunnel_over = tunnel_over,
	.queued = queued,
};
