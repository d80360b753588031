#include "proto/http2/http2.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

#include "base/util.h"

#define HEADER_TABLE_BYTES 4096
/* More answers to PING and SETTINGS than this wait to be sent: the peer does not read. */
#define OUTBOUND_ACKS_MAX    256
#define SETTINGS_ENTRIES_MAX 32
/* Decoded header bytes beyond so many times the limit end the connection (HPACK bombs). */
#define HEADER_BYTES_FACTOR 8
/* What an answer that ended in order makes up for, of what its server cost: a reset. */
#define ANSWER_POINTS 5

/*
 * ---- memory, counted, and kept in a list ----
 *
 * nghttp2 1.52 frees a DATA frame twice when there was no memory to put it into its queue. So a
 * session that was refused memory once is not touched any more, and what it had is freed from here.
 */

struct block {
	struct list link; /* in http2->blocks */
	max_align_t bytes[];
};

static void *block_add(struct http2 *http2, struct block *block)
{
	if (!block) {
		http2->memory_failed = true;
		return NULL;
	}
	list_push_back(&http2->blocks, &block->link);
	if (http2->account)
		*http2->account += malloc_usable_size(block);
	return block->bytes;
}

static void block_remove(struct http2 *http2, struct block *block)
{
	list_remove(&block->link);
	if (http2->account)
		*http2->account -= malloc_usable_size(block);
}

static struct block *memory_block(void *memory)
{
	return (struct block *)((char *)memory - offsetof(struct block, bytes));
}

static void *mem_malloc(size_t size, void *arg)
{
	return block_add(arg, size <= PTRDIFF_MAX ? malloc(sizeof(struct block) + size) : NULL);
}

static void mem_free(void *memory, void *arg)
{
	if (!memory)
		return;
	block_remove(arg, memory_block(memory));
	free(memory_block(memory));
}

static void *mem_calloc(size_t count, size_t size, void *arg)
{
	size_t bytes;

	if (__builtin_mul_overflow(count, size, &bytes) || bytes > PTRDIFF_MAX)
		return block_add(arg, NULL);
	return block_add(arg, calloc(1, sizeof(struct block) + bytes));
}

static void *mem_realloc(void *memory, size_t size, void *arg)
{
	struct http2 *http2 = arg;
	struct block *block, *grown;

	if (!memory)
		return mem_malloc(size, arg);
	block = memory_block(memory);
	block_remove(http2, block);
	grown = size <= PTRDIFF_MAX ? realloc(block, sizeof(struct block) + size) : NULL;
	if (!grown)
		(void)block_add(http2, block);
	return block_add(http2, grown);
}

static void free_blocks(struct http2 *http2)
{
	while (!list_is_empty(&http2->blocks)) {
		struct block *block = list_first(&http2->blocks, struct block, link);

		block_remove(http2, block);
		free(block);
	}
}

/* ---- the score ---- */

static void abuse(struct http2 *http2, enum http2_abuse kind)
{
	if (!http2_score_add(&http2->score, kind, http2->now_ms) || http2->calmed)
		return;
	http2->calmed = true;
	http2->calmed_for = kind;
	http2_goaway(http2, NGHTTP2_ENHANCE_YOUR_CALM);
}

static void count_reset(struct http2 *http2, struct http2_stream *stream)
{
	if (stream) {
		if (stream->reset_counted)
			return;
		stream->reset_counted = true;
	}
	abuse(http2, HTTP2_ABUSE_RESETS);
}

static void score_frame(struct http2 *http2, const nghttp2_frame_hd *frame)
{
	switch (frame->type) {
	case NGHTTP2_HEADERS:
	case NGHTTP2_RST_STREAM: /* counted with its stream */
	case NGHTTP2_GOAWAY:
	case NGHTTP2_PUSH_PROMISE:
		break;
	case NGHTTP2_DATA:
		if (frame->length == 0 && !(frame->flags & NGHTTP2_FLAG_END_STREAM))
			abuse(http2, HTTP2_ABUSE_EMPTY_DATA);
		break;
	case NGHTTP2_CONTINUATION:
		abuse(http2, HTTP2_ABUSE_CONTINUATIONS);
		break;
	case NGHTTP2_PRIORITY:
		abuse(http2, HTTP2_ABUSE_PRIORITIES);
		break;
	case NGHTTP2_SETTINGS:
		if (!(frame->flags & NGHTTP2_FLAG_ACK))
			abuse(http2, HTTP2_ABUSE_SETTINGS);
		break;
	case NGHTTP2_PING:
		if (!(frame->flags & NGHTTP2_FLAG_ACK))
			abuse(http2, HTTP2_ABUSE_PINGS);
		break;
	case NGHTTP2_WINDOW_UPDATE:
		abuse(http2, HTTP2_ABUSE_WINDOW_UPDATES);
		break;
	default:
		abuse(http2, HTTP2_ABUSE_OTHER_FRAMES);
		break;
	}
}

/* ---- callbacks of nghttp2 ---- */

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *frame, void *arg)
{
	const struct http2 *http2 = arg;

	(void)session;
	/* Our SETTINGS went first, so this is no misunderstanding (RFC 9113 6.6). */
	if (http2->client && frame->type == NGHTTP2_PUSH_PROMISE)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	score_frame(arg, frame);
	return 0;
}

static struct http2_stream *find_stream(struct http2 *http2, int32_t id)
{
	return nghttp2_session_get_stream_user_data(http2->session, id);
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct http2 *http2 = arg;
	struct http2_stream *stream = find_stream(http2, frame->hd.stream_id);

	http2->head_stream_id = frame->hd.stream_id;
	http2->head_since_ms = http2->now_ms;
	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
		http2->last_id = frame->hd.stream_id;
		stream = http2->calmed ? NULL : http2->ops->on_stream(http2, frame->hd.stream_id);
		if (!stream) {
			http2_reset(http2, frame->hd.stream_id, NGHTTP2_REFUSED_STREAM);
			return 0;
		}
		stream->id = frame->hd.stream_id;
		return nghttp2_session_set_stream_user_data(session, stream->id, stream);
	}
	if (stream)
		http2_fields_init(&stream->fields, stream->fields.arena);
	return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
		     nghttp2_rcbuf *value, uint8_t flags, void *arg)
{
	struct http2 *http2 = arg;
	struct http2_stream *stream = find_stream(http2, frame->hd.stream_id);
	nghttp2_vec name_bytes = nghttp2_rcbuf_get_buf(name);
	nghttp2_vec value_bytes = nghttp2_rcbuf_get_buf(value);
	uint64_t most = (uint64_t)http2->limits->head_bytes * HEADER_BYTES_FACTOR;

	(void)session;
	(void)flags;
	if (!stream)
		return 0;
	http2_fields_add(
		&stream->fields, http2->limits, str_make((char *)name_bytes.base, name_bytes.len),
		str_make((char *)value_bytes.base, value_bytes.len), nghttp2_rcbuf_is_static(name));
	if (stream->fields.bytes > most) {
		abuse(http2, HTTP2_ABUSE_HEADER_BYTES);
		abuse(http2, HTTP2_ABUSE_HEADER_BYTES);
		stream->fields.bytes = 0;
	}
	return 0;
}

/* Names in upper case, bad bytes: nghttp2 would only leave the field out. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
			     const uint8_t *name, size_t name_len, const uint8_t *value,
			     size_t value_len, uint8_t flags, void *arg)
{
	(void)session;
	(void)frame;
	(void)name;
	(void)name_len;
	(void)value;
	(void)value_len;
	(void)flags;
	(void)arg;
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

/* Invalid trailers are left out as a whole: nobody was promised any (RFC 9110 6.5.1). */
static void end_stream(struct http2 *http2, struct http2_stream *stream, bool trailers)
{
	const struct http2_fields *fields = &stream->fields;

	stream->ended = true;
	if (trailers && !fields->error && !fields->method.ptr && !fields->protocol.ptr &&
	    !fields->status.ptr)
		http2->ops->on_end(http2, stream, fields->fields, fields->count);
	else
		http2->ops->on_end(http2, stream, NULL, 0);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct http2 *http2 = arg;
	struct http2_stream *stream;
	bool end = frame->hd.flags & NGHTTP2_FLAG_END_STREAM;

	(void)session;
	switch (frame->hd.type) {
	case NGHTTP2_SETTINGS:
		if (frame->hd.flags & NGHTTP2_FLAG_ACK)
			http2->settings_acked = true;
		else
			http2->settings_received = true;
		break;
	case NGHTTP2_HEADERS:
		http2->head_stream_id = 0;
		stream = find_stream(http2, frame->hd.stream_id);
		if (!stream)
			break;
		if (!stream->head_done) {
			/* An interim answer is followed by another head. */
			stream->head_done = !http2->client || !stream->fields.status.len ||
					    stream->fields.status.ptr[0] != '1';
			http2->ops->on_head(http2, stream, end);
			stream = find_stream(http2, frame->hd.stream_id);
			if (end && stream)
				end_stream(http2, stream, false);
		} else if (end) {
			end_stream(http2, stream, true);
		}
		break;
	case NGHTTP2_DATA:
		stream = end ? find_stream(http2, frame->hd.stream_id) : NULL;
		if (stream)
			end_stream(http2, stream, false);
		break;
	case NGHTTP2_RST_STREAM:
		http2->resets_received++;
		stream = find_stream(http2, frame->hd.stream_id);
		if (stream)
			stream->reset_received = true;
		/* A server's is the polite end of an answer; a client's always costs. */
		if (!http2->client || frame->rst_stream.error_code != NGHTTP2_NO_ERROR ||
		    (stream && !stream->ended))
			count_reset(http2, stream);
		break;
	case NGHTTP2_GOAWAY:
		if (http2->ops->on_goaway)
			http2->ops->on_goaway(http2, frame->goaway.last_stream_id);
		break;
	default:
		break;
	}
	return 0;
}

/* What makes us reset a stream costs as much as a reset (the server-triggered twin). */
static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error,
			    void *arg)
{
	struct http2 *http2 = arg;

	(void)session;
	(void)error;
	if (frame->hd.type == NGHTTP2_HEADERS)
		http2->head_stream_id = 0;
	count_reset(http2, frame->hd.stream_id ? find_stream(http2, frame->hd.stream_id) : NULL);
	return 0;
}

static int on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
			 size_t len, void *arg)
{
	struct http2 *http2 = arg;
	struct http2_stream *stream = find_stream(http2, id);

	(void)session;
	(void)flags;
	if (stream)
		http2->ops->on_data(http2, stream, str_make((const char *)data, len));
	else
		http2_consumed_connection(http2, len);
	return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *arg)
{
	struct http2 *http2 = arg;
	struct http2_stream *stream = find_stream(http2, id);

	(void)session;
	if (!stream)
		return 0;
	if (http2->client && !stream->sent)
		error = NGHTTP2_REFUSED_STREAM; /* it waited, and a GOAWAY came first */
	else if (http2->client && error == NGHTTP2_NO_ERROR && !stream->ended)
		error = NGHTTP2_CANCEL; /* politely, but without an answer */
	if (http2->client && error == NGHTTP2_NO_ERROR)
		http2_score_pay(&http2->score, ANSWER_POINTS);
	(void)nghttp2_session_set_stream_user_data(http2->session, id, NULL);
	http2->ops->on_closed(http2, stream, error);
	return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct http2 *http2 = arg;
	struct http2_stream *stream;

	if (http2->client && frame->hd.type == NGHTTP2_HEADERS &&
	    (stream = find_stream(http2, frame->hd.stream_id)))
		stream->sent = true;
	if ((frame->hd.type == NGHTTP2_HEADERS || frame->hd.type == NGHTTP2_DATA) &&
	    frame->hd.flags & NGHTTP2_FLAG_END_STREAM && !http2->client &&
	    (stream = find_stream(http2, frame->hd.stream_id)) && !stream->two_way &&
	    nghttp2_session_get_stream_remote_close(session, frame->hd.stream_id) == 0)
		/* An answer ends the exchange: the rest of the request is not wanted. */
		http2_reset(http2, frame->hd.stream_id, NGHTTP2_NO_ERROR);
	if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
		http2->broken = true;
	if (frame->hd.type != NGHTTP2_RST_STREAM)
		return 0;
	http2->resets_sent++;
	if (frame->rst_stream.error_code == NGHTTP2_PROTOCOL_ERROR ||
	    frame->rst_stream.error_code == NGHTTP2_FLOW_CONTROL_ERROR ||
	    frame->rst_stream.error_code == NGHTTP2_STREAM_CLOSED ||
	    frame->rst_stream.error_code == NGHTTP2_REFUSED_STREAM)
		count_reset(http2, find_stream(http2, frame->hd.stream_id));
	return 0;
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *room, size_t room_bytes,
			 uint32_t *ret_flags, nghttp2_data_source *source, void *arg)
{
	struct http2 *http2 = arg;
	struct http2_stream *stream = find_stream(http2, id);
	bool end = false;
	size_t bytes;

	(void)session;
	(void)room;
	(void)source;
	if (!stream)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	bytes = http2->ops->on_send_ready(http2, stream, room_bytes, &end);
	if (!bytes && !end)
		return NGHTTP2_ERR_DEFERRED;
	*ret_flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (end) {
		*ret_flags |= NGHTTP2_DATA_FLAG_EOF;
		if (http2->ops->on_send_trailers(http2, stream))
			*ret_flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
	}
	return (ssize_t)bytes;
}

static int send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head,
		     size_t bytes, nghttp2_data_source *source, void *arg)
{
	struct http2 *http2 = arg;
	struct http2_stream *stream = find_stream(http2, frame->hd.stream_id);

	(void)session;
	(void)source;
	if (!stream)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	http2_score_pay(&http2->score, 2);
	if (!http2->ops->on_send_data(http2, stream, head, bytes))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	return 0;
}

/* Frames of types that we do not know are ignored (RFC 9113 4.1), once they are counted. */
static int ignore_extension(nghttp2_session *session, void **ret_payload,
			    const nghttp2_frame_hd *frame, void *arg)
{
	(void)session;
	(void)ret_payload;
	(void)frame;
	(void)arg;
	return NGHTTP2_ERR_CANCEL;
}

/* ---- life ---- */

static int make_session(struct http2 *http2, const struct http2_config *config,
			nghttp2_session_callbacks *callbacks, nghttp2_option *option)
{
	nghttp2_mem memory = {http2, mem_malloc, mem_free, mem_calloc, mem_realloc};

	nghttp2_session_callbacks_set_on_begin_frame_callback(callbacks, on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback2(callbacks, on_header);
	nghttp2_session_callbacks_set_on_invalid_header_callback(callbacks, on_invalid_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
	nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
	nghttp2_session_callbacks_set_unpack_extension_callback(callbacks, ignore_extension);
	for (unsigned int type = NGHTTP2_CONTINUATION + 1; type <= UINT8_MAX; type++)
		nghttp2_option_set_user_recv_extension_type(option, (uint8_t)type);
	nghttp2_option_set_no_auto_window_update(option, 1);
	nghttp2_option_set_no_closed_streams(option, 1);
	nghttp2_option_set_max_deflate_dynamic_table_size(option, HEADER_TABLE_BYTES);
	nghttp2_option_set_max_outbound_ack(option, OUTBOUND_ACKS_MAX);
	nghttp2_option_set_max_settings(option, SETTINGS_ENTRIES_MAX);
	nghttp2_option_set_max_reserved_remote_streams(option, 0);
	if (config->client)
		return nghttp2_session_client_new3(&http2->session, callbacks, http2, option,
						   &memory);
	return nghttp2_session_server_new3(&http2->session, callbacks, http2, option, &memory);
}

static int submit_settings(struct http2 *http2, const struct http2_config *config)
{
	nghttp2_settings_entry entries[6];
	size_t count = 0;
	int ret;

	entries[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,
						    config->stream_window_bytes};
	entries[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
						    config->limits->head_bytes};
	entries[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1};
	if (config->client) {
		entries[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
		entries[count++] =
			(nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 0};
	} else {
		entries[count++] =
			(nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1};
		entries[count++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
							    config->max_streams};
	}
	ret = nghttp2_submit_settings(http2->session, NGHTTP2_FLAG_NONE, entries, count);
	if (ret == 0)
		ret = nghttp2_session_set_local_window_size(
			http2->session, NGHTTP2_FLAG_NONE, 0,
			(int32_t)config->connection_window_bytes);
	return ret ? -ENOMEM : 0;
}

int http2_init(struct http2 *http2, const struct http2_config *config)
{
	nghttp2_session_callbacks *callbacks = NULL;
	nghttp2_option *option = NULL;
	int ret = -ENOMEM;

	*http2 = (struct http2){.ops = config->ops,
				.limits = config->limits,
				.account = config->account,
				.client = config->client};
	list_init(&http2->blocks);
	if (nghttp2_session_callbacks_new(&callbacks) == 0 && nghttp2_option_new(&option) == 0 &&
	    make_session(http2, config, callbacks, option) == 0)
		ret = submit_settings(http2, config);
	nghttp2_session_callbacks_del(callbacks);
	nghttp2_option_del(option);
	if (ret < 0)
		http2_done(http2);
	return ret;
}

void http2_done(struct http2 *http2)
{
	if (LIKELY(!http2->memory_failed))
		nghttp2_session_del(http2->session);
	http2->session = NULL;
	free_blocks(http2);
}

int http2_feed(struct http2 *http2, struct str bytes, uint64_t now_ms)
{
	ssize_t ret;

	http2->now_ms = now_ms;
	if (http2->memory_failed)
		return -ENOMEM;
	ret = nghttp2_session_mem_recv(http2->session, (const uint8_t *)bytes.ptr, bytes.len);
	if (ret == NGHTTP2_ERR_NOMEM || http2->memory_failed)
		return -ENOMEM;
	return ret < 0 ? -EPROTO : 0;
}

int http2_pull(struct http2 *http2, struct str *ret_bytes)
{
	const uint8_t *bytes = NULL;
	ssize_t ret = http2->memory_failed ? NGHTTP2_ERR_NOMEM
					   : nghttp2_session_mem_send(http2->session, &bytes);

	if (ret < 0 || http2->memory_failed)
		return -ENOMEM;
	*ret_bytes = str_make((const char *)bytes, (size_t)ret);
	return 0;
}

bool http2_is_over(const struct http2 *http2)
{
	return !nghttp2_session_want_read(http2->session) &&
	       !nghttp2_session_want_write(http2->session);
}

bool http2_wants_to_write(const struct http2 *http2)
{
	return nghttp2_session_want_write(http2->session);
}

int32_t http2_window(const struct http2 *http2, int32_t id)
{
	return MIN(nghttp2_session_get_stream_remote_window_size(http2->session, id),
		   nghttp2_session_get_remote_window_size(http2->session));
}

size_t http2_backlog(const struct http2 *http2)
{
	return nghttp2_session_get_outbound_queue_size(http2->session);
}

/* ---- what the owner asks for; no memory shows at the next http2_pull() at the latest ---- */

void http2_consumed(struct http2 *http2, int32_t id, size_t bytes)
{
	if (bytes && !http2->memory_failed)
		(void)nghttp2_session_consume(http2->session, id, bytes);
}

void http2_consumed_connection(struct http2 *http2, size_t bytes)
{
	if (bytes && !http2->memory_failed)
		(void)nghttp2_session_consume_connection(http2->session, bytes);
}

void http2_consumed_stream(struct http2 *http2, int32_t id, size_t bytes)
{
	if (bytes && !http2->memory_failed)
		(void)nghttp2_session_consume_stream(http2->session, id, bytes);
}

void http2_resume(struct http2 *http2, int32_t id)
{
	if (!http2->memory_failed)
		(void)nghttp2_session_resume_data(http2->session, id);
}

int http2_submit_request(struct http2 *http2, struct http2_stream *stream, const nghttp2_nv *fields,
			 size_t count, bool end)
{
	const nghttp2_data_provider body = {.read_callback = read_body};
	int32_t id;

	if (http2->memory_failed)
		return -ENOMEM;
	/* Those that the codec would only refuse to send. */
	if (!http2_takes_requests(http2))
		return -ENOTCONN;
	id = nghttp2_submit_request(http2->session, NULL, fields, count, end ? NULL : &body,
				    stream);
	if (id < 0)
		return id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE ? -ENOTCONN : -ENOMEM;
	stream->id = id;
	stream->sent = stream->head_done = stream->ended = false;
	stream->reset_counted = stream->reset_received = false;
	return 0;
}

bool http2_takes_requests(const struct http2 *http2)
{
	return !http2->calmed && !http2->memory_failed &&
	       nghttp2_session_check_request_allowed(http2->session);
}

uint32_t http2_streams_max(const struct http2 *http2)
{
	return nghttp2_session_get_remote_settings(http2->session,
						   NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

void http2_cancel(struct http2 *http2, struct http2_stream *stream, uint32_t error)
{
	if (!http2->memory_failed)
		(void)nghttp2_session_set_stream_user_data(http2->session, stream->id, NULL);
	http2_reset(http2, stream->id, error);
}

int http2_submit_head(struct http2 *http2, int32_t id, const nghttp2_nv *fields, size_t count,
		      bool end)
{
	const nghttp2_data_provider body = {.read_callback = read_body};

	if (http2->memory_failed)
		return -ENOMEM;
	return nghttp2_submit_response(http2->session, id, fields, count, end ? NULL : &body)
		       ? -ENOMEM
		       : 0;
}

int http2_submit_informational(struct http2 *http2, int32_t id, const nghttp2_nv *fields,
			       size_t count)
{
	if (http2->memory_failed)
		return -ENOMEM;
	return nghttp2_submit_headers(http2->session, NGHTTP2_FLAG_NONE, id, NULL, fields, count,
				      NULL)
		       ? -ENOMEM
		       : 0;
}

int http2_submit_trailers(struct http2 *http2, int32_t id, const nghttp2_nv *fields, size_t count)
{
	if (http2->memory_failed)
		return -ENOMEM;
	return nghttp2_submit_trailer(http2->session, id, fields, count) ? -ENOMEM : 0;
}

void http2_reset(struct http2 *http2, int32_t id, uint32_t error)
{
	if (!http2->memory_failed)
		(void)nghttp2_submit_rst_stream(http2->session, NGHTTP2_FLAG_NONE, id, error);
}

void http2_announce_end(struct http2 *http2)
{
	if (!http2->memory_failed)
		(void)nghttp2_submit_shutdown_notice(http2->session);
}

void http2_goaway(struct http2 *http2, uint32_t error)
{
	if (http2->memory_failed)
		return;
	if (error == NGHTTP2_NO_ERROR)
		(void)nghttp2_submit_goaway(http2->session, NGHTTP2_FLAG_NONE, http2->last_id,
					    error, NULL, 0);
	else
		(void)nghttp2_session_terminate_session2(http2->session, http2->last_id, error);
}
