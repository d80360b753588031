#include <errno.h>

#include "base/cleanup.h"
#include "proto/http1/compact.h"
#include "upstream/upstream_conn.h"

/* Bodies with more than this to come are received buffer by buffer, so that they can be held. */
#define LARGE_BODY_BYTES (64u * 1024)
/* Less than this is copied: a receive costs less than a poll and two splices. */
#define PIPE_LEAST_BYTES (32u * 1024)

static bool conn_arm_pipe(struct upstream_conn *conn)
{
	const struct http1_body *body = &conn->body;

	if (!conn->call->pipes || !stream_can_splice(&conn->stream) || !conn->call->head_done ||
	    body->framing != HTTP_FRAMING_LENGTH || body->left_bytes < PIPE_LEAST_BYTES)
		return false;
	if (!conn->pipe)
		conn->pipe = splice_pipe_get(conn->pools->loop);
	if (!conn->pipe || conn->pipe->bytes)
		return false;
	stream_recv_pipe(&conn->stream, conn->pipe, body->left_bytes);
	return true;
}

void upstream_conn_arm(struct upstream_conn *conn)
{
	struct upstream_call *call = conn->call;

	if (call->paused)
		stream_recv_stop(&conn->stream);
	else if (conn->recv_one && !conn_arm_pipe(conn))
		stream_recv_start(&conn->stream, RECV_ONE);
}

static int copy_trailers(struct upstream_conn *conn, struct arena *arena,
			 struct http_field **ret_fields, unsigned int *ret_count)
{
	int ret = http1_body_trailers(&conn->body, arena, ret_fields, ret_count);

	if (ret < 0)
		return ret;
	for (unsigned int i = 0; i < *ret_count; i++) {
		struct http_field *field = &(*ret_fields)[i];

		field->name = arena_copy(arena, field->name);
		field->value = arena_copy(arena, field->value);
		if (!field->name.ptr || !field->value.ptr)
			return -ENOMEM;
	}
	return 0;
}

static void call_finish(struct upstream_conn *conn)
{
	struct upstream_call *call = conn->call;
	struct upstream_local *local = conn->local;
	struct http_field *trailers = NULL;
	unsigned int trailer_count = 0;
	bool keep = conn->keep_alive && call->request_done && !conn->send_failed &&
		    send_queue_is_empty(&conn->queue);

	if (conn->body.framing == HTTP_FRAMING_CHUNKED &&
	    copy_trailers(conn, call->arena, &trailers, &trailer_count) < 0) {
		trailer_count = 0;
		keep = false;
	}
	http1_body_done(&conn->body);
	splice_pipe_unref(TAKE_PTR(conn->pipe));
	conn->expects_large = call->pipes && stream_can_splice(&conn->stream) &&
			      conn->body.framing == HTTP_FRAMING_LENGTH &&
			      conn->body.data_bytes > LARGE_BODY_BYTES;
	upstream_call_detach(call);
	if (keep && upstream_pools_keep_idle(conn)) {
		/*
		 * Single receives leave the next large body in the socket, for the pipe. A pause
		 * that the answer's last buffer asked for must not outlive the call.
		 */
		if (conn->recv_one || call->paused)
			stream_recv_start(&conn->stream,
					  conn->expects_large ? RECV_ONE : RECV_MANY);
		conn->recv_one = conn->expects_large;
		conn->used = true;
		timer_start(conn->pools->loop, &conn->timer, conn->idle_timeout_ms);
	} else {
		upstream_conn_close(conn);
	}
	call->ops->on_end(call, trailers, trailer_count);
	if (UNLIKELY(local->waiting_count))
		upstream_queue_run(local);
}

/* 1: `ret_block` is a whole head and *pos stands behind it. 0: more is needed. Negative: failed. */
static int conn_find_head(struct upstream_conn *conn, const struct recv_buf *buf, size_t *pos,
			  struct str *ret_block)
{
	struct str rest = str_make(buf->data + *pos, buf->len - *pos);
	size_t before = conn->partial.len, len = 0, scan = 0;
	int ret;

	if (before == 0) {
		ret = http1_find_head_end(rest, &http1_limits_default, &scan, &len);
		if (ret == 1) {
			*ret_block = str_make(rest.ptr, len);
			*pos += len;
			return 1;
		}
		if (ret < 0)
			return ret;
	}
	ret = buf_append(&conn->partial, rest);
	upstream_conn_note_bufs(conn);
	if (ret < 0)
		return -HTTP1_E_HEAD_BYTES;
	if (before == 0) {
		conn->scan = scan;
		*pos = buf->len;
		return 0;
	}
	ret = http1_find_head_end(buf_str(&conn->partial), &http1_limits_default, &conn->scan,
				  &len);
	if (ret != 1) {
		*pos = buf->len;
		return ret;
	}
	*ret_block = str_make(buf_str(&conn->partial).ptr, len);
	*pos += len - before;
	return 1;
}

/* As conn_find_head, with the head parsed into the call's arena. */
static int conn_read_head(struct upstream_conn *conn, const struct recv_buf *buf, size_t *pos,
			  struct http_head *ret_head)
{
	struct upstream_call *call = conn->call;
	struct str block, copy;
	int ret = conn_find_head(conn, buf, pos, &block);

	if (ret == 0)
		return 0;
	if (ret > 0) {
		copy = arena_copy(call->arena, block);
		ret = copy.ptr ? http1_parse_response(copy, &http1_limits_default, call->method_id,
						      call->arena, ret_head)
			       : -HTTP1_E_NO_MEMORY;
		buf_reset(&conn->partial);
		conn->scan = 0;
		if (ret == 0 && ret_head->status == 101 &&
		    !(call->ops->accepts_upgrade && call->ops->accepts_upgrade(call, ret_head))) {
			upstream_call_fail(call, UPSTREAM_E_PROTOCOL,
					   "101 that is no answer to what was asked");
			return -EPROTO;
		}
		if (ret == 0)
			return 1;
	}
	if (ret == -HTTP1_E_NO_MEMORY)
		upstream_call_fail(call, UPSTREAM_E_LOCAL, "no memory for the answer's header");
	else if (ret == -HTTP1_E_HEAD_BYTES || ret == -HTTP1_E_FIELD_BYTES ||
		 ret == -HTTP1_E_FIELD_COUNT)
		upstream_call_fail(call, UPSTREAM_E_HEAD_TOO_LARGE,
				   http1_error_text((enum http1_error) - ret));
	else
		upstream_call_fail(call, UPSTREAM_E_PROTOCOL,
				   http1_error_text((enum http1_error) - ret));
	return -EPROTO;
}

static void conn_choose_recv(struct upstream_conn *conn)
{
	const struct http1_body *body = &conn->body;

	if (conn->recv_one || http1_body_is_done(body))
		return;
	/* Chunks and until-close: the size is not known, so it counts as large. */
	if (body->framing != HTTP_FRAMING_LENGTH || body->left_bytes > LARGE_BODY_BYTES) {
		conn->recv_one = true;
		if (!conn->call->paused)
			stream_recv_start(&conn->stream, RECV_ONE);
	}
}

/*
 * The head is given out only when the body bytes that came with it fit it, so that an answer whose
 * framing lies becomes a 502 and not the beginning of somebody's page (HARDENING 12).
 */
static void conn_input(struct upstream_conn *conn, struct recv_buf *buf)
{
	struct upstream_call *call = conn->call;
	struct http_head head;
	struct str data = STR_NULL;
	bool fresh = false;
	size_t pos = 0, consumed = 0;
	int event;

	while (!call->head_done && !fresh) {
		if (conn_read_head(conn, buf, &pos, &head) != 1)
			return;
		if (head.status >= 200 || head.status == 101) {
			fresh = true;
			break;
		}
		if (++call->informational_count > UPSTREAM_INFORMATIONAL_MAX) {
			upstream_call_fail(call, UPSTREAM_E_PROTOCOL, "too many interim answers");
			return;
		}
		call->ops->on_head(call, &head);
		if (conn->call != call)
			return;
		if (pos == buf->len) {
			call->ops->on_batch(call);
			return;
		}
	}
	if (fresh) {
		/* Whatever follows a 101 has no framing that would be ours to read. */
		if (UNLIKELY(head.status == 101))
			head.framing = HTTP_FRAMING_UNTIL_CLOSE;
		http1_body_init(&conn->body, head.framing, head.content_length,
				&http1_limits_default);
		conn->keep_alive = head.keep_alive && head.framing != HTTP_FRAMING_UNTIL_CLOSE;
	}

	event = http1_body_compact(&conn->body, buf->data + pos, buf->len - pos, &consumed, &data);
	if (event < 0) {
		upstream_call_fail(call, UPSTREAM_E_PROTOCOL,
				   http1_error_text((enum http1_error) - event));
		return;
	}
	if (event == HTTP1_BODY_DONE && pos + consumed < buf->len) {
		if (fresh) {
			upstream_call_fail(call, UPSTREAM_E_PROTOCOL,
					   "bytes after the end of the answer");
			return;
		}
		upstream_call_count(call, ENDPOINT_COUNTER_PROTOCOL_ERRORS);
		conn->keep_alive = false;
	}
	if (fresh) {
		if (UNLIKELY(upstream_call_answered(call, head.status)))
			return;
		call->head_done = true;
		if (UNLIKELY(head.status == 101)) {
			call->tunnel = true;
			call->request_done = false;
		}
		call->head_ns = loop_now_ns(conn->pools->loop);
		conn_choose_recv(conn);
		call->ops->on_head(call, &head);
		if (conn->call != call)
			return;
	}
	if (data.len) {
		call->ops->on_data(call, data, buf);
		if (conn->call != call)
			return;
	}
	if (event == HTTP1_BODY_DONE) {
		call_finish(conn);
		return;
	}
	call->ops->on_batch(call);
	if (conn->call != call)
		return;
	upstream_conn_arm(conn);
	upstream_http1_restart_timer(conn);
}

/* ---- tunnels ---- */

static void tunnel_over(struct upstream_conn *conn)
{
	struct upstream_call *call = conn->call;

	upstream_call_detach(call);
	upstream_conn_close(conn);
	call->ops->on_end(call, NULL, 0);
}

bool upstream_tunnel_sent(struct upstream_conn *conn)
{
	if (conn->send_failed) {
		/* While it can still speak, receiving says what became of it. */
		if (conn->half_ended)
			upstream_call_fail(conn->call, UPSTREAM_E_RESET, "inside the tunnel");
		return conn->half_ended;
	}
	if (!conn->call->request_done || !send_queue_is_empty(&conn->queue))
		return false;
	if (!conn->shut) {
		conn->shut = true;
		stream_shutdown_send(&conn->stream);
	}
	if (!conn->half_ended)
		return false;
	tunnel_over(conn);
	return true;
}

static void tunnel_ended(struct upstream_conn *conn, int result)
{
	struct upstream_call *call = conn->call;

	if (result < 0 || conn->send_failed) {
		upstream_call_fail(call, UPSTREAM_E_RESET, "inside the tunnel");
		return;
	}
	conn->half_ended = true;
	if (conn->shut)
		tunnel_over(conn);
	else
		call->ops->on_half_end(call);
}

static void conn_ended(struct upstream_conn *conn, int result)
{
	struct upstream_call *call = conn->call;

	if (!call) {
		upstream_conn_close(conn);
		return;
	}
	if (UNLIKELY(call->tunnel)) {
		tunnel_ended(conn, result);
		return;
	}
	conn->keep_alive = false;
	if (call->head_done) {
		if (result == 0 && http1_body_eof(&conn->body) == HTTP1_BODY_DONE)
			call_finish(conn);
		else
			upstream_call_fail(call, UPSTREAM_E_RESET, "inside the body");
		return;
	}
	if (upstream_call_resend(call, false))
		return;
	/* Under TLS 1.3 a server refuses our certificate when we are through already. */
	if (UNLIKELY(conn->tls) && result == -EPROTO)
		upstream_call_fail(call, UPSTREAM_E_TLS, stream_error_text(&conn->stream));
	else
		upstream_call_fail(call, UPSTREAM_E_RESET,
				   conn->partial.len ? "inside the header" : "before the answer");
}

void upstream_conn_on_recv(struct stream *stream, struct recv_buf *buf, int result)
{
	struct upstream_conn *conn = CONTAINER_OF(stream, struct upstream_conn, stream);

	if (!buf) {
		conn_ended(conn, result);
		return;
	}
	if (conn->call)
		conn_input(conn, buf);
	else
		upstream_conn_close(conn); /* nobody asked for these bytes */
	recv_buf_unref(buf);
	if (conn->call && !conn->call->head_done)
		upstream_conn_arm(conn); /* a head in pieces, or an interim answer */
}

void upstream_conn_on_piped(struct stream *stream, size_t bytes)
{
	struct upstream_conn *conn = CONTAINER_OF(stream, struct upstream_conn, stream);
	struct upstream_call *call = conn->call;
	bool done;

	if (!call) {
		upstream_conn_close(conn);
		return;
	}
	done = http1_body_skip(&conn->body, bytes);
	call->ops->on_pipe(call, conn->pipe, bytes);
	if (conn->call != call)
		return;
	if (done) {
		call_finish(conn);
		return;
	}
	call->ops->on_batch(call);
	if (conn->call != call)
		return;
	upstream_conn_arm(conn);
	upstream_http1_restart_timer(conn);
}
